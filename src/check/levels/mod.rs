//! What each level gave, and whether that is what it promised.
//!
//! With one revision counter for the whole store, each guarantee is a comparison: `A(t)` is the highest
//! revision that an operation which had returned before `t` made or saw. A read called at `t` that is
//! answered as of revision `s` is linearizable if `s >= A(t)`, within Δ if `s >= A(t - Δ)`, and so on. The
//! session guarantees are those of Terry et al. (1994). Every guarantee is counted at every level, to show
//! what a level gives; only those that it promises are held against it.

mod promise;
mod session;
mod staleness;

use self::staleness::Missed;
use super::{
    acked::Acked,
    effect,
    history::{Nanos, Operation},
    index::Index,
    verdict::{Findings, Tally, Violation, Worst},
    witness::Replay,
};
use crate::types::Level;

/// This tier's name.
pub const TIER: &str = "levels";

/// The name under which writes are counted.
const WRITE: &str = "write";

/// Counts every guarantee at every level. O(n log n).
pub fn check(index: &Index<'_>, replay: &Replay, findings: &mut Findings) {
    let acked = Acked::new(index.history);
    let mut judge = Judge { index, acked: &acked, replay, findings };
    recency(&mut judge);
    prefixes(&mut judge);
    session::check(&mut judge);
    session::per_member(&mut judge);
    let reads = index.history.operations.iter().filter(|operation| told(operation)).count();
    let tier = findings.tier(TIER);
    tier.checked = reads as u64;
}

/// Whether the operation is a read whose answer tells its revision.
fn told(operation: &Operation) -> bool {
    effect::is_read(operation) && operation.revision() > 0
}

/// The level's name; a read without one promises the strongest.
fn level(operation: &Operation) -> &'static str {
    operation.level.unwrap_or(Level::Linearizable).name()
}

/// What every count needs.
struct Judge<'a, 'b> {
    index: &'b Index<'a>,
    acked: &'b Acked<'a>,
    replay: &'b Replay,
    findings: &'b mut Findings,
}

/// A guarantee that did not hold for an operation.
struct Breach<'a> {
    /// Where it is counted.
    level: &'static str,
    guarantee: &'static str,
    /// Its name as an anomaly, if it was promised.
    anomaly: &'static str,
    operation: &'a Operation,
    why: String,
    /// The others that show it.
    others: Vec<u64>,
    missed: Option<Missed>,
}

impl<'a> Judge<'a, '_> {
    fn count(&mut self, level: &'static str, guarantee: &'static str, promised: bool) -> &mut Tally {
        let tally = self.findings.tally(level, guarantee);
        tally.checked += 1;
        tally.promised |= promised;
        tally
    }

    /// Counts a breach, and reports it if it was promised and no assumption was broken on purpose.
    fn breach(&mut self, breach: Breach<'a>, promised: bool) {
        let Breach { level, guarantee, anomaly, operation, why, others, missed } = breach;
        let assumption = promise::rests_on_clocks(operation, guarantee).then(|| self.index.broken(operation));
        let assumption = assumption.flatten();
        let operations: Vec<u64> = [operation.index].into_iter().chain(others).collect();
        let tally = self.findings.tally(level, guarantee);
        tally.violations += 1;
        if promised && let Some(assumption) = assumption {
            tally.excused += 1;
            tally.assumption = Some(assumption.to_owned());
        }
        let stale_ms = missed.as_ref().map_or(0, |missed| (missed.stale + 500_000) / 1_000_000);
        let stale_revisions = missed.as_ref().map_or(0, |missed| missed.revisions);
        let is_worse = |worst: &Worst| (stale_ms, stale_revisions) > (worst.stale_ms, worst.stale_revisions);
        if tally.worst.as_ref().is_none_or(is_worse) {
            let (operations, why) = (operations.clone(), why.clone());
            tally.worst = Some(Worst { operations, why, stale_ms, stale_revisions });
        }
        if promised && assumption.is_none() {
            self.findings.violated(Violation { tier: TIER, anomaly, level: Some(level), why, operations });
        }
    }
}

/// Linearizable, within Δ, and within the bound that the answer itself told.
fn recency(judge: &mut Judge<'_, '_>) {
    let history = judge.index.history;
    let common = promise::delta_max(history);
    for read in history.operations.iter().filter(|operation| told(operation)) {
        fresh(judge, read, ("linearizable", "stale-read", 0, promise::linearizable(read)));
        let own = promise::delta(read, history);
        if let Some(delta) = own.or(common) {
            fresh(judge, read, ("bounded", "stale-beyond-bound", delta, own.is_some()));
        }
        if let Some(bound) = promise::stated(read, history) {
            fresh(judge, read, ("stated-bound", "stale-beyond-bound", bound, true));
        }
        if let Some(missed) = staleness::missed(judge, read, read.call) {
            let Missed { stale, revisions, .. } = missed;
            judge.findings.staleness.push(super::verdict::Staleness {
                operation: read.index,
                stale,
                revisions,
            });
        }
    }
}

/// Whether the read saw everything that was acknowledged `delta` before it was called.
fn fresh<'a>(
    judge: &mut Judge<'a, '_>,
    read: &'a Operation,
    (guarantee, anomaly, delta, promised): (&'static str, &'static str, Nanos, bool),
) {
    let level = level(read);
    judge.count(level, guarantee, promised);
    let Some(until) = read.call.checked_sub(delta) else { return };
    let Some((revision, by)) = judge.acked.before(until) else { return };
    if read.revision() >= revision {
        return;
    }
    let missed = staleness::missed(judge, read, until);
    let seen = staleness::shown(read);
    let since = judge.acked.since(read.revision() + 1).unwrap_or(until);
    let ms = |since: Nanos| (read.call - since) as f64 / 1e6;
    let (why, other) = match &missed {
        Some(missed) => (
            format!(
                "{} {:.3} ms before it was called; it was answered {seen} as of revision {}",
                missed.text,
                ms(missed.acked),
                read.revision()
            ),
            missed.writer.unwrap_or(by.index),
        ),
        None => (
            format!(
                "it was answered {seen} as of revision {}, though revision {revision} had been told; a newer \
                 one was first told {:.3} ms before it was called, but did not change what it read",
                read.revision(),
                ms(since)
            ),
            by.index,
        ),
    };
    let others = vec![other];
    judge.breach(Breach { level, guarantee, anomaly, operation: read, why, others, missed }, promised);
}

/// Whether the answers are those of their revision; the replay found out.
fn prefixes(judge: &mut Judge<'_, '_>) {
    let operations = &judge.index.history.operations;
    operations.iter().filter(|operation| told(operation)).for_each(|read| {
        judge.count(level(read), "consistent-prefix", true);
    });
    let replay = judge.replay;
    let mut last = None;
    for (at, why) in &replay.wrong {
        let read = &operations[*at as usize];
        if !told(read) || last.replace(at) == Some(at) {
            continue;
        }
        let tally = judge.findings.tally(level(read), "consistent-prefix");
        tally.violations += 1;
        let first =
            || Worst { operations: vec![read.index], why: why.clone(), stale_ms: 0, stale_revisions: 0 };
        tally.worst.get_or_insert_with(first);
    }
}
