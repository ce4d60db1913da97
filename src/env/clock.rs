//! Time, measured on one machine. Moments of different machines cannot be compared.

use std::{ops::Add, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use super::skew::shown;

/// A moment on one machine's clock, since an arbitrary origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// A moment this long after the clock's origin.
    pub fn from_origin(since: Duration) -> Moment {
        Moment(since)
    }

    /// Time that passed since `earlier`; zero if it lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, later: Duration) -> Moment {
        Moment(self.0 + later)
    }
}

/// A clock that never goes back.
pub trait Clock: Send + Sync + 'static {
    /// The present. Counts the time during which the machine was suspended.
    fn now(&self) -> Moment;

    /// How long the machine was suspended altogether. Timers and openraft's own clock do not see that time,
    /// so that a leader which finds it grown must not trust its lease.
    fn suspended(&self) -> Duration;
}

/// The machine's own: `CLOCK_BOOTTIME`, and its lead over `CLOCK_MONOTONIC`.
pub struct SystemClock;

impl SystemClock {
    fn read(id: ClockId) -> Duration {
        let time = clock_gettime(id);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment(shown(|| SystemClock::read(ClockId::Boottime)))
    }

    fn suspended(&self) -> Duration {
        // Monotonic first: time that passes between the two calls must not hide a suspension.
        let monotonic = SystemClock::read(ClockId::Monotonic);
        SystemClock::read(ClockId::Boottime).saturating_sub(monotonic)
    }
}
