//! A moment as openraft sees it: tokio's, by this process's clock.

use std::{
    ops::{Add, AddAssign, Sub, SubAssign},
    time::Duration,
};

use tokio::time::Instant;

use crate::env::skewed;

/// A moment. Later than an earlier one, whatever was done to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RaftInstant(Instant);

impl RaftInstant {
    /// How far it lies ahead, by this process's clock; zero if it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(skewed(Instant::now()))
    }
}

impl openraft_rt::Instant for RaftInstant {
    fn now() -> RaftInstant {
        RaftInstant(skewed(Instant::now()))
    }
}

impl Add<Duration> for RaftInstant {
    type Output = RaftInstant;

    fn add(self, time: Duration) -> RaftInstant {
        RaftInstant(self.0 + time)
    }
}

impl AddAssign<Duration> for RaftInstant {
    fn add_assign(&mut self, time: Duration) {
        self.0 += time;
    }
}

impl Sub<Duration> for RaftInstant {
    type Output = RaftInstant;

    fn sub(self, time: Duration) -> RaftInstant {
        RaftInstant(self.0 - time)
    }
}

impl SubAssign<Duration> for RaftInstant {
    fn sub_assign(&mut self, time: Duration) {
        self.0 -= time;
    }
}

impl Sub<RaftInstant> for RaftInstant {
    type Output = Duration;

    fn sub(self, earlier: RaftInstant) -> Duration {
        self.0.duration_since(earlier.0)
    }
}
