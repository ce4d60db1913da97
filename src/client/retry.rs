//! When to ask again: which errors allow it, how long to wait, and how much of it is too much.
//!
//! The rule for writes: only an error that says "nothing was done" may be repeated. A write whose outcome
//! is unknown is never repeated: without a session nothing would stop it from being applied twice. Reads
//! may be repeated after anything but a definite answer, each time at the level asked for.
//!
//! Sources: exponential backoff with jitter (Brooker, "Exponential Backoff And Jitter", 2015), the retry
//! budget as in gRPC's retry throttling (proposal A6). Deliberately absent: hedging, and any clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use crate::{error::Error, mutant::Mutant, pb::convert::RequestKind};

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// No pause is longer, unless the server asks for it.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How a deadline that passed here begins to say what it was waiting for: a member that noticed it by itself
/// knows more.
pub(super) const ANSWER_OF: &str = "the answer of";
/// A write is not sent again with less time than this before the deadline.
const WRITE_TIME_MIN: Duration = Duration::from_millis(100);

/// What a call may do, and so whether it may be repeated when nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes nothing.
    Read,
    /// It must not happen twice.
    Write,
    /// It changes something, and cannot happen twice: it carries its number in a session, or what makes
    /// a second one harmless.
    ExactlyOnce,
}

impl Kind {
    /// What is lost with its answer.
    pub fn request(self) -> RequestKind {
        match self {
            Kind::Read => RequestKind::Read,
            Kind::Write | Kind::ExactlyOnce => RequestKind::Write,
        }
    }
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Give the error to the caller.
    GiveUp,
    /// The error is about this member: ask another at once, if there is one, else after a pause.
    Elsewhere,
    /// The answer is definite for this member, but another may be ahead of it: ask each other one once.
    Around,
    /// The error is about the cluster, or about load: wait at least so long.
    Later(Duration),
}

/// What to do after `error`.
pub(super) fn verdict(kind: Kind, error: &Error) -> Verdict {
    if !repeatable(kind, error) {
        return Verdict::GiveUp;
    }
    match error {
        Error::FutureRevision { .. } | Error::TooStale { .. } => Verdict::Around,
        Error::NoLeader | Error::NoQuorum | Error::LeaseExpired => Verdict::Later(Duration::ZERO),
        Error::Overloaded { retry_after, .. } => Verdict::Later(*retry_after),
        _ => Verdict::Elsewhere,
    }
}

/// Whether the same request may be sent again.
fn repeatable(kind: Kind, error: &Error) -> bool {
    match kind {
        // Of a write, the state machine says that a revision is in the future: it is so on all members.
        Kind::Write | Kind::ExactlyOnce if matches!(error, Error::FutureRevision { .. }) => false,
        Kind::Write if Mutant::RetriedWithoutSession.is_on() => error.retryable() || outcome_open(error),
        Kind::Write => error.retryable() && !error.maybe_committed(),
        Kind::Read | Kind::ExactlyOnce => error.retryable() || outcome_open(error),
    }
}

/// Errors after which a call has not been answered, though it is not known why.
fn outcome_open(error: &Error) -> bool {
    matches!(
        error,
        Error::Connection { .. }
            | Error::UnknownOutcome(_)
            | Error::Deadline { .. }
            | Error::WaitTimeout { .. }
    )
}

/// The pause before round `round` (from 0), for a `jitter` drawn from 0..1: 20 ms doubled each time, at
/// most 500 ms, and of that between one half and all.
pub(super) fn pause(round: u32, jitter: f64) -> Duration {
    let full = PAUSE_MIN.saturating_mul(1 << round.min(10)).min(PAUSE_MAX);
    full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// How long one attempt may take when `remaining` is left of the whole and `others` could still be asked: a
/// call that can be repeated keeps half in reserve for them; a write that cannot gets everything.
pub(super) fn attempt_time(kind: Kind, remaining: Duration, others: usize) -> Duration {
    match kind {
        Kind::Read | Kind::ExactlyOnce if others > 0 => remaining / 2,
        _ => remaining,
    }
}

/// Whether a call that pauses for `pause` with `remaining` left still has time for another attempt. A write
/// needs some: one that is cut off by the deadline has an unknown outcome, and hides a definite error.
pub(super) fn time_for_another(kind: Kind, pause: Duration, remaining: Duration) -> bool {
    let least = match kind {
        Kind::Read => Duration::ZERO,
        Kind::Write | Kind::ExactlyOnce => WRITE_TIME_MIN,
    };
    pause + least < remaining
}

/// Whether an error is the state's own answer to the request: what earlier attempts did, they did not do.
/// What a member refuses before that (`Invalid`, `TooLarge`) goes by its own limits: another may have
/// applied it.
pub(super) fn is_settled(error: &Error) -> bool {
    matches!(
        error,
        Error::Compacted { .. }
            | Error::FutureRevision { .. }
            | Error::LeaseNotFound(_)
            | Error::LeaseExists(_)
            | Error::LockLost { .. }
    )
}

/// Which of two errors tells the caller more; of equals, the last.
pub(super) fn more_telling(earlier: Option<Error>, last: Error) -> Error {
    match earlier {
        Some(earlier) if tells(&earlier) > tells(&last) => earlier,
        _ => last,
    }
}

/// How much an error tells: that a write may have happened, most; what a member said of the cluster more
/// than what it said of itself; that it was silent, little; that nobody was there, least.
fn tells(error: &Error) -> u8 {
    match error {
        _ if error.maybe_committed() => 5,
        Error::Connection { .. } => 0,
        Error::Deadline { waiting_for, .. } if waiting_for.starts_with(ANSWER_OF) => 1,
        Error::NotReady(_) | Error::ShuttingDown | Error::Stopped(_) => 2,
        Error::Deadline { .. } => 3,
        _ => 4,
    }
}

/// One error for all endpoints that could not be reached (endpoint, why), each named, each reason once;
/// `None` if there are none.
pub(crate) fn unreachable(failed: &BTreeMap<String, String>) -> Option<Error> {
    let endpoints: Vec<_> = failed.keys().map(String::as_str).collect();
    let reasons: BTreeSet<_> = failed.values().map(String::as_str).collect();
    (!failed.is_empty()).then(|| Error::Connection {
        endpoint: endpoints.join(", "),
        why: reasons.into_iter().collect::<Vec<_>>().join("; "),
        maybe_committed: false,
    })
}

/// A token bucket shared by all calls of a client: a retry takes one token, an answered call gives a
/// fraction back. In a long outage it runs dry, and calls get one attempt each: retries then do not
/// multiply the load.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: Mutex<f64>,
    max: f64,
}

impl Budget {
    /// What an answered call gives back: at most one call in five is a retry in the long run.
    const REFUND: f64 = 0.2;

    /// A full bucket of `max` retries.
    pub fn new(max: u32) -> Budget {
        let max = f64::from(max);
        Budget { tokens: Mutex::new(max), max }
    }

    /// Takes a retry; false: there is none left.
    pub fn take(&self) -> bool {
        let mut tokens = self.tokens();
        let allowed = *tokens >= 1.0;
        if allowed {
            *tokens -= 1.0;
        }
        allowed
    }

    /// A call was answered.
    pub fn refund(&self) {
        let mut tokens = self.tokens();
        *tokens = (*tokens + Self::REFUND).min(self.max);
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, f64> {
        self.tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
