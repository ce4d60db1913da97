//! One call on its way through a node: its name, and the time that is left of it.

use std::{future::Future, time::Duration};

use futures::FutureExt;
use tokio::time::{Instant, timeout_at};

use crate::{
    config::Config,
    env::{Env, Moment},
    error::Error,
    types::{CallOptions, Guard, SessionSeq},
};

/// A call that has begun.
#[derive(Clone, Debug)]
pub struct Call {
    /// Names it in the logs of every member it touches.
    pub request_id: String,
    /// When it began, on this member's clock.
    pub began: Moment,
    /// When it must be answered.
    pub deadline: Instant,
    /// Of a write: makes a retry safe.
    pub session: Option<SessionSeq>,
    /// Of a write: all must hold when it is applied.
    pub guards: Vec<Guard>,
}

impl Call {
    /// Begins a call now.
    pub fn begin(options: CallOptions, config: &Config, env: &Env) -> Call {
        let timeout = options.timeout.unwrap_or(config.default_timeout).min(config.timeout_max);
        Call {
            request_id: options.request_id.unwrap_or_else(|| env.request_id()),
            began: env.now(),
            deadline: Instant::now() + timeout,
            session: options.session,
            guards: options.guards,
        }
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Awaits something until the deadline. Nothing was proposed yet: the error says that nothing will
    /// happen.
    pub fn within<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Error>> {
        self.limited(what, future, false)
    }

    /// Awaits the outcome of something that was proposed: past the deadline, it is unknown.
    pub fn outcome<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Error>> {
        self.limited(what, future, true)
    }

    /// Not an `async fn`: that would have room for `future` twice, and the call of a client is as large as
    /// what it awaits.
    fn limited<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
        maybe_committed: bool,
    ) -> impl Future<Output = Result<T, Error>> {
        let late = move |_| Error::Deadline { waiting_for: what.to_owned(), maybe_committed };
        timeout_at(self.deadline, future).map(move |ended| ended.map_err(late))
    }
}
