//! What the members promise their leader: for how long each elects nobody else after it heard from it.
//!
//! Members may be configured differently, also while their timeouts are changed one by one. So each tells its
//! promise with every acknowledgement, and the lease rests on the shortest one heard. A promise is noted
//! before Raft counts the acknowledgement that brought it: who was not heard is in no quorum on which a lease
//! could rest, and need not be known.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use crate::types::NodeId;

/// The promises that a leader, or who may become one, has heard.
pub struct Promises {
    own: Duration,
    /// By member. Bounded by the members of the cluster.
    heard: Mutex<BTreeMap<NodeId, Heard>>,
}

#[derive(Clone, Copy)]
struct Heard {
    promise: Duration,
    at: Instant,
}

impl Promises {
    /// Of a member that promises `own` itself.
    pub fn new(own: Duration) -> Promises {
        Promises { own, heard: Mutex::default() }
    }

    /// Notes the promise in an answer of `member` to what was sent at `sent`; zero: it knows of no promises,
    /// and no lease can rest on it.
    ///
    /// A longer one than was known counts only if it was asked for after that: an answer from before a
    /// restart may arrive late. It also holds for what the member acknowledged before, since a restarted
    /// member votes for nobody for the longer of its former promise and its new one.
    pub fn note(&self, member: NodeId, promise: Duration, sent: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = heard.get(&member).copied();
        let news =
            known.is_none_or(|known| promise < known.promise || (promise > known.promise && sent > known.at));
        if !news {
            return;
        }
        heard.insert(member, Heard { promise, at: Instant::now() });
        if promise != self.own {
            let own = self.own;
            warn!(member, ?promise, ?own, "election_timeout_max differs: leases rest on the shortest");
        }
    }

    /// The shortest promise, this member's own included.
    pub fn shortest(&self) -> Duration {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.values().map(|heard| heard.promise).fold(self.own, Duration::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_shortest_promise_counts_and_silence_about_it_is_none() {
        let promises = Promises::new(10 * SECOND);
        assert_eq!(promises.shortest(), 10 * SECOND, "who was not heard acknowledged nothing");
        promises.note(2, 20 * SECOND, Instant::now());
        assert_eq!(promises.shortest(), 10 * SECOND);
        promises.note(3, 5 * SECOND, Instant::now());
        assert_eq!(promises.shortest(), 5 * SECOND);
        promises.note(2, Duration::ZERO, Instant::now());
        assert_eq!(promises.shortest(), Duration::ZERO, "an older version, which tells none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_from_before_a_restart_does_not_lengthen_a_promise() {
        let promises = Promises::new(10 * SECOND);
        let before = Instant::now();
        promises.note(2, 8 * SECOND, before);
        tokio::time::advance(SECOND).await;
        promises.note(2, 3 * SECOND, Instant::now());
        promises.note(2, 8 * SECOND, before);
        assert_eq!(promises.shortest(), 3 * SECOND, "sent before the shorter one was heard");
        tokio::time::advance(SECOND).await;
        promises.note(2, 8 * SECOND, Instant::now());
        assert_eq!(promises.shortest(), 8 * SECOND, "it restarted once more, and holds the longer one");
    }
}
