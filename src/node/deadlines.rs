//! When leases end: known to the leader alone, on its own clock.
//!
//! A leader counts only after it has applied the first entry of its own term, and begins with the full time
//! to live for every lease: whatever was promised before ended earlier. The table follows the state through
//! what each commit tells. An old leader may go on counting: what it proposes bears its term, and is ignored.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    env::Moment,
    state::{Doomed, LeaseChange, LeaseRecord},
    types::LeaseId,
};

/// The deadlines of all leases, while this member leads. Bounded by the leases of the cluster.
#[derive(Default)]
pub struct Deadlines {
    counting: Mutex<Option<Counting>>,
}

struct Counting {
    term: u64,
    leases: BTreeMap<LeaseId, Deadline>,
    /// Those that are not being ended already, by deadline.
    queue: BTreeSet<(Moment, LeaseId)>,
}

#[derive(Clone, Copy)]
struct Deadline {
    at: Moment,
    ttl: Duration,
    granted_at: u64,
    /// Its end is being proposed.
    ending: bool,
}

/// What became of a keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives this long from the moment that was given.
    Renewed(Duration),
    /// There is no such lease.
    Unknown,
    /// Its end is being proposed: wait for what becomes of that.
    Ending,
    /// Nothing is counted in this term (yet, or any more).
    NotCounting,
}

impl Deadlines {
    fn lock(&self) -> MutexGuard<'_, Option<Counting>> {
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The term that is counted in.
    pub fn term(&self) -> Option<u64> {
        self.lock().as_ref().map(|counting| counting.term)
    }

    /// Begins to count: every lease gets its full time. `leases` is read while commits wait to tell of
    /// theirs, so that none is missed.
    pub fn begin(&self, term: u64, now: Moment, leases: impl FnOnce() -> Vec<LeaseRecord>) {
        let mut counting = self.lock();
        let mut begun = Counting { term, leases: BTreeMap::new(), queue: BTreeSet::new() };
        for LeaseRecord { lease, ttl_ms, granted_at, .. } in leases() {
            begun.set(Doomed { lease, granted_at }, Duration::from_millis(ttl_ms), now);
        }
        *counting = Some(begun);
    }

    /// Stops counting.
    pub fn stop(&self) {
        *self.lock() = None;
    }

    /// Follows a commit.
    pub fn note(&self, changes: &[LeaseChange], now: Moment) {
        if changes.is_empty() {
            return;
        }
        let mut counting = self.lock();
        let Some(counting) = counting.as_mut() else { return };
        for change in changes {
            match *change {
                LeaseChange::Granted { lease, ttl_ms, granted_at } => {
                    counting.set(Doomed { lease, granted_at }, Duration::from_millis(ttl_ms), now);
                }
                LeaseChange::Ended { lease } => counting.remove(lease),
            }
        }
    }

    /// Renews a lease from `from` on, if `term` is counted.
    pub fn renew(&self, lease: LeaseId, term: u64, from: Moment) -> Renewal {
        let mut counting = self.lock();
        let Some(counting) = counting.as_mut().filter(|counting| counting.term == term) else {
            return Renewal::NotCounting;
        };
        match counting.leases.get(&lease).copied() {
            None => Renewal::Unknown,
            Some(Deadline { ending: true, .. }) => Renewal::Ending,
            Some(Deadline { at, ttl, granted_at, .. }) => {
                // A keep-alive that was long on its way must not shorten what another gave.
                if from + ttl > at {
                    counting.set(Doomed { lease, granted_at }, ttl, from);
                }
                Renewal::Renewed(ttl)
            }
        }
    }

    /// What is left of a lease.
    pub fn remaining(&self, lease: LeaseId, term: u64, now: Moment) -> Option<Duration> {
        let counting = self.lock();
        let counting = counting.as_ref().filter(|counting| counting.term == term)?;
        counting.leases.get(&lease).map(|deadline| deadline.at.since(now))
    }

    /// Takes leases whose time has run out, while `take` agrees to one more: they are being ended.
    pub fn take_due(&self, now: Moment, mut take: impl FnMut(LeaseId) -> bool) -> Vec<Doomed> {
        let mut counting = self.lock();
        let Some(counting) = counting.as_mut() else { return Vec::new() };
        let mut due = Vec::new();
        while let Some(&(at, lease)) = counting.queue.first() {
            if at > now || !take(lease) {
                break;
            }
            counting.queue.pop_first();
            if let Some(deadline) = counting.leases.get_mut(&lease) {
                deadline.ending = true;
                due.push(Doomed { lease, granted_at: deadline.granted_at });
            }
        }
        due
    }

