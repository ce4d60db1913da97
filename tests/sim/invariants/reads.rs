//! The promise of each level (docs/consistency.md), with our revisions as witness: what an answer shows is
//! the state at its revision, whatever the level; and the revision is as high as the level says.
//!
//! Real time is simulated time, the same for all. A floor is the highest revision that was acknowledged by
//! a moment: who begins later and promises linearizability must not be below it (Herlihy and Wing, 1990).

use std::{collections::BTreeMap, time::Duration};

use quorate::types::{Level, Limits, Range, Revision};

use super::replay::Replayed;
use crate::workload::{Call, History, Op, Outcome};

/// How much two clocks may differ in rate: as the configuration says.
pub(super) const DRIFT: f64 = 0.05;

/// Revisions by the time at which they were known, ever higher.
#[derive(Default)]
struct Floor(BTreeMap<Duration, Revision>);

impl Floor {
    fn of(known: impl Iterator<Item = (Duration, Revision)>) -> Floor {
        let mut by_time: Vec<_> = known.collect();
        by_time.sort_unstable();
        let (mut floor, mut highest) = (Floor::default(), 0);
        for (at, revision) in by_time {
            highest = highest.max(revision);
            floor.0.insert(at, highest);
        }
        floor
    }

    /// What was known before `at`.
    fn before(&self, at: Duration) -> Revision {
        self.0.range(..at).next_back().map_or(0, |(_, revision)| *revision)
    }
}

/// `clocks`: members' clocks kept their bound; else no more is expected of what rests on them than a state
/// that was committed.
pub fn check(history: &History, replayed: &Replayed, clocks: bool) -> Vec<String> {
    let written = |op: &Op| match op.outcome {
        Outcome::Written { revision, .. } => Some((op.ended, revision)),
        _ => None,
    };
    let strong = |op: &Op| match (&op.call, &op.outcome) {
        (Call::Read { level, .. }, Outcome::Read(read)) if is_strong(*level) => {
            Some((op.ended, read.revision))
        }
        _ => None,
    };
    let writes = Floor::of(history.ops.iter().filter_map(written));
    let all = Floor::of(history.ops.iter().filter_map(|op| written(op).or_else(|| strong(op))));
    let mut violations: Vec<String> = history
        .ops
        .iter()
        .filter_map(|op| prefix(op, replayed).or_else(|| fresh(op, (&writes, &all), clocks)))
        .collect();
    violations.extend(monotonic(history));
    violations
}

fn is_strong(level: Level) -> bool {
    matches!(level, Level::Linearizable | Level::Log | Level::Lease | Level::LeaseOrIndex)
}

/// What is shown is the state at the revision that is told, or that was asked for.
fn prefix(op: &Op, replayed: &Replayed) -> Option<String> {
    let (Call::Read { range, level }, Outcome::Read(read)) = (&op.call, &op.outcome) else { return None };
    let revision = if range.revision == 0 { read.revision } else { range.revision };
    let at = Range { revision, ..range.clone() };
    let told =
        |why: &str| Some(format!("{level}: {} (c{}, from {:?}): {why}", op.outcome, op.client, op.began));
    match replayed.state.range(&at, &Limits::default()) {
        Ok((expected, _)) => {
            let same =
                expected.kvs == read.pairs && expected.count == read.count && expected.more == read.more;
            if same {
                None
            } else {
                told(&format!("the state there is {:?}, not {:?}", expected.kvs, read.pairs))
            }
        }
        Err(error) => told(&format!("no such state was ever committed: {error:?}")),
    }
}

/// It is as new as it must be.
fn fresh(op: &Op, (writes, all): (&Floor, &Floor), clocks: bool) -> Option<String> {
    let too_old = |what: &str, revision: Revision, floor: Revision| {
        (revision < floor).then(|| {
            format!(
                "{what}: {} {} (c{}, from {:?}), after revision {floor}",
                op.call, op.outcome, op.client, op.began
            )
        })
    };
    match (&op.call, &op.outcome) {
        (_, Outcome::Written { revision, stored: false, .. }) => {
            too_old("writes in order", *revision, all.before(op.began) + 1)
        }
        (Call::Read { level, .. }, Outcome::Read(read)) => {
            let rests_on_clocks = matches!(level, Level::Lease | Level::LeaseOrIndex | Level::Bounded { .. });
            if rests_on_clocks && !clocks {
                return None;
            }
            let kept =
                promised(*level, op, all).and_then(|floor| too_old(level.name(), read.revision, floor));
            kept.or_else(|| {
                let bound = read.bound.filter(|_| clocks)?;
                let then = op.began.saturating_sub(bound.mul_f64(1.0 + DRIFT));
                too_old("staleness bound", read.revision, writes.before(then))
            })
        }
        _ => None,
    }
}

fn promised(level: Level, op: &Op, all: &Floor) -> Option<Revision> {
    match level {
        Level::Bounded { max_age } => Some(all.before(op.began.saturating_sub(max_age.mul_f64(1.0 + DRIFT)))),
        Level::Session { min_revision } => Some(min_revision),
        level => is_strong(level).then(|| all.before(op.began)),
    }
}

/// One member never shows something older than it has shown.
fn monotonic(history: &History) -> Vec<String> {
    let mut by_member: BTreeMap<u64, Vec<(Duration, Revision)>> = BTreeMap::new();
    for op in &history.ops {
        if let Outcome::Read(read) = &op.outcome {
            by_member.entry(read.member).or_default().push((op.ended, read.revision));
        }
    }
    let floors: BTreeMap<u64, Floor> =
        by_member.into_iter().map(|(id, shown)| (id, Floor::of(shown.into_iter()))).collect();
    let went_back = |op: &Op| match &op.outcome {
        Outcome::Read(read) => {
            let floor = floors[&read.member].before(op.began);
            (read.revision < floor).then(|| {
                format!("monotonic member: n{} showed {floor}, then {} {}", read.member, op.call, op.outcome)
            })
        }
        _ => None,
    };
    history.ops.iter().filter_map(went_back).collect()
}
