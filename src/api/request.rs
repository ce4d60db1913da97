//! What every call has besides its message: an id, a deadline, its lines in the log.
//!
//! [`RequestLayer`] reads them from the metadata when the headers arrive, which is when tonic's own clock
//! starts (see `deadline`), and leaves a [`Call`] for the handler. The id goes out again in the metadata of
//! every answer.

use std::{
    convert::Infallible,
    future::{self, Future},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{deadline, refusal};
use crate::{
    config::Config,
    env::{draw, undated},
    error::Error,
    pb::{convert, v1},
    types::CallOptions,
};

/// The metadata that names a request, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a request id: it is in every log entry.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// What is kept of a stream's id in those of its calls: leaves room for any number.
const STREAM_ID_BYTES_MAX: usize = REQUEST_ID_BYTES_MAX - "/".len() - u64::MAX.ilog10() as usize - 1;

/// One call, as its handler sees it.
#[derive(Clone, Debug)]
pub struct Call {
    request_id: String,
    deadline: Instant,
    /// For each chunk of a stream, if the client named no deadline for the whole.
    chunk_timeout: Option<Duration>,
    /// The end that the client itself has set, however far off.
    own_deadline: Option<Instant>,
    timeouts: Timeouts,
}

/// How long calls may take, as the configuration has it.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    default: Duration,
    max: Duration,
}

/// What a client says of one of many calls on a stream.
pub(super) struct Part<'a> {
    /// Unique on the stream.
    pub id: u64,
    /// As [`REQUEST_ID`]; empty: made of the stream's and `id`.
    pub request_id: &'a str,
    /// As `grpc-timeout`; 0: the default.
    pub timeout_ms: u64,
}

impl Call {
    /// Takes a request apart.
    pub(super) fn split<T>(mut request: tonic::Request<T>) -> Result<(Call, T), Status> {
        let call = request.extensions_mut().remove::<Call>().ok_or_else(|| {
            convert::to_status(&Error::Protocol("the service runs without its RequestLayer".into()), "")
        })?;
        Ok((call, request.into_inner()))
    }

    /// Names the request in the logs.
    pub(super) fn id(&self) -> &str {
        &self.request_id
    }

    /// What is left of the deadline, and the id.
    ///
    /// # Errors
    /// `Deadline`, if nothing is left: nothing was done.
    pub(super) fn options(&self) -> Result<CallOptions, Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late("the request itself"));
        }
        let request_id = Some(self.request_id.clone());
        Ok(CallOptions { timeout: Some(left), request_id, ..CallOptions::default() })
    }

    /// The options of one of many requests on a stream: each has the default timeout, or what is left of the
    /// client's deadline for the whole.
    pub(super) fn part_options(&self) -> CallOptions {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Some(self.chunk_timeout.unwrap_or(left));
        CallOptions { timeout, request_id: Some(self.request_id.clone()), ..CallOptions::default() }
    }

    /// One of many calls on a stream: with an id and a deadline of its own, which counts from `arrived` on.
    ///
    /// # Errors
    /// The id cannot be used.
    pub(super) fn part(&self, part: &Part, arrived: Instant) -> Result<Call, Error> {
        let request_id = match part.request_id {
            "" => {
                let stream = &self.request_id[..self.request_id.len().min(STREAM_ID_BYTES_MAX)];
                format!("{stream}/{}", part.id)
            }
            own => checked_id("request_id", own.as_bytes())?,
        };
        let timeout = match part.timeout_ms {
            0 => self.timeouts.default.min(self.timeouts.max),
            asked => deadline::budget(Duration::from_millis(asked), self.timeouts.max),
        };
        let end = arrived + timeout;
        let deadline = self.own_deadline.map_or(end, |own| own.min(end));
        Ok(Call { request_id, deadline, ..*self })
    }

    /// What is left of the deadline, with what a write's message says of its session and guards.
    pub(super) fn write_options(&self, exactness: Option<v1::Exactness>) -> Result<CallOptions, Error> {
        Ok(convert::with_exactness(self.options()?, exactness))
    }

    /// Waits for something that has no deadline of its own and changes nothing.
    pub(super) async fn within<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, Error> {
        timeout_at(self.deadline, work).await.map_err(|_| late(what))
    }

    /// Waits for the next chunk of a stream: until the deadline, or without one for the default timeout.
    pub(super) async fn next_chunk<T>(&self, chunk: impl Future<Output = T>) -> Result<T, Error> {
        let until = self.chunk_timeout.map_or(self.deadline, |timeout| Instant::now() + timeout);
        timeout_at(until, chunk).await.map_err(|_| late("the next chunk"))
    }

    /// Items of a stream that may be silent for long: until it ends, or the client's own deadline.
    ///
    /// They are made in a task of their own, one ahead, since this stream is polled only while the client
    /// takes what it is sent: the reads behind an item must not keep their places for as long as the client
    /// likes.
    pub(super) fn items<T: Send + 'static>(
        self,
        what: &'static str,
        items: impl Stream<Item = Result<T, Error>> + Send + 'static,
    ) -> BoxStream<'static, Result<T, Status>> {
        let (sender, receiver) = mpsc::channel(1);
        let making = AbortOnDropHandle::new(tokio::spawn(self.make_items(what, items.boxed(), sender)));
        stream::unfold((receiver, making), |(mut receiver, making)| async {
            receiver.recv().await.map(|item| (item, (receiver, making)))
        })
        .boxed()
    }

    async fn make_items<T>(
        self,
        what: &'static str,
        mut items: BoxStream<'static, Result<T, Error>>,
        sender: mpsc::Sender<Result<T, Status>>,
    ) {
        loop {
            let next = match self.own_deadline {
                Some(end) => timeout_at(end, items.next()).await.unwrap_or_else(|_| Some(Err(late(what)))),
                None => items.next().await,
            };
            let Some(item) = next else { return };
            let failed = item.is_err();
            let sent = sender.send(item.map_err(|error| self.status(&error))).await;
            if failed || sent.is_err() {
                return;
            }
        }
    }

    /// The answer, or the status that tells of the error.
    pub(super) fn answer<T>(&self, result: Result<T, Error>) -> Result<tonic::Response<T>, Status> {
        result.map(tonic::Response::new).map_err(|error| self.status(&error))
    }

    /// The same inside an answer of a pipeline.
    pub(super) fn failure(&self, error: &Error) -> v1::Failure {
        note(&self.request_id, error);
        convert::error::to_failure(error, &self.request_id)
    }

    /// The status that tells of an error.
    pub(super) fn status(&self, error: &Error) -> Status {
        note(&self.request_id, error);
        convert::to_status(error, &self.request_id)
    }
}

