//! A member's clock: simulated time at a rate of its own.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quorate::env::{Clock, Moment};

use super::now;

/// By default it runs true.
pub struct SimClock {
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    rate: f64,
    /// At this simulated time it showed `shown`.
    since: Duration,
    shown: Duration,
    suspended: Duration,
}

impl Default for SimClock {
    fn default() -> SimClock {
        let origin = Duration::from_secs(1000);
        let state = State { rate: 1.0, since: Duration::ZERO, shown: origin, suspended: Duration::ZERO };
        SimClock { state: Mutex::new(state) }
    }
}

impl SimClock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on at another rate.
    pub fn set_rate(&self, rate: f64, at: Duration) {
        let mut state = self.state();
        let shown = state.at(at);
        *state = State { rate, since: at, shown, ..*state };
    }

    /// It has gone on for `by`, of which the machine saw nothing: it slept.
    pub fn sleep_through(&self, by: Duration) {
        let mut state = self.state();
        state.shown += by;
        state.suspended += by;
    }
}

impl State {
    fn at(&self, time: Duration) -> Duration {
        self.shown + time.saturating_sub(self.since).mul_f64(self.rate)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Moment {
        Moment::from_origin(self.state().at(now()))
    }

    fn suspended(&self) -> Duration {
        self.state().suspended
    }
}
