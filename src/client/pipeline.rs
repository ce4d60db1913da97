//! Calls through `Kv.Pipeline`: where many are under way, they share one stream for each connection.
//!
//! A call is queued; whenever the transport has room, all that is queued becomes one message. Nothing is
//! delayed for that. Answers find their calls by number. The errors are those of a call of its own, and so is
//! what follows from them (`call`, `retry`): one that was still queued when the stream broke was not sent,
//! the outcome of all others is unknown. A stream is opened before the first call is queued, so that a member
//! without pipelines gets calls of their own instead.
//!
//! Absent: taking back a call whose future was dropped, once it was sent. It ends at its deadline.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::Stream;
use prost::Message;
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    time::Instant,
};
use tonic::{Code, Request, Response, Status, Streaming, transport::Channel};

use super::{Client, call::REQUEST_ID, kv::service};
use crate::{
    error::Error,
    pb::{
        convert::{error::of_failure, to_status},
        v1::{self, kv_client::KvClient, pipeline_answer::Answer, pipeline_call},
    },
};

/// Calls that wait for the transport. Whoever has one more waits for room.
const QUEUED_MAX: usize = 1024;

/// Larger requests go as calls of their own: they would hold up the others, and save nothing.
const CALL_BYTES_MAX: usize = 16 << 10;

/// Bytes of one message: less than what any member takes at once, however small its limit for a request.
const MESSAGE_BYTES_MAX: usize = 32 << 10;

/// What a call adds to its request, at most: id, request id, timeout, tags and lengths.
const CALL_BYTES_EXTRA: usize = 128;

/// A request that can go through a pipeline.
pub(super) trait Pipelined: Message + Sized {
    type Answer: Send;

    /// As a part of a pipeline's call.
    fn wrap(self) -> pipeline_call::Request;

    /// Its answer; `None` if that belongs to another kind of request.
    fn unwrap(answer: Answer) -> Option<Self::Answer>;

    /// As a call of its own.
    fn alone(
        service: KvClient<Channel>,
        request: Request<Self>,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;
}

macro_rules! pipelined {
    ($request:ty, $answer:ty, $kind:ident, $method:ident) => {
        impl Pipelined for $request {
            type Answer = $answer;

            fn wrap(self) -> pipeline_call::Request {
                pipeline_call::Request::$kind(self)
            }

            fn unwrap(answer: Answer) -> Option<$answer> {
                if let Answer::$kind(answer) = answer { Some(answer) } else { None }
            }

            async fn alone(
                mut service: KvClient<Channel>,
                request: Request<Self>,
            ) -> Result<Response<$answer>, Status> {
                service.$method(request).await
            }
        }
    };
}

pipelined!(v1::RangeRequest, v1::RangeResponse, Range, range);
pipelined!(v1::PutRequest, v1::PutResponse, Put, put);
pipelined!(v1::DeleteRequest, v1::DeleteResponse, Delete, delete);
pipelined!(v1::TxnRequest, v1::TxnResponse, Txn, txn);

/// A connection that was chosen for an attempt.
pub(super) struct Way {
    pub channel: Channel,
    pub pipeline: Arc<Pipeline>,
    /// Of the attempt.
    pub deadline: Instant,
}

impl Way {
    /// Sends a request: through the pipeline, if that is wanted and possible, else as a call of its own.
    pub async fn send<R: Pipelined>(
        self,
        request: Request<R>,
        pipelined: bool,
    ) -> Result<Response<R::Answer>, Status> {
        let fits = || request.get_ref().encoded_len() <= CALL_BYTES_MAX;
        if pipelined
            && fits()
            && let Some(lane) = self.pipeline.lane(&self.channel).await?
        {
            return self.queue(lane, request).await;
        }
        R::alone(service(self.channel), request).await
    }

    async fn queue<R: Pipelined>(
        self,
        lane: mpsc::Sender<Queued>,
        request: Request<R>,
    ) -> Result<Response<R::Answer>, Status> {
        let request_id = request.metadata().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let request_id = request_id.unwrap_or_default().to_owned();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout_ms = (left.as_millis() as u64).max(1);
        let request = Some(request.into_inner().wrap());
        let (sender, answer) = oneshot::channel();
        let call = v1::PipelineCall { id: 0, request_id, timeout_ms, request };
        let queued = lane.send(Queued { call, answer: sender }).await;
        queued.map_err(|_| self.pipeline.unsent("the stream has ended"))?;
        match answer.await {
            Ok(Ok(Answer::Failure(failure))) => Err(of_failure(failure)),
            Ok(Ok(answer)) => match R::unwrap(answer) {
                Some(answer) => Ok(Response::new(answer)),
                None => Err(Status::data_loss("the answer belongs to another kind of request")),
            },
            Ok(Err(broken)) => Err(broken),
            // It was dropped in the queue.
            Err(_) => Err(self.pipeline.unsent("the stream has ended")),
        }
    }
}

/// The stream of one connection, opened when it is first needed, and again when it has ended.
pub(super) struct Pipeline {
    address: String,
    /// Held while one is opened, so that only one is.
    lane: AsyncMutex<Option<Lane>>,
    /// The member has none.
    unsupported: AtomicBool,
}

/// A stream: where calls are queued for it, and what is under way.
struct Lane {
    queue: mpsc::Sender<Queued>,
    sent: Arc<Sent>,
}

/// A call that waits to be sent, and who waits for its answer.
struct Queued {
    call: v1::PipelineCall,
    answer: Waiter,
}

type Waiter = oneshot::Sender<Result<Answer, Status>>;

impl Pipeline {
    /// Of the connection to `address`.
    pub fn new(address: String) -> Pipeline {
        Pipeline { address, lane: AsyncMutex::default(), unsupported: AtomicBool::new(false) }
    }

