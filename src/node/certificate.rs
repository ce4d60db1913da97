//! Freshness certificates: how old this member's state can be at most, proved on its own clock alone.
//!
//! A certificate is the pair (moment just before a read index was asked for, that index). A quorum
//! confirmed the index after that moment, so every write acknowledged before it has an index at or below.
//! Once the member has applied the index, its state is at most as old as the certificate. A heartbeat
//! proves nothing of the kind: a leader that was cut off keeps sending them.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::env::Moment;

/// Certificates kept at once. At the limit every second one goes: a member that is far behind proves less
/// exactly how old its state is, but goes on to prove it, from the one that it has applied to the newest.
const KEPT_MAX: usize = 256;

/// The certificates of one member.
#[derive(Default)]
pub struct Certificates {
    /// In order of moments and, since a later read index is never lower, of indexes.
    kept: Mutex<VecDeque<(Moment, u64)>>,
}

impl Certificates {
    /// Notes that a quorum confirmed `index` after `sent`.
    pub fn add(&self, sent: Moment, index: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.partition_point(|(moment, _)| *moment < sent);
        if kept.get(place) == Some(&(sent, index)) {
            // All reads of one round bring the same one.
            return;
        }
        kept.insert(place, (sent, index));
        if kept.len() > KEPT_MAX {
            let mut odd = false;
            kept.retain(|_| {
                odd = !odd;
                odd
            });
        }
    }

    /// How old the state may be at most at `now`, if `applied` is what was applied. `None`: nothing is
    /// proved.
    pub fn staleness(&self, now: Moment, applied: u64) -> Option<Duration> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = kept.iter().rposition(|(_, index)| *index <= applied)?;
        kept.drain(..newest);
        kept.front().map(|(sent, _)| now.since(*sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(ms))
    }

    #[test]
    fn age_counts_from_before_the_request_of_the_newest_applied_certificate() {
        let certificates = Certificates::default();
        assert_eq!(certificates.staleness(at(5), 100), None, "nothing is proved without a certificate");
        certificates.add(at(10), 7);
        certificates.add(at(20), 9);
        assert_eq!(certificates.staleness(at(25), 6), None, "not applied yet");
        assert_eq!(certificates.staleness(at(25), 7), Some(Duration::from_millis(15)));
        assert_eq!(certificates.staleness(at(25), 9), Some(Duration::from_millis(5)));
        assert_eq!(certificates.staleness(at(90), 12), Some(Duration::from_millis(70)), "it ages");
    }

    #[test]
    fn a_late_answer_does_not_replace_a_newer_certificate() {
        let certificates = Certificates::default();
        certificates.add(at(20), 9);
        certificates.add(at(10), 7);
        assert_eq!(certificates.staleness(at(30), 9), Some(Duration::from_millis(10)));
    }

    #[test]
    fn a_member_far_behind_keeps_a_bounded_number() {
        let certificates = Certificates::default();
        for i in 0..1000 {
            certificates.add(at(i), i + 10);
        }
        assert!(certificates.kept.lock().expect("not poisoned").len() <= KEPT_MAX);
        let age = |applied| certificates.staleness(at(1000), applied).map(|age| age.as_millis());
        assert_eq!(age(10), Some(1000), "the applied one is kept");
        assert!(age(510).is_some_and(|age| (500..600).contains(&age)), "one from about then is kept");
        assert!(age(2000).is_some_and(|age| age < 100), "a new one is kept");
    }

    #[test]
    fn the_reads_of_one_round_bring_one_certificate() {
        let certificates = Certificates::default();
        certificates.add(at(10), 7);
        for _ in 0..2 * KEPT_MAX {
            certificates.add(at(20), 9);
        }
        assert_eq!(certificates.kept.lock().expect("not poisoned").len(), 2);
        assert_eq!(certificates.staleness(at(30), 7), Some(Duration::from_millis(20)), "and drop no other");
    }
}
