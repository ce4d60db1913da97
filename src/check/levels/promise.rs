//! What each level promises (`docs/consistency.md`).

use crate::check::history::{History, Nanos, Operation};
use crate::types::{Level, Mechanism, Revision};

/// Every write that was acknowledged before the read was called.
pub fn linearizable(read: &Operation) -> bool {
    use Level::{Lease, LeaseOrIndex, Linearizable, Log};
    matches!(read.level, None | Some(Linearizable | Log | Lease | LeaseOrIndex))
}

/// What the session has seen and written, up to this revision.
pub fn session(read: &Operation, known: Revision) -> bool {
    match read.level {
        // It promises what it was asked for; a caller that asks for less gets less.
        Some(Level::Session { min_revision }) => min_revision >= known,
        _ => linearizable(read),
    }
}

/// How old the read's answer may be, by what it asked for. Nanoseconds.
pub fn delta(read: &Operation, history: &History) -> Option<Nanos> {
    match read.level {
        Some(Level::Bounded { max_age }) => {
            let nanos = u64::try_from(max_age.as_nanos()).unwrap_or(Nanos::MAX);
            Some(stretched(nanos, history))
        }
        _ => None,
    }
}

/// The largest of these: the Δ that the other levels are measured by.
pub fn delta_max(history: &History) -> Option<Nanos> {
    history.operations.iter().filter_map(|operation| delta(operation, history)).max()
}

/// A span on a member's clock, on the history's: rates may differ within the bound that the run states.
pub fn stretched(span: Nanos, history: &History) -> Nanos {
    let bound = history.about.clock_bound.unwrap_or(0.0).max(0.0);
    span.saturating_add((span as f64 * bound) as Nanos)
}

/// How old the read's answer may be, by what it tells itself: that is in whole milliseconds. Nanoseconds.
pub fn stated(read: &Operation, history: &History) -> Option<Nanos> {
    let bound = read.seen.and_then(|seen| seen.staleness_bound)?;
    Some(stretched(bound.saturating_add(1_000_000), history))
}

/// Whether the guarantee rests on clocks, at this read.
pub fn rests_on_clocks(read: &Operation, guarantee: &str) -> bool {
    let mechanism = read.seen.and_then(|seen| seen.mechanism);
    match (guarantee, read.level) {
        ("bounded" | "stated-bound", _) => true,
        (_, Some(Level::Lease | Level::LeaseOrIndex)) => {
            !matches!(mechanism, Some(Mechanism::ReadIndex | Mechanism::LogEntry))
        }
        _ => false,
    }
}
