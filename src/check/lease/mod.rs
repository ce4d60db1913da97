//! T4, leases: not ended early, not long after their time, and all keys of one in one revision.
//!
//! A keep-alive that was acknowledged prolongs the lease from when it arrived, which is not before its call:
//! until call + TTL nobody may see the lease gone, if nobody revoked it. That it has ended is seen from a
//! keep-alive that is told so, and from the keys that go with it: a read that finds one missing at a later
//! revision, or a watch that tells its deletion. Only keys that nothing else than the lease can have deleted
//! count.
//!
//! How late it may end: a leader that knows all keep-alives ends it at its time, a new leader only a full
//! TTL after it began to lead. So the other side is checked only where the answers show one term, no fault
//! was at work, and no keep-alive is of unknown outcome: there a linearizable read may not find a key
//! [`LATE_MAX`] after the TTL since the last answer.

mod keys;

use std::collections::BTreeMap;

use self::keys::{Keys, Seen};
use super::{
    Findings,
    history::{Action, History, Nanos, Operation, Outcome},
    promises::{Broken, Promises},
};

/// How long after its time a lease may still be seen: the leader looks for ended leases twice a second, and
/// the command goes through the log; the rest is for machines that are busy.
pub const LATE_MAX: Nanos = 5_000_000_000;

/// Checks leases, into tier `t4`.
pub fn check(history: &History, findings: &mut Findings) {
    let mut leases: BTreeMap<u64, Lease> = BTreeMap::new();
    for operation in &history.operations {
        if let Some(lease) = lease_of(&operation.action) {
            leases.entry(lease).or_default().add(operation);
        }
    }
    if leases.is_empty() {
        return;
    }
    let keys = Keys::of(history);
    let mut promises = Promises { findings, faults: &history.faults, subject: "leases" };
    for (name, lease) in leases {
        if lease.grants > 1 {
            // The name was used again: what was seen may be of either.
            continue;
        }
        let seen = keys.seen(name);
        let mut check = Check { history, name, lease, seen, promises: &mut promises };
        check.early();
        check.revived();
        check.late();
        check.at_once();
    }
}

fn lease_of(action: &Action) -> Option<u64> {
    match action {
        Action::Grant { lease, .. } => *lease,
        Action::KeepAlive { lease, .. } | Action::Revoke { lease } | Action::Attach { lease, .. } => {
            Some(*lease)
        }
        _ => None,
    }
}

/// What was done with one lease, in order of call.
#[derive(Default)]
struct Lease<'a> {
    /// How often it was granted.
    grants: u64,
    /// Grant and keep-alives that prolonged it, and for how long each.
    prolonged: Vec<(&'a Operation, Nanos)>,
    /// Keep-alives that were told that it has ended.
    ended: Vec<&'a Operation>,
    /// When it was first asked to end it, whatever came of it.
    revoked: Option<Nanos>,
    /// Whether a keep-alive may yet prolong it.
    is_open: bool,
}

impl<'a> Lease<'a> {
    fn add(&mut self, operation: &'a Operation) {
        match (&operation.action, &operation.outcome) {
            (_, Outcome::Fail(_)) => {}
            (Action::Grant { ttl, .. }, Outcome::Ok) => {
                self.grants += 1;
                self.prolonged.push((operation, *ttl));
            }
            (Action::KeepAlive { ttl: Some(0), .. }, Outcome::Ok) => self.ended.push(operation),
            (Action::KeepAlive { ttl: Some(ttl), .. }, Outcome::Ok) => self.prolonged.push((operation, *ttl)),
            (Action::KeepAlive { .. }, _) => self.is_open = true,
            (Action::Revoke { .. }, _) => {
                self.revoked = Some(self.revoked.unwrap_or(Nanos::MAX).min(operation.call));
            }
            _ => {}
        }
    }
}

struct Check<'a, 'b, 'c> {
    history: &'a History,
    name: u64,
    lease: Lease<'a>,
    seen: Seen<'a>,
    promises: &'b mut Promises<'c>,
}

