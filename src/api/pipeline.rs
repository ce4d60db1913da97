//! `quorate.v1.Kv.Pipeline`: many calls on one stream, each as a call of its own ([`kv::Service`] executes
//! both), answered in batches and in any order.
//!
//! One task works for a stream: it takes messages, keeps their calls going side by side, and gathers what is
//! done. So a commit that ends a hundred calls wakes one task, which makes one message of their answers.
//! Nothing is delayed for the sake of a batch: it holds what was done while the transport was busy with the
//! one before. It is a task rather than a part of the response's stream, since that is polled only while the
//! client takes what it is sent: calls must not keep their places on the member for as long as the client
//! likes.
//!
//! Absent: order between calls, and taking back a single one.

use std::{
    collections::{HashSet, VecDeque},
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
    vec,
};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream, FuturesUnordered},
};
use prost::Message;
use tokio::{
    sync::mpsc,
    task::{unconstrained, yield_now},
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::{
    kv, refusal,
    request::{Call, Part},
};
use crate::{
    error::Error,
    pb::{
        convert,
        v1::{self, pipeline_answer::Answer, pipeline_call::Request},
    },
};

/// Calls of one stream that are under way, or answered and not yet taken by the transport. Then the stream is
/// not read any more, so that HTTP/2 makes the client wait; as many as there may be calls of their own on one
/// connection.
const CALLS_MAX: usize = 1024;

/// Bytes of answers that the transport has not taken, about: then no call is begun. Those under way are ended
/// and kept all the same.
const READY_BYTES_MAX: usize = 4 << 20;

/// Bytes of one message of answers, about; one answer may have more.
const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// Answers that are enough for a message: more wait until it is taken.
const MESSAGE_ANSWERS_MAX: usize = 256;

/// Bytes that a member takes as one message at least, however small its limit for a request.
pub(super) const REQUEST_BYTES_MIN: usize = 64 << 10;

/// Calls of one message. More are refused: each takes far more memory than an empty one's two bytes.
const MESSAGE_CALLS_MAX: usize = 16 << 10;

/// Reads of many keys, and transactions, of one stream that are under way at once: each may answer with
/// megabytes. What comes behind one more waits, too.
const LARGE_MAX: usize = 16;

/// On a member that stops, a stream ends after so long without a call: until then calls are told that it
/// stops.
const QUIET: Duration = Duration::from_millis(100);

pub(super) type Responses = BoxStream<'static, Result<v1::PipelineResponse, Status>>;

/// The answers to the calls of a stream, until the client has ended it, or `stopping` has resolved and no
/// more calls come.
pub(super) fn responses(
    service: kv::Service,
    stream: Call,
    (requests, stopping): (Messages, impl Future<Output = ()> + Send + 'static),
) -> Responses {
    let (sender, receiver) = mpsc::channel(1);
    let calls = Calls::new(requests.boxed(), stream.clone());
    let begin = move |call, arrived| answer(&service, &stream, (call, arrived));
    let serving = serve(calls, begin, (sender, stopping));
    // Between two waits it does no more than a message's worth: no budget need cut its batches short.
    taken(receiver, AbortOnDropHandle::new(tokio::spawn(unconstrained(serving))))
}

type Messages = tonic::Streaming<v1::PipelineRequest>;

/// What comes through `receiver`. That the task failed which sends it is told, rather than taken for the end.
fn taken(
    receiver: mpsc::Receiver<Result<v1::PipelineResponse, Status>>,
    serving: AbortOnDropHandle<()>,
) -> Responses {
    stream::unfold(Some((receiver, serving)), |state| async {
        let (mut receiver, serving) = state?;
        if let Some(response) = receiver.recv().await {
            return Some((response, Some((receiver, serving))));
        }
        let panic = serving.await.err()?;
        Some((Err(convert::to_status(&Error::Stopped(panic.to_string()), "")), None))
    })
    .boxed()
}

/// Executes one call, which has arrived then.
fn answer(
    service: &kv::Service,
    stream: &Call,
    (call, arrived): (v1::PipelineCall, Instant),
) -> impl Future<Output = v1::PipelineAnswer> + Send + use<> {
    let v1::PipelineCall { id, request_id, timeout_ms, request } = call;
    let part = stream.part(&Part { id, request_id: &request_id, timeout_ms }, arrived);
    let part = part.map_err(|error| stream.failure(&error));
    let service = service.clone();
    async move {
        let answer = match part {
            Ok(call) => {
                let answer = execute(&service, request, &call).await;
                answer.unwrap_or_else(|error| Answer::Failure(call.failure(&error)))
            }
            Err(failure) => Answer::Failure(failure),
        };
        v1::PipelineAnswer { id, answer: Some(answer) }
    }
}

/// Each kind in a box of its own: with the largest of them inside, what is copied for each call would be many
/// times its request.
async fn execute(service: &kv::Service, request: Option<Request>, call: &Call) -> Result<Answer, Error> {
    tracing::debug!(request_id = call.id(), "received through a pipeline");
    Ok(match convert::required("request", request)? {
        Request::Range(request) => Answer::Range(Box::pin(service.read(request, call)).await?),
        Request::Put(request) => Answer::Put(Box::pin(service.write(request, call)).await?),
        Request::Delete(request) => Answer::Delete(Box::pin(service.remove(request, call)).await?),
        Request::Txn(request) => Answer::Txn(Box::pin(service.decide(request, call)).await?),
    })
}

/// What a stream waits for.
enum Happening {
    Message(Option<Result<v1::PipelineRequest, Status>>),
    Done(Vec<v1::PipelineAnswer>),
    Taken,
    Stopping,
    Quiet,
}

/// Where responses go, and what resolves when the member stops.
type Ends<S> = (mpsc::Sender<Result<v1::PipelineResponse, Status>>, S);

/// Works for a stream to its end. `begin` begins a call.
async fn serve<M, F>(
    mut calls: Calls<M>,
    begin: impl Fn(v1::PipelineCall, Instant) -> F,
    (sender, stopping): Ends<impl Future<Output = ()>>,
) where
    M: Stream<Item = Result<v1::PipelineRequest, Status>> + Unpin,
    F: Future<Output = v1::PipelineAnswer>,
{
    let mut stopping = pin!(stopping);
    let mut running = FuturesUnordered::new();
    while !calls.are_over() {
        while let Some(call) = calls.next_call() {
            running.push(begin(call, calls.arrived));
        }
        let happening = tokio::select! {
            biased;
            room = sender.reserve(), if calls.fill_a_message() => sent(room, &mut calls),
            done = ended(&mut running), if !running.is_empty() => Happening::Done(done),
            message = calls.messages.next(), if calls.wait_for_more() => Happening::Message(message),
            room = sender.reserve(), if calls.has_answers() => sent(room, &mut calls),
            () = &mut stopping, if !calls.stopping => Happening::Stopping,
            () = async { sleep(QUIET).await }, if calls.stopping && calls.are_idle() => Happening::Quiet,
        };
        let more = matches!(happening, Happening::Done(_) | Happening::Message(_));
        calls.handle(happening);
        if more {
            // Whoever ended these calls may be about to end more, and needs this thread for it; and messages
            // may come without end.
            yield_now().await;
        }
    }
    if let Some(end) = calls.end {
        // If nobody listens, nobody is told.
        let _ = sender.send(Err(end)).await;
    }
}

/// Hands over the answers that fit into one message. Who listened may have gone: then the stream is quiet.
fn sent<M>(
    room: Result<mpsc::Permit<'_, Result<v1::PipelineResponse, Status>>, mpsc::error::SendError<()>>,
    calls: &mut Calls<M>,
) -> Happening {
    match room {
        Ok(room) => {
            room.send(Ok(calls.next_message()));
            Happening::Taken
        }
        Err(_) => Happening::Quiet,
    }
}

/// All that is done by now, at least one; a message's worth at most.
async fn ended<F>(running: &mut FuturesUnordered<F>) -> Vec<v1::PipelineAnswer>
where
    F: Future<Output = v1::PipelineAnswer>,
{
    poll_fn(|cx| {
        let (mut done, mut bytes) = (Vec::new(), 0);
        while done.len() < MESSAGE_ANSWERS_MAX
            && bytes < MESSAGE_BYTES_MAX
            && let Poll::Ready(Some(answer)) = Pin::new(&mut *running).poll_next(cx)
        {
            bytes += answer.encoded_len();
            done.push(answer);
        }
        if done.is_empty() { Poll::Pending } else { Poll::Ready(done) }
    })
    .await
}

/// Whether a call may answer with more than one pair.
fn is_large(call: &v1::PipelineCall) -> bool {
    use v1::{keys::Of, op::Op};
    let many = |keys: &Option<v1::Keys>| {
        keys.as_ref().is_some_and(|keys| matches!(keys.of, Some(Of::Prefix(_) | Of::Interval(_))))
    };
    let answers_little = |op: &v1::Op| match &op.op {
        Some(Op::Put(put)) => !put.prev_kv,
        Some(Op::Delete(delete)) => !delete.prev_kv,
        Some(Op::Range(_) | Op::Txn(_)) => false,
        None => true,
    };
    match &call.request {
        Some(Request::Range(range)) => range.query.as_ref().is_some_and(|query| many(&query.keys)),
        Some(Request::Txn(txn)) => {
            txn.txn.as_ref().is_some_and(|txn| !txn.then_ops.iter().chain(&txn.else_ops).all(answers_little))
        }
        Some(Request::Delete(delete)) => delete.prev_kv,
        Some(Request::Put(_)) | None => false,
    }
}

/// The calls of one stream.
struct Calls<M> {
    messages: M,
    stream: Call,
    /// The client may send more.
    listening: bool,
    /// Of the last message, not yet begun.
    waiting: vec::IntoIter<v1::PipelineCall>,
    /// When that message came.
    arrived: Instant,
    /// The ids of those that are under way.
    open: HashSet<u64>,
    /// Those of them whose answers may be large.
    large: HashSet<u64>,
    /// Made and not yet taken, with their bytes.
    ready: VecDeque<(v1::PipelineAnswer, usize)>,
    ready_bytes: usize,
    stopping: bool,
    quiet: bool,
    /// Why the stream ends, if not in order.
    end: Option<Status>,
}

impl<M> Calls<M> {
    fn new(messages: M, stream: Call) -> Calls<M> {
        Calls {
            messages,
            stream,
            listening: true,
            waiting: Vec::new().into_iter(),
            arrived: Instant::now(),
            open: HashSet::new(),
            large: HashSet::new(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            stopping: false,
            quiet: false,
            end: None,
        }
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Message(Some(Ok(message))) => self.take(message),
            Happening::Message(Some(Err(status))) => {
                let told = refusal::translate(&status).map(|error| self.stream.status(&error));
                self.end_with(told.unwrap_or(status));
            }
            Happening::Message(None) => self.listening = false,
            Happening::Done(answers) => answers.into_iter().for_each(|answer| self.done(answer)),
            Happening::Taken => {}
            Happening::Stopping => self.stopping = true,
            Happening::Quiet => self.quiet = true,
        }
    }

    fn take(&mut self, message: v1::PipelineRequest) {
        self.arrived = Instant::now();
        let (limit, actual) = (MESSAGE_CALLS_MAX as u64, message.calls.len() as u64);
        if actual > limit {
            let what = "the calls of a pipeline's message".to_owned();
            return self.end_with(self.stream.status(&Error::TooLarge { what, limit, actual }));
        }
        self.waiting = message.calls.into_iter();
    }

    /// The next call that may begin.
    fn next_call(&mut self) -> Option<v1::PipelineCall> {
        let is_large = is_large(self.waiting.as_slice().first()?);
        if !self.has_room() || is_large && self.large.len() >= LARGE_MAX {
            return None;
        }
        let call = self.waiting.next()?;
        if self.open.insert(call.id) {
            self.large.extend(is_large.then_some(call.id));
            return Some(call);
        }
        // An answer with this id could be taken for that of the other call.
        let why = format!("id {} is in use by a call that is under way: choose another", call.id);
        let status = self.stream.status(&Error::Invalid(why));
        self.end_with(status);
        None
    }

    /// Takes no more calls; those under way are answered.
    fn end_with(&mut self, status: Status) {
        self.listening = false;
        self.waiting = Vec::new().into_iter();
        self.end = Some(status);
    }

    fn done(&mut self, answer: v1::PipelineAnswer) {
        self.open.remove(&answer.id);
        self.large.remove(&answer.id);
        let bytes = answer.encoded_len();
        self.ready_bytes += bytes;
        self.ready.push_back((answer, bytes));
    }

    /// The answers that fit into one message; there is at least one.
    fn next_message(&mut self) -> v1::PipelineResponse {
        let (mut answers, mut filled) = (Vec::with_capacity(self.ready.len().min(MESSAGE_ANSWERS_MAX)), 0);
        let fits =
            |filled: usize, (_, bytes): &(_, usize)| filled == 0 || filled + bytes <= MESSAGE_BYTES_MAX;
        while answers.len() < MESSAGE_ANSWERS_MAX
            && let Some((answer, bytes)) = self.ready.pop_front_if(|next| fits(filled, next))
        {
            filled += bytes;
            answers.push(answer);
        }
        self.ready_bytes -= filled;
        v1::PipelineResponse { answers }
    }

    fn has_room(&self) -> bool {
        self.open.len() + self.ready.len() < CALLS_MAX && self.ready_bytes < READY_BYTES_MAX
    }

    fn wait_for_more(&self) -> bool {
        self.listening && self.waiting.len() == 0 && self.has_room()
    }

    fn has_answers(&self) -> bool {
        !self.ready.is_empty()
    }

    fn fill_a_message(&self) -> bool {
        self.ready.len() >= MESSAGE_ANSWERS_MAX || self.ready_bytes >= MESSAGE_BYTES_MAX
    }

    fn are_idle(&self) -> bool {
        self.waiting.len() == 0 && self.open.is_empty() && self.ready.is_empty()
    }

    fn are_over(&self) -> bool {
        self.quiet || !self.listening && self.are_idle()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::{api::RequestLayer, config::Config};

    fn call() -> Call {
        RequestLayer::new(&Config::default()).fresh()
    }

    fn message(ids: impl IntoIterator<Item = u64>) -> Result<v1::PipelineRequest, Status> {
        let call = |id| v1::PipelineCall { id, ..v1::PipelineCall::default() };
        Ok(v1::PipelineRequest { calls: ids.into_iter().map(call).collect() })
    }

    /// What a stream with these messages brings; each call is answered with `value` as soon as it has one of
    /// the `places`, which it keeps for a moment.
    fn answered(
        messages: Vec<Result<v1::PipelineRequest, Status>>,
        places: &Arc<Semaphore>,
        value: &'static [u8],
    ) -> Responses {
        let (sender, receiver) = mpsc::channel(1);
        let places = places.clone();
        let begin = move |call: v1::PipelineCall, _| {
            let places = places.clone();
            async move {
                let _place = places.acquire().await;
                sleep(Duration::from_millis(1)).await;
                let failure = v1::Failure { details: value.into(), ..v1::Failure::default() };
                v1::PipelineAnswer { id: call.id, answer: Some(Answer::Failure(failure)) }
            }
        };
        let calls = Calls::new(stream::iter(messages), call());
        let serving = serve(calls, begin, (sender, std::future::pending()));
        taken(receiver, AbortOnDropHandle::new(tokio::spawn(serving)))
    }

    async fn rest(responses: Responses) -> Vec<Result<v1::PipelineResponse, Status>> {
        responses.collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_not_taken_keep_no_places_and_hold_further_calls_back() {
        let places = Arc::new(Semaphore::new(CALLS_MAX * 4));
        let responses = answered(vec![message(0..5000), message(5000..6000)], &places, b"");
        // Time stands still until nothing is left to do.
        sleep(Duration::from_secs(1)).await;
        assert_eq!(places.available_permits(), CALLS_MAX * 4, "nobody waits for a place");
        places.close();
        let responses = rest(responses).await;
        let sizes: Vec<_> = responses.iter().flatten().map(|response| response.answers.len()).collect();
        assert!(sizes.iter().all(|size| (1..=MESSAGE_ANSWERS_MAX).contains(size)), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 6000);
        assert!(sizes.len() < 100, "they come in batches: {sizes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_bounded_in_bytes_unless_one_answer_is_larger() {
        static LARGE: [u8; 100 << 10] = [0; 100 << 10];
        let places = Arc::new(Semaphore::new(CALLS_MAX));
        let sizes = |responses: Vec<Result<v1::PipelineResponse, Status>>| -> Vec<_> {
            responses.into_iter().flatten().map(|response| response.answers.len()).collect()
        };
        let responses = rest(answered(vec![message(0..20)], &places, &LARGE)).await;
        let sizes = sizes(responses);
        assert!(sizes.iter().all(|size| *size <= 2), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_ends_the_stream_behind_the_answers() {
        let places = Arc::new(Semaphore::new(CALLS_MAX));
        let broken = Err(Status::internal("bad varint"));
        let responses = rest(answered(vec![message([1, 2]), broken, message([3])], &places, b"")).await;
        let [Ok(answers), Err(status)] = &responses[..] else { panic!("{responses:?}") };
        assert_eq!(answers.answers.len(), 2);
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
        let twice = rest(answered(vec![message([1, 2, 1, 3])], &places, b"")).await;
        let [Ok(answers), Err(status)] = &twice[..] else { panic!("{twice:?}") };
        assert_eq!(answers.answers.len(), 2, "the third is not begun");
        assert!(status.message().contains("id 1 is in use"), "{status:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_of_too_many_calls_is_refused_whole() {
        let places = Arc::new(Semaphore::new(CALLS_MAX));
        let most = MESSAGE_CALLS_MAX as u64;
        let answers = |responses: Vec<Result<v1::PipelineResponse, Status>>| -> usize {
            responses.iter().flatten().map(|response| response.answers.len()).sum()
        };
        let responses = rest(answered(vec![message(0..most)], &places, b"")).await;
        assert_eq!(answers(responses), MESSAGE_CALLS_MAX);
        let responses = rest(answered(vec![message(0..=most)], &places, b"")).await;
        let [Err(status)] = &responses[..] else { panic!("{} responses", responses.len()) };
        let told = convert::from_status(status, "member", convert::RequestKind::Write);
        assert!(matches!(told, Error::TooLarge { limit: 16384, actual: 16385, .. }), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn few_calls_with_large_answers_are_under_way_at_once() {
        let prefix = v1::Keys { of: Some(v1::keys::Of::Prefix("k".into())) };
        let query = Some(v1::RangeQuery { keys: Some(prefix), ..Default::default() });
        let range = Request::Range(v1::RangeRequest { query, consistency: None });
        let large = |id| v1::PipelineCall { id, request: Some(range.clone()), ..Default::default() };
        let places = Arc::new(Semaphore::new(CALLS_MAX));
        let message = Ok(v1::PipelineRequest { calls: (0..100).map(large).collect() });
        let mut responses = answered(vec![message], &places, b"");
        let (mut answers, mut most) = (0, 0);
        while let Some(response) = responses.next().await {
            answers += response.expect("answers").answers.len();
            tokio::task::yield_now().await;
            most = most.max(CALLS_MAX - places.available_permits());
        }
        assert_eq!((answers, most), (100, LARGE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_calls_ends_when_the_member_stops() {
        let (sender, receiver) = mpsc::channel(1);
        let begin = |_, _| std::future::pending::<v1::PipelineAnswer>();
        let calls = Calls::new(stream::pending(), call());
        let serving = serve(calls, begin, (sender, std::future::ready(())));
        let responses = taken(receiver, AbortOnDropHandle::new(tokio::spawn(serving)));
        assert!(rest(responses).await.is_empty());
    }
}
