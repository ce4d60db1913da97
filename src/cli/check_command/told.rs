//! A verdict as JSON, and in words.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, Write},
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    check::{
        Findings, History, Verdict,
        format::jsonl::operation_line,
        history::Operation,
        report::in_words,
        verdict::{Tally, Tier, Violation},
    },
    cli::output,
};

/// What `-o json` prints.
#[derive(Debug, Serialize)]
pub(super) struct VerdictObject<'a> {
    verdict: Verdict,
    operations: usize,
    tiers: &'a BTreeMap<&'static str, Tier>,
    guarantees: &'a BTreeMap<&'static str, BTreeMap<&'static str, Tally>>,
    violations: &'a [Violation],
    /// The rows of the operations that show the verdict, each with the reason.
    witness: Vec<Value>,
}

impl<'a> VerdictObject<'a> {
    pub fn new(history: &History, findings: &'a Findings) -> VerdictObject<'a> {
        let witness = witness(findings).map(|violation| rows(history, violation)).unwrap_or_default();
        VerdictObject {
            verdict: findings.verdict(),
            operations: history.operations.len(),
            tiers: &findings.tiers,
            guarantees: &findings.guarantees,
            violations: &findings.violations,
            witness,
        }
    }
}

/// The plainest violation; one with operations to look at rather than one of a watch alone.
fn witness(findings: &Findings) -> Option<&Violation> {
    let with_rows = findings.violations.iter().filter(|violation| !violation.operations.is_empty());
    with_rows.min_by_key(|violation| violation.operations.len()).or(findings.witness())
}

fn rows(history: &History, violation: &Violation) -> Vec<Value> {
    let row = |operation: &&Operation| {
        let mut row: Value = serde_json::from_str(&operation_line(operation).ok()?).ok()?;
        row.as_object_mut()?.insert("why".to_owned(), violation.why.clone().into());
        Some(row)
    };
    operations(history, violation).iter().filter_map(row).collect()
}

fn operations<'a>(history: &'a History, violation: &Violation) -> Vec<&'a Operation> {
    let wanted: BTreeSet<u64> = violation.operations.iter().copied().collect();
    let found = history.operations.iter().filter(|operation| wanted.contains(&operation.index));
    let found: HashMap<u64, &Operation> = found.map(|operation| (operation.index, operation)).collect();
    violation.operations.iter().filter_map(|index| found.get(index).copied()).collect()
}

/// Prints the verdict, what each tier did, the guarantees of each level, and the witness.
pub(super) fn print(history: &History, findings: &Findings, out: &mut dyn Write) -> io::Result<()> {
    let (count, broken) = (history.operations.len(), findings.tiers.values().map(|tier| tier.violations));
    match (findings.verdict(), witness(findings)) {
        (Verdict::Violated, Some(violation)) => {
            writeln!(out, "VIOLATED in {count} operations: promises broken: {}", broken.sum::<u64>())?;
            shown(history, violation, out)?;
        }
        (Verdict::Ok, _) => writeln!(out, "ok: nothing in {count} operations breaks a promise")?,
        _ => writeln!(
            out,
            "unknown: nothing broken was found in {count} operations, but not all was searched"
        )?,
    }
    let tiers = findings.tiers.iter().map(|(name, tier)| {
        let note = tier.note.clone().unwrap_or_default();
        let verdict = format!("{:?}", tier.verdict).to_lowercase();
        vec![(*name).to_owned(), verdict, tier.checked.to_string(), tier.violations.to_string(), note]
    });
    writeln!(out, "\n{}", output::table(&["TIER", "VERDICT", "CHECKED", "VIOLATIONS", "NOTE"], tiers))?;
    matrix(findings, out)?;
    let shown = witness(findings).map_or("", |violation| violation.anomaly);
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in &findings.violations {
        *others.entry(violation.anomaly).or_default() += usize::from(violation.anomaly != shown);
    }
    others.retain(|_, count| *count > 0);
    if !others.is_empty() {
        let names: Vec<_> = others.keys().copied().collect();
        writeln!(out, "\nAlso found: {}. All of them: -o json; a picture: --report FILE.", names.join(", "))?;
    }
    Ok(())
}

/// A violation and its operations, in words.
fn shown(history: &History, violation: &Violation, out: &mut dyn Write) -> io::Result<()> {
    let level = violation.level.map(|level| format!(" at {level}")).unwrap_or_default();
    writeln!(out, "\n{}{level}: {}", violation.anomaly, violation.why)?;
    for operation in operations(history, violation) {
        let [call, ret] = [operation.call, operation.ret].map(|nanos| nanos as f64 / 1e6);
        let (index, process) = (operation.index, operation.process);
        writeln!(out, "  {index}: process {process}, {call:.3} to {ret:.3} ms: {}", in_words(operation))?;
    }
    Ok(())
}

/// Level × guarantee: how often it did not hold, of how many times it was put to the test. In brackets where
/// the level does not promise it.
fn matrix(findings: &Findings, out: &mut dyn Write) -> io::Result<()> {
    // What is no level of reads has guarantees of its own: one table for each set of them.
    let mut groups: Vec<(BTreeSet<&str>, Vec<&str>)> = vec![];
    for (level, guarantees) in &findings.guarantees {
        let names: BTreeSet<&str> = guarantees.keys().copied().collect();
        match groups.iter_mut().find(|(known, _)| !known.is_disjoint(&names)) {
            Some((known, levels)) => {
                known.extend(names);
                levels.push(level);
            }
            None => groups.push((names, vec![level])),
        }
    }
    for (names, levels) in groups {
        let head: Vec<&str> = ["BROKEN/TESTED"].into_iter().chain(names.iter().copied()).collect();
        let row = |level: &&str| {
            let cells =
                names.iter().map(|name| cell(findings.guarantees.get(level).and_then(|of| of.get(name))));
            [(*level).to_owned()].into_iter().chain(cells).collect()
        };
        writeln!(out, "\n{}", output::table(&head, levels.iter().map(row)))?;
    }
    Ok(())
}

fn cell(tally: Option<&Tally>) -> String {
    match tally {
        None => "-".to_owned(),
        Some(Tally { promised: true, checked, violations, excused: 0, .. }) => {
            format!("{violations}/{checked}")
        }
        Some(Tally { promised: true, checked, violations, excused, .. }) => {
            format!("{violations}/{checked}, {excused} excused")
        }
        Some(Tally { checked, violations, .. }) => format!("({violations}/{checked})"),
    }
}
