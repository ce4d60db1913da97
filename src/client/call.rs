//! One call: attempts on changing endpoints until an answer, a definite error, or the deadline.
//!
//! A write is sent only on a connection that showed a sign of life within the last second (see `alive`):
//! what is known not to have been sent can go to another member.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Request, Response, Status, metadata::AsciiMetadataValue};

use super::{
    Client,
    channel::Connection,
    pipeline::Way,
    retry::{self, Kind, Verdict},
    routing::Target,
};
use crate::{
    error::Error,
    pb::convert::{self, RequestKind},
    types::{CallOptions, NodeId},
};

/// The metadata that names a request.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// Characters of a request id: what the servers accept.
const REQUEST_ID_MAX: usize = 64;

/// What stays the same over all attempts of a call.
pub(super) struct Plan {
    pub kind: Kind,
    pub target: Target,
    pub deadline: Instant,
    request_id: AsciiMetadataValue,
}

/// An answer, and the endpoint that gave it.
pub(super) struct Answered<T> {
    pub endpoint: String,
    pub message: T,
}

/// The attempts made so far.
#[derive(Default)]
struct Attempts {
    /// Endpoints asked in this round.
    tried: BTreeSet<String>,
    /// How often all of them were asked, or a pause was made.
    round: u32,
    /// A member gave an answer that only those not yet asked can better: no second round.
    around: bool,
    /// The most telling error so far.
    error: Option<Error>,
    /// The endpoints that could not be reached, and why at first: later attempts have less time.
    unreached: BTreeMap<String, String>,
}

impl Client {
    /// The plan of a call that begins now.
    ///
    /// # Errors
    /// `Invalid` for a request id that no server accepts.
    pub(super) fn plan(&self, kind: Kind, target: Target, options: CallOptions) -> Result<Plan, Error> {
        let timeout = options.timeout.unwrap_or(self.inner.settings.timeout);
        let request_id = options.request_id.unwrap_or_else(|| self.inner.settings.env.request_id());
        let deadline = Instant::now() + timeout.min(Duration::from_secs(24 * 3600));
        Ok(Plan { kind, target, deadline, request_id: checked_id(&request_id)? })
    }

    /// Sends `message` until it is answered. `send` makes one attempt on a connection.
    pub(super) async fn call<M, A, S, F>(
        &self,
        plan: &Plan,
        message: M,
        send: S,
    ) -> Result<Answered<A>, Error>
    where
        M: Clone,
        S: Fn(Way, Request<M>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.call_anew(plan, || message.clone(), send).await
    }

    /// The same with a message that is made anew for each attempt.
    pub(super) async fn call_anew<M, A, S, F>(
        &self,
        plan: &Plan,
        message: impl Fn() -> M,
        send: S,
    ) -> Result<Answered<A>, Error>
    where
        S: Fn(Way, Request<M>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut attempts = Attempts::default();
        self.refresh_if_needed(plan).await;
        loop {
            let endpoint = self.next_endpoint(plan, &mut attempts)?;
            let time = self.attempt_time(plan, &attempts);
            let error = match self.attempt(plan, &endpoint, time, (message(), &send)).await {
                Ok(message) => {
                    self.inner.budget.refund();
                    self.view().learn_up(&endpoint);
                    return Ok(Answered { endpoint, message });
                }
                Err(error) => error,
            };
            self.view().learn_error(&endpoint, &error, Instant::now());
            self.prepare_retry(plan, &mut attempts, error).await?;
        }
    }

    /// Sends `message` to `endpoint`, once.
    pub(super) async fn call_endpoint<M, A, S, F>(
        &self,
        plan: &Plan,
        endpoint: &str,
        request: (M, S),
    ) -> Result<A, Error>
    where
        S: Fn(Way, Request<M>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let (message, send) = request;
        self.attempt(plan, endpoint, plan.remaining(), (message, &send)).await
    }

    /// One attempt that may take `time`.
    async fn attempt<M, A, S, F>(
        &self,
        plan: &Plan,
        endpoint: &str,
        time: Duration,
        (message, send): (M, &S),
    ) -> Result<A, Error>
    where
        S: Fn(Way, Request<M>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + time;
        let late = |what: &str, maybe_committed| Error::Deadline {
            waiting_for: format!("{what} {endpoint}"),
            maybe_committed,
        };
        let Connection { channel, pipeline } = match timeout_at(deadline, self.inner.pool.get(endpoint)).await
        {
            Ok(connection) => connection?,
            Err(_) => return Err(late("a connection to", false)),
        };
        // A call that can be repeated finds out by itself.
        if plan.kind == Kind::Write {
            self.require_life(endpoint, &channel, time).await?;
        }
        let request = plan.request(message, deadline);
        match timeout_at(deadline, send(Way { channel, pipeline, deadline }, request)).await {
            Ok(Ok(answer)) => {
                self.inner.pool.heard(endpoint);
                Ok(answer.into_inner())
            }
            Ok(Err(status)) => Err(self.refused(&status, endpoint, plan.kind.request())),
            Err(_) => Err(late(retry::ANSWER_OF, plan.kind != Kind::Read)),
        }
    }