    /// Where calls are queued; `None` if the member has no pipelines.
    async fn lane(&self, channel: &Channel) -> Result<Option<mpsc::Sender<Queued>>, Status> {
        if self.unsupported.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut lane = self.lane.lock().await;
        if let Some(lane) = lane.as_ref().filter(|lane| !lane.sent.waiters().closed) {
            return Ok(Some(lane.queue.clone()));
        }
        let (queue, queued) = mpsc::channel(QUEUED_MAX);
        let sent = Arc::new(Sent::default());
        let messages = Messages { queued, next: None, sent: sent.clone() };
        match service(channel.clone()).pipeline(messages).await {
            Ok(answers) => {
                tokio::spawn(read(answers.into_inner(), sent.clone()));
                *lane = Some(Lane { queue: queue.clone(), sent });
                Ok(Some(queue))
            }
            Err(status) if status.code() == Code::Unimplemented => {
                self.unsupported.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(status) => Err(self.unsent(&format!("cannot open a stream: {}", status.message()))),
        }
    }

    /// The status of a call that was not sent.
    fn unsent(&self, why: &str) -> Status {
        let (endpoint, why) = (self.address.clone(), why.to_owned());
        to_status(&Error::Connection { endpoint, why, maybe_committed: false }, "")
    }
}

/// The calls of a stream that were sent and not answered.
#[derive(Default)]
struct Sent {
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    by_id: HashMap<u64, Waiter>,
    last_id: u64,
    closed: bool,
}

impl Sent {
    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream has ended: nobody knows what became of these calls.
    fn close(&self, why: &str) {
        let waiters = {
            let mut waiters = self.waiters();
            waiters.closed = true;
            std::mem::take(&mut waiters.by_id)
        };
        for (_, waiter) in waiters {
            // Whoever has given up is told nothing.
            let _ = waiter.send(Err(Status::unavailable(why)));
        }
    }
}

/// Hands the answers out until the stream ends.
async fn read(mut answers: Streaming<v1::PipelineResponse>, sent: Arc<Sent>) {
    let why = loop {
        match answers.message().await {
            Ok(Some(response)) => {
                let mut waiters = sent.waiters();
                for v1::PipelineAnswer { id, answer } in response.answers {
                    let answer = answer.ok_or_else(|| Status::data_loss("an answer without content"));
                    if let Some(waiter) = waiters.by_id.remove(&id) {
                        let _ = waiter.send(answer);
                    }
                }
            }
            Ok(None) => break "the stream has ended".to_owned(),
            Err(status) => break format!("the stream has ended: {}", status.message()),
        }
    };
    tracing::debug!(why, "a pipeline has ended");
    sent.close(&why);
}

/// The messages of a stream, made when the transport has room.
struct Messages {
    queued: mpsc::Receiver<Queued>,
    /// It did not fit into the last message.
    next: Option<Queued>,
    sent: Arc<Sent>,
}

impl Stream for Messages {
    type Item = v1::PipelineRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::PipelineRequest>> {
        let this = &mut *self;
        let (mut taken, mut filled) = (Vec::new(), 0);
        let over = loop {
            let queued = match this.next.take() {
                Some(queued) => Poll::Ready(Some(queued)),
                None => this.queued.poll_recv(cx),
            };
            let Poll::Ready(Some(queued)) = queued else { break queued.is_ready() };
            // Nobody waits for it any more, and it was not sent.
            if queued.answer.is_closed() {
                continue;
            }
            filled += queued.call.encoded_len() + CALL_BYTES_EXTRA;
            if filled > MESSAGE_BYTES_MAX && !taken.is_empty() {
                this.next = Some(queued);
                break false;
            }
            taken.push(queued);
        };
        match (taken.is_empty(), over) {
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
            (false, _) => Poll::Ready(this.message(taken)),
        }
    }
}

impl Messages {
    /// From here on the outcome of these calls is unknown until they are answered. `None`: the stream has
    /// ended, and they are not sent.
    fn message(&mut self, taken: Vec<Queued>) -> Option<v1::PipelineRequest> {
        let mut waiters = self.sent.waiters();
        if waiters.closed {
            self.queued.close();
            while self.queued.try_recv().is_ok() {}
            return None;
        }
        let mut calls = Vec::with_capacity(taken.len());
        for Queued { call, answer } in taken {
            waiters.last_id += 1;
            let id = waiters.last_id;
            waiters.by_id.insert(id, answer);
            calls.push(v1::PipelineCall { id, ..call });
        }
        Some(v1::PipelineRequest { calls })
    }
}

/// How many calls of keys and values a client has under way.
#[derive(Default)]
pub(super) struct Crowd(AtomicUsize);

/// One of them, until it is dropped.
pub(super) struct Entered<'a> {
    crowd: &'a Crowd,
    /// So many are under way that it goes through a pipeline.
    pub pipelined: bool,
}

impl Client {
    /// A call begins.
    pub(super) fn enter(&self) -> Entered<'_> {
        let crowd = &self.inner.crowd;
        let others = crowd.0.fetch_add(1, Ordering::Relaxed);
        Entered { crowd, pipelined: others >= self.inner.settings.pipeline_above }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.crowd.0.fetch_sub(1, Ordering::Relaxed);
    }
}