impl Check<'_, '_, '_> {
    /// The part of a time to live that a clock which runs too fast within its bound leaves.
    fn least(&self, ttl: Nanos) -> Nanos {
        let bound = self.history.about.clock_bound.unwrap_or(0.0).clamp(0.0, 1.0);
        // A time to live has fewer bits than the fraction of an f64; the fraction is between 0 and 1.
        ttl - ((ttl as f64) * bound) as Nanos
    }

    /// Nobody sees it gone while its time runs.
    fn early(&mut self) {
        let mut gone: Vec<(Nanos, Vec<u64>, String)> = vec![];
        for operation in &self.lease.ended {
            let told = format!("a keep-alive was told that it has ended by {} ns", operation.ret);
            gone.push((operation.ret, vec![operation.index], told));
        }
        for missing in &self.seen.missing {
            let told = format!("{} was gone by {} ns ({})", missing.key, missing.at, missing.how());
            gone.push((missing.at, missing.operation.into_iter().collect(), told));
        }
        self.promises.checked("not-early", self.lease.prolonged.len() as u64);
        let ends =
            self.lease.prolonged.iter().map(|(by, ttl)| (by.call.saturating_add(self.least(*ttl)), *by));
        let Some((end, by)) = ends.max_by_key(|(end, _)| *end) else { return };
        let revoked = self.lease.revoked;
        let first = gone.into_iter().filter(|(at, ..)| revoked.is_none_or(|revoked| revoked > *at));
        let first = first.min_by_key(|(at, ..)| *at).filter(|(at, ..)| *at < end);
        let Some((at, operations, told)) = first else { return };
        let why =
            format!("lease {} was to live until {end} ns, by operation {}; but {told}", self.name, by.index);
        let operations = [by.index].into_iter().chain(operations).collect();
        let broken = Broken { anomaly: "lease-early", why, operations, clock: Some((by.call.min(at), end)) };
        self.promises.broken("not-early", broken);
    }

    /// What has ended is never prolonged.
    fn revived(&mut self) {
        let ended = self.lease.ended.iter().min_by_key(|operation| operation.ret);
        let Some(ended) = ended else { return };
        let later = self.lease.prolonged.iter().find(|(by, _)| by.call > ended.ret);
        self.promises.checked("not-revived", 1);
        if let Some((by, _)) = later {
            let why =
                format!("{} prolonged lease {} after {} was told its end", by.index, self.name, ended.index);
            let operations = vec![ended.index, by.index];
            let broken = Broken { anomaly: "lease-revived", why, operations, clock: None };
            self.promises.broken("not-revived", broken);
        }
    }

    /// Where nothing disturbed, its keys are gone soon after its time.
    fn late(&mut self) {
        let Some((last, ttl)) =
            self.lease.prolonged.iter().max_by_key(|(by, ttl)| by.ret.saturating_add(*ttl))
        else {
            return;
        };
        let term = last.seen.map_or(0, |seen| seen.term);
        if self.lease.is_open || term == 0 {
            return;
        }
        let over = last.ret.saturating_add(*ttl);
        let end = over.saturating_add(ttl - self.least(*ttl)).saturating_add(LATE_MAX);
        let calm = |until: Nanos| {
            let meanwhile =
                |from: Nanos, to: Option<Nanos>| from <= until && to.is_none_or(|to| to >= last.call);
            !self.history.faults.iter().any(|fault| meanwhile(fault.from, fault.to))
        };
        let reads = self.seen.found.iter().filter(|read| {
            read.call > end && read.seen.is_some_and(|seen| seen.term == term) && calm(read.ret)
        });
        let found: Vec<&Operation> = reads.copied().collect();
        let checked = self.seen.missing.iter().filter(|missing| missing.at > end).count() + found.len();
        self.promises.checked("not-late", checked as u64);
        if let Some(read) = found.first() {
            let why = format!(
                "{} still finds a key of lease {} at {} ns; its time was over at {} ns, by {}",
                read.index, self.name, read.call, over, last.index
            );
            let (operations, clock) = (vec![last.index, read.index], Some((last.call, read.ret)));
            self.promises.broken("not-late", Broken { anomaly: "lease-late", why, operations, clock });
        }
    }

    /// All its keys go in one revision.
    fn at_once(&mut self) {
        let mut deleted =
            self.seen.missing.iter().filter(|missing| missing.revision > 0 && missing.is_event());
        let Some(first) = deleted.next() else { return };
        self.promises.checked("at-once", 1);
        if let Some(other) = deleted.find(|other| other.revision != first.revision) {
            let why = format!(
                "the keys of lease {} were deleted in more than one revision: {} at {}, {} at {}",
                self.name, first.key, first.revision, other.key, other.revision
            );
            self.promises
                .broken("at-once", Broken { anomaly: "lease-split", why, operations: vec![], clock: None });
        }
    }
}

#[cfg(test)]
mod tests;