/// A failure of the cluster is for its operator to see; the rest for those who follow a request.
fn note(request_id: &str, error: &Error) {
    let reason = error.reason();
    match is_ordinary(error) {
        true => tracing::debug!(request_id, reason, %error, "refused"),
        false => tracing::info!(request_id, reason, %error, "failed"),
    }
}

/// Whether the caller asked for what cannot be had, or asked the wrong member; or too many ask at once, and a
/// line for each would be more work than it is worth.
fn is_ordinary(error: &Error) -> bool {
    matches!(
        error,
        Error::Invalid(_)
            | Error::TooLarge { .. }
            | Error::Compacted { .. }
            | Error::FutureRevision { .. }
            | Error::LeaseNotFound(_)
            | Error::LeaseExists(_)
            | Error::SessionExpired(_)
            | Error::SessionSeq { .. }
            | Error::LockLost { .. }
            | Error::NotLeader { .. }
            | Error::WrongRoute { .. }
            | Error::TooStale { .. }
            | Error::WaitTimeout { .. }
            | Error::Overloaded { .. }
    )
}

fn late(waiting_for: &str) -> Error {
    Error::Deadline { waiting_for: waiting_for.into(), maybe_committed: false }
}

/// Puts every call into its frame. Wraps the services of [`super::services`].
#[derive(Clone, Debug)]
pub struct RequestLayer {
    timeouts: Timeouts,
}

impl RequestLayer {
    /// With the timeouts of the configuration.
    pub fn new(config: &Config) -> RequestLayer {
        let timeouts = Timeouts { default: config.default_timeout, max: config.timeout_max };
        RequestLayer { timeouts }
    }

    /// A call without metadata.
    #[cfg(test)]
    pub(super) fn fresh(&self) -> Call {
        self.call(&HeaderMap::new()).unwrap_or_else(|(error, _)| panic!("{error}"))
    }

    fn call(&self, metadata: &HeaderMap) -> Result<Call, (Error, String)> {
        let request_id = request_id(metadata).map_err(|error| (error, fresh_id()))?;
        let asked = match timeout(metadata) {
            Ok(asked) => asked,
            Err(error) => return Err((error, request_id)),
        };
        let timeouts = self.timeouts;
        let timeout = match asked {
            Some(asked) => deadline::budget(asked, timeouts.max),
            None => timeouts.default.min(timeouts.max),
        };
        let chunk_timeout = asked.is_none().then_some(timeout);
        let now = Instant::now();
        let end = |asked| now.checked_add(deadline::budget(asked, Duration::MAX));
        let own_deadline = asked.and_then(end);
        Ok(Call { request_id, deadline: now + timeout, chunk_timeout, own_deadline, timeouts })
    }
}

fn timeout(metadata: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(value) = metadata.get(deadline::METADATA) else { return Ok(None) };
    deadline::parse(&String::from_utf8_lossy(value.as_bytes())).map(Some)
}

