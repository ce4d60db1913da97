//! What came of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Options, recorder::Live, run::Ending, workload::number_in};
use crate::check::{
    Findings, History, Verdict,
    history::{Action, Operation},
};

/// The answer in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every promise was kept.
    Ok,
    /// One was broken.
    Violated,
    /// The judge does not know.
    Unknown,
    /// Too little happened to say anything: few operations, or faults that hit nothing.
    Void,
}

/// How reads at a level went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LevelCounts {
    /// Answered.
    pub ok: u64,
    /// Not answered.
    pub failed: u64,
    /// Older than something that had been acknowledged before they were asked.
    pub stale: u64,
    /// Not what the level promises.
    pub violations: u64,
    /// The same, while an assumption of the promise was broken on purpose.
    pub excused: u64,
}

/// What is printed in the end, and left in `summary.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The answer.
    pub verdict: Outcome,
    /// Why it is not `ok`, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What every random choice was drawn from.
    pub seed: u64,
    /// Operations, whatever became of them.
    pub operations: u64,
    /// Those of which nobody knows.
    pub unknown: u64,
    /// Faults that happened, and of these those that were seen to have an effect.
    pub faults: u64,
    /// See `faults`.
    pub faults_landed: u64,
    /// The same by kind: happened, landed.
    pub faults_by_kind: BTreeMap<&'static str, (u64, u64)>,
    /// Promises that were broken.
    pub violations: u64,
    /// What promises rest on and was broken on purpose, in words.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub assumptions: BTreeSet<String>,
    /// Reads by level.
    pub levels: BTreeMap<&'static str, LevelCounts>,
    /// Increments of the counter without guards that were acknowledged and are not in it: what a lock
    /// without fencing costs. `None`: that was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_without_fencing: Option<u64>,
    /// The same with guards: 0, or something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_with_fencing: Option<u64>,
    /// Where history, logs and report are.
    pub out: PathBuf,
}

/// A run with fewer answered operations per second than this says nothing.
const OPERATIONS_PER_SECOND_MIN: u64 = 5;

impl Summary {
    /// Of what was recorded, and what the judge says of it.
    pub fn new(
        options: &Options,
        (history, findings): (&History, &Findings),
        (live, ending): (&Live, Ending),
    ) -> Summary {
        let mut summary = Summary {
            verdict: Outcome::Ok,
            reasons: findings.witness().map(|shown| shown.why.clone()).into_iter().collect(),
            seed: options.seed,
            operations: history.operations.len() as u64,
            unknown: live.unknown,
            faults: live.faults,
            faults_landed: live.landed,
            faults_by_kind: BTreeMap::new(),
            violations: findings.tiers.values().map(|tier| tier.violations).sum(),
            assumptions: history.faults.iter().filter_map(|fault| fault.breaks.clone()).collect(),
            levels: levels(history, findings),
            lost_without_fencing: lost(history, "/unfenced-counter"),
            lost_with_fencing: lost(history, "/fenced-counter"),
            out: options.out.clone(),
        };
        for fault in &history.faults {
            let counts = summary.faults_by_kind.entry(fault.kind.name()).or_default();
            *counts = (counts.0 + 1, counts.1 + u64::from(fault.landed));
        }
        summary.decide(findings.verdict(), (live, ending), void(options, history, live));
        summary
    }

    /// From what is worst to what is best.
    fn decide(&mut self, judged: Verdict, (live, ending): (&Live, Ending), void: Vec<String>) {
        let lost = self.lost_with_fencing.unwrap_or(0);
        let diverged = matches!(ending, Ending::Diverged(_));
        self.verdict = match judged {
            Verdict::Violated => Outcome::Violated,
            _ if diverged || lost > 0 || !live.deaths.is_empty() => Outcome::Violated,
            _ if !void.is_empty() => Outcome::Void,
            Verdict::Unknown => Outcome::Unknown,
            Verdict::Ok if matches!(ending, Ending::Unseen(_)) => Outcome::Unknown,
            Verdict::Ok => Outcome::Ok,
        };
        self.violations += u64::from(diverged) + lost + live.deaths.len() as u64;
        if let Ending::Diverged(why) | Ending::Unseen(why) = ending {
            self.reasons.push(why);
        }
        if lost > 0 {
            self.reasons.push(format!("{lost} guarded increments were acknowledged and are lost"));
        }
        self.reasons.extend(live.deaths.iter().chain(&live.troubles).cloned());
        self.reasons.extend(void);
    }

    /// Leaves it in a file.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)?)
    }
}

/// Why the run says nothing.
fn void(options: &Options, history: &History, live: &Live) -> Vec<String> {
    let mut why = Vec::new();
    let wanted = options.duration.as_secs() * OPERATIONS_PER_SECOND_MIN;
    if live.ok < wanted {
        why.push(format!("too little traffic: {} answered operations, {wanted} are wanted", live.ok));
    }
    let faulty = options.endpoints.is_empty() && !(options.nemeses.is_empty() && options.script.is_none());
    if faulty && live.landed * 2 < live.faults.max(1) {
        why.push(format!("faults that hit nothing: {} of {} landed", live.landed, live.faults));
    }
    let done = history.operations.iter().filter(|operation| operation.is_ok());
    let done: BTreeSet<&str> = done.filter_map(|operation| operation.part.as_deref()).collect();
    let idle = options.parts.iter().map(|part| part.name()).filter(|part| *part != "watch");
    why.extend(idle.filter(|part| !done.contains(part)).map(|part| format!("{part} did nothing")));
    why
}

fn levels(history: &History, findings: &Findings) -> BTreeMap<&'static str, LevelCounts> {
    let mut levels: BTreeMap<&'static str, LevelCounts> = BTreeMap::new();
    let stale: BTreeSet<u64> = findings.staleness.iter().map(|stale| stale.operation).collect();
    for operation in &history.operations {
        let Some(level) = operation.level else { continue };
        let counts = levels.entry(level.name()).or_default();
        match operation.is_ok() {
            true => counts.ok += 1,
            false => counts.failed += 1,
        }
        counts.stale += u64::from(stale.contains(&operation.index));
    }
    for (level, guarantees) in &findings.guarantees {
        let Some(counts) = levels.get_mut(level) else { continue };
        for tally in guarantees.values().filter(|tally| tally.promised) {
            counts.violations += tally.violations.saturating_sub(tally.excused);
            counts.excused += tally.excused;
        }
    }
    levels
}

/// Acknowledged increments of a counter that its last value does not count. `None`: there were none, or the
/// counter was not read in the end.
fn lost(history: &History, counter: &str) -> Option<u64> {
    let increments = history.operations.iter().filter(|operation| increments(operation, counter)).count();
    let last = history.operations.iter().rev().find_map(|operation| value_of(operation, counter))?;
    (increments > 0).then(|| (increments as u64).saturating_sub(last))
}

fn increments(operation: &Operation, counter: &str) -> bool {
    let done = match &operation.action {
        Action::Write { key, .. } => key.ends_with(counter),
        Action::Guarded { key, done, .. } => key.ends_with(counter) && *done == Some(true),
        _ => false,
    };
    done && operation.is_ok()
}

/// The counter, as a last read saw it.
fn value_of(operation: &Operation, counter: &str) -> Option<u64> {
    let Action::Range { found: Some(found), .. } = &operation.action else { return None };
    let (_, found) = found.iter().find(|(key, _)| key.ends_with(counter))?;
    number_in(&found.value)
}
