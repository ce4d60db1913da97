//! Everything that the report's page is told.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    contrast::{Contrast, contrast, millis},
    timeline::{Timeline, micros, timeline},
    words::{self, CLASSES},
};
use crate::check::{
    Findings, History, Verdict,
    history::{About, FinalState, Outcome},
    verdict::{Tally, Tier, Violation},
};

/// The page's data.
#[derive(Debug, Serialize)]
pub struct Page<'a> {
    about: &'a About,
    verdict: Verdict,
    /// The answer in a sentence.
    headline: String,
    /// What else must be known to read it.
    remarks: Vec<String>,
    /// What shows the verdict best: a place in `violations`.
    witness: Option<usize>,
    counts: Counts,
    classes: Vec<Named<'a>>,
    guarantees: Vec<Named<'a>>,
    levels: Vec<LevelRow<'a>>,
    promises: Vec<PromiseRow<'a>>,
    contrast: Contrast,
    timeline: Timeline,
    violations: Vec<ViolationRow<'a>>,
    tiers: Vec<TierRow<'a>>,
    faults: Vec<FaultRow<'a>>,
    finals: &'a [FinalState],
}

/// How much happened.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All.
    pub operations: usize,
    /// Answered.
    pub ok: usize,
    /// Not done, for sure.
    pub failed: usize,
    /// Nobody knows.
    pub unknown: usize,
    /// Clients.
    pub sessions: usize,
    /// What arrived on watches.
    pub deliveries: usize,
    /// All.
    pub faults: usize,
    /// Those that were seen to have an effect.
    pub landed: usize,
    /// How often another member, or the same in another term, was seen to lead.
    pub elections: usize,
}

/// A name and what it means.
#[derive(Debug, Serialize)]
struct Named<'a> {
    name: &'a str,
    says: &'static str,
}

/// A row of the matrix.
#[derive(Debug, Serialize)]
struct LevelRow<'a> {
    name: &'a str,
    says: &'static str,
    /// Its place in `classes`, if it is one.
    class: Option<usize>,
    /// One for each of `guarantees`.
    cells: Vec<Option<&'a Tally>>,
}

/// What watches, leases and locks promise.
#[derive(Debug, Serialize)]
struct PromiseRow<'a> {
    subject: &'a str,
    name: &'a str,
    says: &'static str,
    tally: &'a Tally,
}

#[derive(Debug, Serialize)]
struct ViolationRow<'a> {
    #[serde(flatten)]
    violation: &'a Violation,
    says: &'static str,
}

#[derive(Debug, Serialize)]
struct TierRow<'a> {
    name: &'a str,
    says: &'static str,
    took_ms: f64,
    #[serde(flatten)]
    tier: &'a Tier,
}

#[derive(Debug, Serialize)]
struct FaultRow<'a> {
    kind: &'static str,
    says: &'static str,
    what: &'a str,
    nodes: &'a [u64],
    /// Microseconds.
    from: u64,
    to: Option<u64>,
    landed: bool,
    breaks: Option<&'a str>,
}

impl<'a> Page<'a> {
    /// The page of a history and of what was found in it.
    pub fn new(history: &'a History, findings: &'a Findings) -> Page<'a> {
        let guarantees = guarantees(findings);
        let witness = findings.witness();
        Page {
            about: &history.about,
            verdict: findings.verdict(),
            headline: headline(findings),
            remarks: remarks(history, findings),
            witness: findings.violations.iter().position(|one| Some(one) == witness),
            counts: counts(history),
            classes: CLASSES.iter().map(|(name, says)| Named { name, says }).collect(),
            levels: levels(history, findings, &guarantees),
            guarantees: guarantees
                .iter()
                .map(|name| Named { name, says: words::guarantee(name).1 })
                .collect(),
            promises: promises(findings),
            contrast: contrast(history, findings),
            timeline: timeline(history, findings),
            violations: violations(findings),
            tiers: tiers(findings),
            faults: faults(history),
            finals: &history.finals,
        }
    }
}

/// The guarantees of reads and writes that were counted at any level.
fn guarantees(findings: &Findings) -> Vec<&'static str> {
    let at_levels = tallies(findings).filter(|(level, name, _)| words::promise(level, name).is_none());
    let names: BTreeSet<&'static str> = at_levels.map(|(_, name, _)| name).collect();
    let mut names: Vec<&'static str> = names.into_iter().collect();
    names.sort_by_key(|name| (words::guarantee(name).0, *name));
    names
}

/// All classes that occur, and what else has tallies of guarantees.
fn levels<'a>(history: &History, findings: &'a Findings, guarantees: &[&'static str]) -> Vec<LevelRow<'a>> {
    let used = history.operations.iter().map(words::class).map(|class| CLASSES[class].0);
    let mut names: Vec<&'static str> = used.collect::<BTreeSet<_>>().into_iter().collect();
    for (level, name, _) in tallies(findings) {
        if words::promise(level, name).is_none() && !names.contains(&level) {
            names.push(level);
        }
    }
    names.sort_by_key(|name| (words::class_named(name).unwrap_or(CLASSES.len()), *name));
    let row = |name: &'static str| {
        let class = words::class_named(name);
        let tallies = findings.guarantees.get(name);
        let cells = guarantees.iter().map(|guarantee| tallies.and_then(|tallies| tallies.get(guarantee)));
        LevelRow { name, says: class.map_or("", |class| CLASSES[class].1), class, cells: cells.collect() }
    };
    names.into_iter().map(row).collect()
}