    /// Nothing was proposed: they are due again, and may be kept alive until then.
    pub fn put_back(&self, leases: &[Doomed]) {
        let mut counting = self.lock();
        let Some(counting) = counting.as_mut() else { return };
        for doomed in leases {
            if let Some(deadline) = counting.leases.get_mut(&doomed.lease)
                && deadline.granted_at == doomed.granted_at
            {
                deadline.ending = false;
                counting.queue.insert((deadline.at, doomed.lease));
            }
        }
    }
}

impl Counting {
    fn set(&mut self, Doomed { lease, granted_at }: Doomed, ttl: Duration, from: Moment) {
        self.remove(lease);
        let at = from + ttl;
        self.leases.insert(lease, Deadline { at, ttl, granted_at, ending: false });
        self.queue.insert((at, lease));
    }

    fn remove(&mut self, lease: LeaseId) {
        if let Some(deadline) = self.leases.remove(&lease) {
            self.queue.remove(&(deadline.at, lease));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    fn counting(ttls: &[(LeaseId, u64)]) -> Deadlines {
        let deadlines = Deadlines::default();
        let record = |&(lease, ttl_ms)| LeaseRecord { lease, ttl_ms, session: false, granted_at: lease };
        deadlines.begin(7, at(100), || ttls.iter().map(record).collect());
        deadlines
    }

    /// Ids of what is due, of which at most those that `take` agrees to.
    fn due(deadlines: &Deadlines, now: Moment, take: impl FnMut(LeaseId) -> bool) -> Vec<LeaseId> {
        deadlines.take_due(now, take).into_iter().map(|doomed| doomed.lease).collect()
    }

    fn doomed(lease: LeaseId) -> Doomed {
        Doomed { lease, granted_at: lease }
    }

    #[test]
    fn a_new_leader_gives_the_full_time_and_ends_what_is_due_in_order() {
        let deadlines = counting(&[(1, 3000), (2, 1000), (3, 9000)]);
        let none: [LeaseId; 0] = [];
        assert_eq!(due(&deadlines, at(100), |_| true), none);
        assert_eq!(due(&deadlines, at(103), |_| true), [2, 1]);
        assert_eq!(due(&deadlines, at(103), |_| true), none, "they are being ended already");
        deadlines.put_back(&[doomed(2), doomed(1)]);
        assert_eq!(due(&deadlines, at(103), |lease| lease == 2), [2], "as many as are wanted");
    }

    #[test]
    fn a_keep_alive_prolongs_but_never_shortens() {
        let deadlines = counting(&[(1, 3000)]);
        let three = Duration::from_secs(3);
        assert_eq!(deadlines.renew(1, 7, at(101)), Renewal::Renewed(three));
        assert_eq!(deadlines.renew(1, 7, at(90)), Renewal::Renewed(three), "from before: it has that anyway");
        assert_eq!(deadlines.remaining(1, 7, at(102)), Some(Duration::from_secs(2)));
        assert_eq!(deadlines.renew(2, 7, at(101)), Renewal::Unknown);
        assert_eq!(deadlines.renew(1, 8, at(101)), Renewal::NotCounting, "another term");
        assert_eq!(due(&deadlines, at(104), |_| true), [1]);
        assert_eq!(deadlines.renew(1, 7, at(104)), Renewal::Ending);
        deadlines.note(&[LeaseChange::Ended { lease: 1 }], at(104));
        assert_eq!(deadlines.renew(1, 7, at(104)), Renewal::Unknown);
        deadlines.stop();
        assert_eq!(deadlines.renew(1, 7, at(104)), Renewal::NotCounting);
    }

    #[test]
    fn a_lease_granted_anew_is_not_the_one_that_was_due() {
        let deadlines = counting(&[(1, 1000)]);
        let first = deadlines.take_due(at(101), |_| true);
        deadlines.note(&[LeaseChange::Ended { lease: 1 }], at(101));
        deadlines.note(&[LeaseChange::Granted { lease: 1, ttl_ms: 9000, granted_at: 77 }], at(101));
        deadlines.put_back(&first);
        assert_eq!(due(&deadlines, at(109), |_| true), [0; 0]);
        assert_eq!(deadlines.take_due(at(110), |_| true), [Doomed { lease: 1, granted_at: 77 }]);
    }

    #[test]
    fn commits_are_followed() {
        let deadlines = counting(&[]);
        deadlines.note(&[LeaseChange::Granted { lease: 5, ttl_ms: 1000, granted_at: 5 }], at(200));
        assert_eq!(due(&deadlines, at(201), |_| true), [5]);
        let idle = Deadlines::default();
        idle.note(&[LeaseChange::Granted { lease: 5, ttl_ms: 1000, granted_at: 5 }], at(200));
        assert_eq!((idle.term(), due(&idle, at(300), |_| true)), (None, vec![]));
    }
}