/// The id that the client chose, or a fresh one.
fn request_id(metadata: &HeaderMap) -> Result<String, Error> {
    let Some(value) = metadata.get(REQUEST_ID) else { return Ok(fresh_id()) };
    checked_id(REQUEST_ID.as_str(), value.as_bytes())
}

/// A request id as the field or metadata `name` carries it.
fn checked_id(name: &str, bytes: &[u8]) -> Result<String, Error> {
    if bytes.len() > REQUEST_ID_BYTES_MAX {
        let (limit, actual) = (REQUEST_ID_BYTES_MAX as u64, bytes.len() as u64);
        return Err(Error::TooLarge { what: name.to_owned(), limit, actual });
    }
    match str::from_utf8(bytes) {
        Ok(id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(id.to_owned()),
        _ => Err(Error::Invalid(format!(
            "{name} must be 1 to {REQUEST_ID_BYTES_MAX} printable ASCII characters without spaces"
        ))),
    }
}

fn fresh_id() -> String {
    format!("{:016x}", draw())
}

impl<S> Layer<S> for RequestLayer {
    type Service = RequestService<S>;

    fn layer(&self, inner: S) -> RequestService<S> {
        RequestService { layer: self.clone(), inner }
    }
}

/// Services behind a [`RequestLayer`].
#[derive(Clone, Debug)]
pub struct RequestService<S> {
    layer: RequestLayer,
    inner: S,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for RequestService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Answering {
        let call = match self.layer.call(request.headers()) {
            Ok(call) => call,
            Err((error, id)) => {
                note(&id, &error);
                let refused = convert::to_status(&error, &id).into_http();
                return Box::pin(future::ready(Ok(named(refused, &id))));
            }
        };
        let id = call.request_id.clone();
        let noted = Noted::begin(&request, &id);
        request.extensions_mut().insert(call);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = refusal::explain(answer.await?, &id);
            if let Some(noted) = noted {
                noted.end(&answer, &id);
            }
            Ok(undated(named(answer, &id)))
        })
    }
}

/// A call that is followed in the log, which costs nothing where it is not.
struct Noted {
    method: String,
    began: Instant,
}

impl Noted {
    fn begin(request: &Request<Body>, id: &str) -> Option<Noted> {
        tracing::enabled!(tracing::Level::DEBUG).then(|| {
            let method = request.uri().path().to_owned();
            tracing::debug!(request_id = %id, method, "received");
            Noted { method, began: Instant::now() }
        })
    }

    fn end(self, answer: &Response<Body>, id: &str) {
        let (ok, took_us) = (is_ok(answer), self.began.elapsed().as_micros() as u64);
        tracing::debug!(request_id = %id, method = self.method, ok, took_us, "answered");
    }
}

/// Whether an answer begins as a success: a status in its headers is a refusal.
fn is_ok(answer: &Response<Body>) -> bool {
    Status::from_header_map(answer.headers()).is_none_or(|status| status.code() == tonic::Code::Ok)
}

