//! What each level cost and gave: latency, availability in each phase of faults, staleness.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::words::{self, CLASSES};
use crate::check::{
    Findings, History,
    history::{Fault, FaultKind, Nanos, Operation, Outcome},
};

/// A fault counts for at least this long: what ends a leader in an instant is felt for a while.
pub const PHASE_MIN: Nanos = 1_000_000_000;

/// The contrast of all classes of operations.
#[derive(Debug, Serialize)]
pub struct Contrast {
    /// The times that are told apart: without a fault, and with a fault of each kind that happened.
    pub phases: Vec<Phase>,
    /// For each class of [`CLASSES`]: what it cost and gave.
    pub costs: Vec<Cost>,
}

/// A part of the run, not always in one piece.
#[derive(Debug, Serialize)]
pub struct Phase {
    /// The kind of the fault; `no fault`.
    pub name: &'static str,
    /// What that is.
    pub says: &'static str,
    /// How often it happened; 0 for `no fault`.
    pub faults: u64,
    /// When, merged and in order.
    #[serde(skip)]
    spans: Vec<(Nanos, Nanos)>,
}

/// What one class of operations cost and gave.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// How many were answered.
    pub ok: u64,
    /// How many were not done.
    pub failed: u64,
    /// Of how many nobody knows.
    pub unknown: u64,
    /// The time of half of those answered is at most this, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The time of 99 in a hundred is at most this.
    pub p99_ms: Option<f64>,
    /// For each phase: how many were asked that touch it, and how many of these were answered.
    pub phases: Vec<(u64, u64)>,
    /// How stale the stale ones among those answered were, if any was.
    pub stale: Option<Stale>,
}

/// How stale the stale reads of a class were.
#[derive(Debug, PartialEq, Serialize)]
pub struct Stale {
    /// How many.
    pub reads: u64,
    /// Half of them at most this, in milliseconds.
    pub p50_ms: f64,
    /// 99 in a hundred at most this.
    pub p99_ms: f64,
    /// All at most this.
    pub max_ms: f64,
    /// In changes that were missed: half of them at most this many.
    pub p50_revisions: u64,
    /// 99 in a hundred.
    pub p99_revisions: u64,
    /// All.
    pub max_revisions: u64,
    /// The operation that was stale for the longest, by index.
    pub worst: u64,
}

/// The contrast of a history.
pub fn contrast(history: &History, findings: &Findings) -> Contrast {
    let phases = phases(&history.faults);
    let mut gathered: Vec<Gathered> = Vec::new();
    gathered.resize_with(CLASSES.len(), || Gathered::new(phases.len()));
    let mut classes = HashMap::new();
    for operation in &history.operations {
        let class = words::class(operation);
        classes.insert(operation.index, class);
        gathered[class].add(operation, &phases);
    }
    for stale in &findings.staleness {
        if let Some(class) = classes.get(&stale.operation)
            && (stale.stale > 0 || stale.revisions > 0)
        {
            gathered[*class].stale.push((stale.stale, stale.revisions, stale.operation));
        }
    }
    Contrast { phases, costs: gathered.into_iter().map(Gathered::cost).collect() }
}

/// `no fault`, and each kind that there was. A fault without an end lasts with the history.
fn phases(faults: &[Fault]) -> Vec<Phase> {
    let mut kinds: BTreeMap<FaultKind, Vec<(Nanos, Nanos)>> = BTreeMap::new();
    for fault in faults {
        let least = fault.from.saturating_add(PHASE_MIN);
        let to = fault.to.unwrap_or(Nanos::MAX).max(least);
        kinds.entry(fault.kind).or_default().push((fault.from, to));
    }
    let all = kinds.values().flatten().copied().collect();
    let no_fault = Phase { name: "no fault", says: "Nothing was wrong.", faults: 0, spans: merged(all) };
    let mut phases = vec![no_fault];
    for (kind, spans) in kinds {
        let (name, says) = (kind.name(), words::fault(kind));
        phases.push(Phase { name, says, faults: spans.len() as u64, spans: merged(spans) });
    }
    phases
}

fn merged(mut spans: Vec<(Nanos, Nanos)>) -> Vec<(Nanos, Nanos)> {
    spans.sort_unstable();
    let mut merged: Vec<(Nanos, Nanos)> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

impl Phase {
    /// Whether the operation touches it. Of `no fault`, `spans` are those of all faults.
    fn touches(&self, operation: &Operation) -> bool {
        let next = self.spans.partition_point(|span| span.1 < operation.call);
        let faulty = self.spans.get(next).is_some_and(|span| span.0 <= operation.ret);
        faulty == (self.faults > 0)
    }
}

/// What is gathered of one class.
struct Gathered {
    cost: Cost,
    took: Vec<Nanos>,
    /// How long, how many changes, which operation.
    stale: Vec<(Nanos, u64, u64)>,
}

impl Gathered {
    fn new(phases: usize) -> Gathered {
        let cost = Cost { phases: vec![(0, 0); phases], ..Cost::default() };
        Gathered { cost, took: Vec::new(), stale: Vec::new() }
    }

    fn add(&mut self, operation: &Operation, phases: &[Phase]) {
        match operation.outcome {
            Outcome::Ok => self.cost.ok += 1,
            Outcome::Fail(_) => self.cost.failed += 1,
            Outcome::Unknown(_) => self.cost.unknown += 1,
        }
        if operation.is_ok() {
            self.took.push(operation.ret.saturating_sub(operation.call));
        }
        for (phase, (asked, ok)) in phases.iter().zip(&mut self.cost.phases) {
            let touches = phase.touches(operation);
            *asked += u64::from(touches);
            *ok += u64::from(touches && operation.is_ok());
        }
    }

    fn cost(mut self) -> Cost {
        self.took.sort_unstable();
        self.cost.p50_ms = percentile(&self.took, 50).map(millis);
        self.cost.p99_ms = percentile(&self.took, 99).map(millis);
        self.cost.stale = stale(self.stale);
        self.cost
    }
}

fn stale(found: Vec<(Nanos, u64, u64)>) -> Option<Stale> {
    let worst = found.iter().max()?.2;
    let mut times: Vec<u64> = found.iter().map(|stale| stale.0).collect();
    let mut revisions: Vec<u64> = found.iter().map(|stale| stale.1).collect();
    times.sort_unstable();
    revisions.sort_unstable();
    Some(Stale {
        reads: found.len() as u64,
        p50_ms: millis(percentile(&times, 50)?),
        p99_ms: millis(percentile(&times, 99)?),
        max_ms: millis(*times.last()?),
        p50_revisions: percentile(&revisions, 50)?,
        p99_revisions: percentile(&revisions, 99)?,
        max_revisions: *revisions.last()?,
        worst,
    })
}

/// The smallest of the sorted values that at least this many in a hundred do not exceed.
pub fn percentile(sorted: &[u64], hundredths: usize) -> Option<u64> {
    let rank = (sorted.len() * hundredths).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Milliseconds, to the microsecond.
pub fn millis(nanos: Nanos) -> f64 {
    (nanos / 1_000) as f64 / 1_000.0
}