    /// The error of a call that did not succeed; a connection that broke is dropped.
    fn refused(&self, status: &Status, endpoint: &str, kind: RequestKind) -> Error {
        if status.code() == Code::Unimplemented {
            let why = format!("{endpoint} is not a client port of quorate (a peer port?)");
            return Error::Protocol(why);
        }
        let error = convert::from_status(status, endpoint, kind);
        match error {
            Error::Connection { .. } => self.inner.pool.forget(endpoint),
            _ => self.inner.pool.heard(endpoint),
        }
        error
    }

    /// Whom to ask next; begins a new round when all were asked.
    fn next_endpoint(&self, plan: &Plan, attempts: &mut Attempts) -> Result<String, Error> {
        let now = Instant::now();
        let mut view = self.view();
        let found = view.pick(plan.target, &attempts.tried, now).or_else(|| {
            attempts.tried.clear();
            view.pick(plan.target, &attempts.tried, now)
        });
        match found {
            Some(endpoint) => {
                attempts.tried.insert(endpoint.clone());
                Ok(endpoint)
            }
            None => Err(unroutable(plan.target, attempts.error.take(), &view.members())),
        }
    }

    /// A random number in 0..1.
    pub(super) fn jitter(&self) -> f64 {
        f64::from(self.inner.settings.env.random() as u32) / (f64::from(u32::MAX) + 1.0)
    }

    fn attempt_time(&self, plan: &Plan, attempts: &Attempts) -> Duration {
        let others = self.view().untried(plan.target, &attempts.tried, Instant::now());
        retry::attempt_time(plan.kind, plan.remaining(), others)
    }

    /// Waits until the call may be repeated after `error`, or fails with the most telling error.
    async fn prepare_retry(&self, plan: &Plan, attempts: &mut Attempts, error: Error) -> Result<(), Error> {
        let verdict = retry::verdict(plan.kind, &error);
        let others = self.view().untried(plan.target, &attempts.tried, Instant::now());
        attempts.around |= verdict == Verdict::Around;
        let pause = match verdict {
            Verdict::Elsewhere | Verdict::Around if others > 0 => Duration::ZERO,
            Verdict::Later(least) => attempts.pause(self.jitter()).max(least),
            Verdict::Elsewhere if !attempts.around => attempts.pause(self.jitter()),
            _ if plan.kind == Kind::ExactlyOnce && retry::is_settled(&error) => return Err(error),
            _ => return Err(attempts.more_telling(error)),
        };
        let error = attempts.more_telling(error);
        let time = retry::time_for_another(plan.kind, pause, plan.remaining());
        if !time || !self.inner.budget.take() {
            return Err(error);
        }
        tracing::debug!(request_id = ?plan.request_id, %error, ?pause, "asking again");
        attempts.error = Some(error);
        sleep(pause).await;
        Ok(())
    }
}

impl Attempts {
    /// `last`, or what was said earlier if that tells more; of unreachable endpoints all are named.
    fn more_telling(&mut self, last: Error) -> Error {
        if let Error::Connection { endpoint, why, maybe_committed: false } = &last {
            self.unreached.entry(endpoint.clone()).or_insert_with(|| why.clone());
        }
        match retry::more_telling(self.error.take(), last) {
            error @ Error::Connection { maybe_committed: false, .. } => {
                retry::unreachable(&self.unreached).unwrap_or(error)
            }
            error => error,
        }
    }

    /// The pause before the next round.
    fn pause(&mut self, jitter: f64) -> Duration {
        let pause = retry::pause(self.round, jitter);
        self.round += 1;
        pause
    }
}

impl Plan {
    /// What is left until the deadline.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The message with its metadata: the id is the same in all attempts, the timeout is what is left.
    fn request<M>(&self, message: M, deadline: Instant) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        request.metadata_mut().insert(REQUEST_ID, self.request_id.clone());
        request
    }
}

/// A request id as a header's value.
fn checked_id(id: &str) -> Result<AsciiMetadataValue, Error> {
    let printable = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable {
        return Err(Error::Invalid(format!(
            "request id {id:?} is empty or not printable ASCII without spaces"
        )));
    }
    if id.len() > REQUEST_ID_MAX {
        let (limit, actual) = (REQUEST_ID_MAX as u64, id.len() as u64);
        return Err(Error::TooLarge { what: "request id".into(), limit, actual });
    }
    let value = id.parse::<AsciiMetadataValue>();
    let mut value = value.map_err(|_| Error::Invalid(format!("request id {id:?} cannot be sent")))?;
    // It does not come again: not for HTTP/2's table of headers.
    value.set_sensitive(true);
    Ok(value)
}

/// Nobody fits the target: what is known of it.
fn unroutable(target: Target, error: Option<Error>, members: &BTreeSet<NodeId>) -> Error {
    match (error, target) {
        (None | Some(Error::WrongRoute { .. }), Target::Member(id)) => {
            let known: Vec<_> = members.iter().map(NodeId::to_string).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Error::Invalid(format!("no endpoint is known for member {id}; known members: {known}"))
        }
        (Some(error), _) => error,
        (None, _) => Error::NoLeader,
    }
}