/// The answer, with the request's id in its metadata: not for the table of headers by which HTTP/2 shortens
/// what comes again, since this one does not.
fn named(mut response: Response<Body>, id: &str) -> Response<Body> {
    if let Ok(mut value) = HeaderValue::from_str(id) {
        value.set_sensitive(true);
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::Semaphore;

    use super::*;

    fn metadata(name: &'static str, value: &[u8]) -> HeaderMap {
        let value = HeaderValue::from_bytes(value).expect("a header value");
        HeaderMap::from_iter([(HeaderName::from_static(name), value)])
    }

    fn id_of(value: &[u8]) -> Result<String, Error> {
        request_id(&metadata("x-request-id", value))
    }

    #[test]
    fn a_good_request_id_is_kept_and_a_missing_one_is_made() {
        assert_eq!(id_of(b"order-17/a"), Ok("order-17/a".into()));
        assert_eq!(id_of(&[b'x'; REQUEST_ID_BYTES_MAX]), Ok("x".repeat(REQUEST_ID_BYTES_MAX)));
        let made = request_id(&HeaderMap::new()).expect("a fresh id");
        assert_eq!(made.len(), 16);
        assert_ne!(Ok(made), request_id(&HeaderMap::new()));
    }

    #[test]
    fn a_bad_request_id_is_refused_with_the_limit() {
        let what = "x-request-id".to_owned();
        assert_eq!(id_of(&[b'x'; 65]), Err(Error::TooLarge { what, limit: 64, actual: 65 }));
        for bad in [&b""[..], b"two words", b"tab\tbed", "é".as_bytes(), b"\xff"] {
            assert!(matches!(id_of(bad), Err(Error::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn the_deadline_is_the_clients_capped_or_the_default() {
        let layer = RequestLayer::new(&Config::default());
        let left = |metadata: &HeaderMap| {
            let call = layer.call(metadata).expect("a call");
            call.options().map(|options| options.timeout.expect("a timeout").as_millis().div_ceil(100))
        };
        assert_eq!(left(&HeaderMap::new()), Ok(50));
        assert_eq!(left(&metadata("grpc-timeout", b"2S")), Ok(20));
        assert_eq!(left(&metadata("grpc-timeout", b"9H")), Ok(600));
        assert_eq!(left(&metadata("grpc-timeout", b"0m")), Err(late("the request itself")));
        assert!(layer.call(&metadata("grpc-timeout", b"soon")).is_err());
    }

    #[tokio::test]
    async fn a_stream_without_a_deadline_has_one_for_each_chunk() {
        let chunk_timeout = Some(Duration::from_millis(20));
        let call = Call { chunk_timeout, ..endless() };
        assert_eq!(call.next_chunk(async { tokio::task::yield_now().await }).await, Ok(()));
        assert_eq!(call.next_chunk(future::pending::<()>()).await, Err(late("the next chunk")));
        let call = Call { chunk_timeout: None, ..call };
        assert_eq!(call.next_chunk(future::pending::<()>()).await, Err(late("the next chunk")));
        assert_eq!(call.within("it", future::pending::<()>()).await, Err(late("it")));
    }

    fn endless() -> Call {
        let timeouts = Timeouts { default: Duration::from_secs(5), max: Duration::from_secs(60) };
        let request_id = "id".to_owned();
        Call { request_id, deadline: Instant::now(), chunk_timeout: None, own_deadline: None, timeouts }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_a_stream_has_an_id_and_a_deadline_of_its_own() {
        let stream = Call { request_id: "s".repeat(REQUEST_ID_BYTES_MAX), ..endless() };
        let part = |request_id, timeout_ms| Part { id: u64::MAX, request_id, timeout_ms };
        let left = |stream: &Call, timeout_ms| {
            let call = stream.part(&part("", timeout_ms), Instant::now()).expect("a call");
            (call.deadline - Instant::now()).as_millis()
        };
        let made = stream.part(&part("", 0), Instant::now()).expect("a call");
        assert_eq!(made.id().len(), REQUEST_ID_BYTES_MAX);
        assert!(made.id().ends_with("s/18446744073709551615"), "{}", made.id());
        assert_eq!(stream.part(&part("own", 0), Instant::now()).expect("a call").id(), "own");
        let refused = stream.part(&part("two words", 0), Instant::now());
        assert!(matches!(refused, Err(Error::Invalid(why)) if why.contains("_id")));
        let long = "x".repeat(65);
        assert!(matches!(
            stream.part(&part(&long, 0), Instant::now()),
            Err(Error::TooLarge { actual: 65, .. })
        ));
        assert_eq!([0, 1000, u64::MAX].map(|asked| left(&stream, asked)), [5000, 950, 60_000]);
        let own_deadline = Some(Instant::now() + Duration::from_secs(1));
        let bounded = Call { own_deadline, ..stream };
        assert_eq!([0, 100, 9000].map(|asked| left(&bounded, asked)), [1000, 90, 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn items_that_are_not_read_keep_no_place_and_are_made_one_ahead() {
        let (place, made) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicUsize::new(0)));
        let (its_place, count) = (place.clone(), made.clone());
        let items = stream::iter(0..).then(move |item: u64| {
            let (place, made) = (its_place.clone(), count.clone());
            async move {
                let _place = place.acquire().await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                made.fetch_add(1, Ordering::Relaxed);
                Ok(item)
            }
        });
        let mut told = endless().items("it", items);
        assert!(futures::poll!(told.next()).is_pending(), "the first is being made");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((place.available_permits(), made.load(Ordering::Relaxed)), (1, 2));
        for item in 0..9 {
            assert_eq!(told.next().await.and_then(Result::ok), Some(item));
        }
        drop(told);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(made.load(Ordering::Relaxed) <= 11 && place.available_permits() == 1, "the end is the end");
    }

    #[tokio::test(start_paused = true)]
    async fn items_end_with_the_first_error_and_at_the_clients_own_deadline() {
        let items = stream::iter([Ok(1), Err(Error::NoLeader), Ok(2)]);
        let told: Vec<_> = endless().items("it", items).collect().await;
        assert!(matches!(&told[..], [Ok(1), Err(_)]));
        let own_deadline = Some(Instant::now() + Duration::from_secs(5));
        let call = Call { own_deadline, ..endless() };
        let told: Vec<_> = call.items("the lock", stream::pending::<Result<(), _>>()).collect().await;
        assert!(matches!(&told[..], [Err(status)] if status.message().contains("the lock")), "{told:?}");
    }
}
