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

    /// It goes ahead by `by` at once.
    pub fn jump(&self, by: Duration) {
        self.state().shown += by;
    }

    /// The machine sleeps, in which nobody reads its clock. (Its host cannot be stopped: what it does now, it
    /// does at the moment of falling asleep.)
    pub fn fall_asleep(&self, at: Duration) {
        self.set_rate(0.0, at);
    }

    /// It wakes up, and its clock has gone on.
    pub fn wake_up(&self, at: Duration) {
        let slept = at.saturating_sub(self.state().since);
        self.set_rate(1.0, at);
        self.sleep_through(slept);
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