fn promises(findings: &Findings) -> Vec<PromiseRow<'_>> {
    let mut rows: Vec<(usize, PromiseRow<'_>)> = tallies(findings)
        .filter_map(|(subject, name, tally)| {
            let (place, says) = words::promise(subject, name)?;
            Some((place, PromiseRow { subject, name, says, tally }))
        })
        .collect();
    rows.sort_by_key(|(place, _)| *place);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The answer in a sentence.
fn headline(findings: &Findings) -> String {
    if findings.tiers.values().all(|tier| tier.checked == 0 && tier.verdict == Verdict::Ok) {
        return "Nothing was checked.".to_owned();
    }
    let broken: u64 = findings.tiers.values().map(|tier| tier.violations).sum();
    match findings.verdict() {
        Verdict::Ok => "Everything that was promised was kept.".to_owned(),
        Verdict::Unknown => {
            "Not known: a search ended before it had an answer. Nothing broken was found.".to_owned()
        }
        Verdict::Violated if broken == 1 => "A promise was broken.".to_owned(),
        Verdict::Violated => format!("Promises were broken: {} times.", grouped(broken)),
    }
}

/// What else must be known: why something is not known, what was excused, what was not given because nobody
/// promised it, and what makes the run weak.
fn remarks(history: &History, findings: &Findings) -> Vec<String> {
    let mut remarks = Vec::new();
    for (name, tier) in &findings.tiers {
        if let (Verdict::Unknown, Some(note)) = (tier.verdict, &tier.note) {
            remarks.push(format!("{name} does not know: {note}."));
        }
    }
    for (level, guarantee, tally) in tallies(findings) {
        if tally.excused > 0 {
            let times = counted(tally.excused);
            let assumption = tally.assumption.as_deref().unwrap_or("an assumption of the promise was broken");
            remarks.push(format!("{level} did not give {guarantee} {times}, and is excused: {assumption}."));
        }
    }
    let given: u64 =
        tallies(findings).filter(|(.., tally)| !tally.promised).map(|(.., tally)| tally.violations).sum();
    if given > 0 {
        let times = counted(given);
        remarks.push(format!(
            "Levels did not give {times} what they do not promise. That is the difference between them, and \
             breaks nothing."
        ));
    }
    if history.faults.is_empty() {
        remarks.push("Nothing was done to the cluster: this run says little about faults.".to_owned());
    }
    let vain = history.faults.iter().filter(|fault| !fault.landed).count();
    if vain > 0 {
        let all = history.faults.len();
        let were = if vain == 1 { "was" } else { "were" };
        remarks.push(format!("Of {all} faults, {vain} {were} not seen to have an effect."));
    }
    remarks
}

fn tallies(findings: &Findings) -> impl Iterator<Item = (&'static str, &'static str, &Tally)> {
    findings
        .guarantees
        .iter()
        .flat_map(|(level, tallies)| tallies.iter().map(|(guarantee, tally)| (*level, *guarantee, tally)))
}

/// Once, twice, and so on.
fn counted(times: u64) -> String {
    match times {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{} times", grouped(times)),
    }
}

/// The number with a comma between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How much happened.
pub fn counts(history: &History) -> Counts {
    let mut counts = Counts {
        operations: history.operations.len(),
        deliveries: history.deliveries.len(),
        faults: history.faults.len(),
        landed: history.faults.iter().filter(|fault| fault.landed).count(),
        sessions: history.operations.iter().map(|one| one.session).collect::<BTreeSet<_>>().len(),
        ..Counts::default()
    };
    for operation in &history.operations {
        match operation.outcome {
            Outcome::Ok => counts.ok += 1,
            Outcome::Fail(_) => counts.failed += 1,
            Outcome::Unknown(_) => counts.unknown += 1,
        }
    }
    let mut led: Vec<(u64, u64)> =
        history.leaders.iter().filter(|led| led.leader != 0).map(|led| (led.term, led.leader)).collect();
    led.dedup();
    counts.elections = led.len().saturating_sub(1);
    counts
}

fn violations(findings: &Findings) -> Vec<ViolationRow<'_>> {
    let row = |violation| ViolationRow { violation, says: words::anomaly(violation.anomaly) };
    findings.violations.iter().map(row).collect()
}

/// From cheap to dear, and the levels last.
fn tiers(findings: &Findings) -> Vec<TierRow<'_>> {
    let nanos = |tier: &Tier| u64::try_from(tier.took.as_nanos()).unwrap_or(u64::MAX);
    let rows = findings.tiers.iter();
    let mut rows: Vec<TierRow<'_>> = rows
        .map(|(name, tier)| TierRow { name, says: words::tier(name), took_ms: millis(nanos(tier)), tier })
        .collect();
    rows.sort_by_key(|row| row.name == "levels");
    rows
}

fn faults(history: &History) -> Vec<FaultRow<'_>> {
    history
        .faults
        .iter()
        .map(|fault| {
            let (kind, says) = (fault.kind.name(), words::fault(fault.kind));
            FaultRow {
                kind,
                says,
                what: &fault.what,
                nodes: &fault.nodes,
                from: micros(fault.from),
                to: fault.to.map(micros),
                landed: fault.landed,
                breaks: fault.breaks.as_deref(),
            }
        })
        .collect()
}
