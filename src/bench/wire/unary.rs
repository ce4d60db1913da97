//! Unary gRPC calls straight on HTTP/2: a frame of headers and one of data each way, and trailers. No queue,
//! no task and no middleware for a call, so that the load takes little of the machine that it shares with
//! servers.
//!
//! There is no compression, no metadata, no keep-alive and no deadline here: who calls gives up by dropping
//! the call, which resets its stream.

use std::{fmt::Display, future::poll_fn, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{
    RecvStream,
    client::{Builder, SendRequest},
};
use http::{
    HeaderMap, Request, Version,
    header::{CONTENT_TYPE, HeaderName, TE},
    response::Parts,
    uri::Authority,
};
use prost::Message;
use tokio::{sync::Mutex, time::timeout};
use tonic::Status;

use crate::{
    bench::BenchError,
    env::{CONNECT_TIMEOUT, Net, Tcp},
};

/// Bytes of one answer, and of all on a connection, that the server may send before it is told to go on: no
/// small answer ever waits.
const ANSWER_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Calls methods on one connection, which is made when it is first used, and again after it broke. Clones
/// share it. It belongs to the runtime of the call that makes it.
#[derive(Clone)]
pub(super) struct Caller {
    link: Arc<Link>,
    /// Of the connection that this clone used last.
    requests: Option<SendRequest<Bytes>>,
}

/// A method of a service: the head of its requests.
#[derive(Clone)]
pub(super) struct Method(Arc<Request<()>>);

/// A connection that clones share.
struct Link {
    address: Authority,
    open: Mutex<Option<SendRequest<Bytes>>>,
}

impl Caller {
    /// # Errors
    /// `Invalid`: the address is not of the form `host:port`.
    pub fn new(address: &str) -> Result<Caller, BenchError> {
        let invalid = |error| BenchError::Invalid(format!("{address:?} is no address: {error}"));
        let address = address.parse::<Authority>().map_err(invalid)?;
        Ok(Caller { link: Arc::new(Link { address, open: Mutex::new(None) }), requests: None })
    }

    /// The method with that path: `/package.Service/Method`.
    ///
    /// # Errors
    /// `Invalid`: it is no path.
    pub fn method(&self, path: &str) -> Result<Method, BenchError> {
        let request = Request::post(format!("http://{}{path}", self.link.address)).version(Version::HTTP_2);
        let request = request.header(TE, "trailers").header(CONTENT_TYPE, "application/grpc").body(());
        let invalid = |error| BenchError::Invalid(format!("{path:?} is no method: {error}"));
        Ok(Method(Arc::new(request.map_err(invalid)?)))
    }

    /// Where it calls: `host:port`.
    pub fn address(&self) -> &str {
        self.link.address.as_str()
    }

    /// Calls a method.
    ///
    /// # Errors
    /// What the server says; `Unavailable` if there is no connection, or it broke; `Internal` if the answer
    /// is not gRPC.
    pub async fn call<A: Message + Default>(
        &mut self,
        method: &Method,
        message: &impl Message,
    ) -> Result<A, Status> {
        let requests = self.requests().await?;
        let head = Request::clone(&method.0);
        let (answer, mut request) = requests.send_request(head, false).map_err(broken)?;
        request.send_data(framed(message), true).map_err(broken)?;
        let (head, body) = answer.await.map_err(broken)?.into_parts();
        received(&head, body).await
    }

    /// The connection, once it takes a request.
    async fn requests(&mut self) -> Result<&mut SendRequest<Bytes>, Status> {
        if let Some(requests) = &mut self.requests
            && !take_request(requests).await
        {
            self.requests = None;
        }
        match &mut self.requests {
            Some(requests) => Ok(requests),
            none => Ok(none.insert(self.link.requests().await?)),
        }
    }
}

impl Link {
    /// The connection that a clone has made meanwhile, or a new one.
    async fn requests(&self) -> Result<SendRequest<Bytes>, Status> {
        let mut open = self.open.lock().await;
        if let Some(requests) = open.as_mut()
            && take_request(requests).await
        {
            return Ok(requests.clone());
        }
        let dialled = timeout(CONNECT_TIMEOUT, self.dial()).await;
        let requests = dialled.unwrap_or_else(|late| Err(broken(late)))?;
        Ok(open.insert(requests).clone())
    }

    async fn dial(&self) -> Result<SendRequest<Bytes>, Status> {
        let io = Tcp.dial(self.address.to_string()).await.map_err(broken)?;
        let mut http2 = Builder::new();
        http2.initial_window_size(ANSWER_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (requests, connection) = http2.enable_push(false).handshake(io).await.map_err(broken)?;
        // Whoever has a call on it learns why it ended.
        tokio::spawn(async move { drop(connection.await) });
        Ok(requests)
    }
}

/// Waits until the connection takes another request; `false`: it is broken, or being closed.
async fn take_request(requests: &mut SendRequest<Bytes>) -> bool {
    poll_fn(|cx| requests.poll_ready(cx)).await.is_ok()
}

fn broken(why: impl Display) -> Status {
    Status::unavailable(why.to_string())
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(length as u32);
    message.encode_raw(&mut frame);
    frame.freeze()
}

/// The answer, if the status is OK. That stands in the trailers; without an answer, often in the headers.
async fn received<A: Message + Default>(head: &Parts, mut body: RecvStream) -> Result<A, Status> {
    let answer = whole(&mut body).await?;
    let trailers = body.trailers().await.map_err(broken)?;
    let end = trailers.as_ref().unwrap_or(&head.headers);
    if is_ok(end) {
        return decoded(answer);
    }
    let unknown = || Status::internal(format!("an answer without a gRPC status: HTTP {}", head.status));
    Err(Status::from_header_map(end).unwrap_or_else(unknown))
}

fn is_ok(end: &HeaderMap) -> bool {
    end.get(&GRPC_STATUS).is_some_and(|status| status == "0")
}

/// All data. It seldom comes in more than one frame.
async fn whole(body: &mut RecvStream) -> Result<Bytes, Status> {
    let Some(first) = next(body).await? else { return Ok(Bytes::new()) };
    let Some(second) = next(body).await? else { return Ok(first) };
    let mut all = BytesMut::from(first);
    all.put(second);
    while let Some(more) = next(body).await? {
        all.put(more);
    }
    Ok(all.freeze())
}

/// The next data, for which the server may send more.
async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, Status> {
    let Some(data) = body.data().await.transpose().map_err(broken)? else { return Ok(None) };
    body.flow_control().release_capacity(data.len()).map_err(broken)?;
    Ok(Some(data))
}

fn decoded<A: Message + Default>(mut answer: Bytes) -> Result<A, Status> {
    let invalid = |why: &dyn Display| Status::internal(format!("an answer that is not understood: {why}"));
    let (compressed, length) = match (answer.try_get_u8(), answer.try_get_u32()) {
        (Ok(compressed), Ok(length)) => (compressed, length as usize),
        _ => return Err(invalid(&"it is too short")),
    };
    if compressed != 0 || length != answer.len() {
        return Err(invalid(&"not one whole message, uncompressed"));
    }
    A::decode(answer).map_err(|error| invalid(&error))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use h2::{
        Reason,
        server::{self, SendResponse},
    };
    use http::Response;
    use tokio::{
        net::{TcpListener, TcpStream},
        sync::Semaphore,
    };
    use tonic::Code;

    use super::*;

    /// Answers as the method's name says.
    struct Server {
        address: String,
        connections: Arc<AtomicUsize>,
        /// A permit for each call that was given up.
        given_up: Arc<Semaphore>,
    }

    impl Server {
        async fn start() -> Server {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address").to_string();
            let connections = Arc::new(AtomicUsize::new(0));
            let given_up = Arc::new(Semaphore::new(0));
            let (counter, resets) = (connections.clone(), given_up.clone());
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    counter.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(converse(socket, resets.clone()));
                }
            });
            Server { address, connections, given_up }
        }

        fn caller(&self) -> Caller {
            Caller::new(&self.address).expect("an address")
        }
    }

    async fn converse(socket: TcpStream, resets: Arc<Semaphore>) {
        let mut connection = server::handshake(socket).await.expect("a handshake");
        while let Some(Ok((request, respond))) = connection.accept().await {
            let (head, body) = request.into_parts();
            assert_eq!(
                (&head.headers[TE], &head.headers[CONTENT_TYPE]),
                (&"trailers".parse().expect("a value"), &"application/grpc".parse().expect("a value"))
            );
            match head.uri.path() {
                "/test/Break" => return,
                "/test/Silent" => drop(tokio::spawn(wait_for_reset(respond, resets.clone()))),
                path => drop(tokio::spawn(answer(path.to_owned(), body, respond))),
            }
        }
    }

    async fn wait_for_reset(mut respond: SendResponse<Bytes>, resets: Arc<Semaphore>) {
        let reset = poll_fn(|cx| respond.poll_reset(cx)).await;
        assert_eq!(reset.expect("a reset"), Reason::CANCEL);
        resets.add_permits(1);
    }

    async fn answer(path: String, mut body: RecvStream, mut respond: SendResponse<Bytes>) {
        let asked = whole(&mut body).await.expect("a request");
        let end = |status: &'static str| {
            HeaderMap::from_iter([(GRPC_STATUS.clone(), status.parse().expect("a value"))])
        };
        let mut head = Response::new(());
        match path.as_str() {
            "/test/HeadersOnly" => {
                *head.headers_mut() = end("8");
                respond.send_response(head, true).expect("sent");
            }
            "/test/NotGrpc" => {
                *head.status_mut() = http::StatusCode::NOT_FOUND;
                respond.send_response(head, true).expect("sent");
            }
            path => {
                let mut stream = respond.send_response(head, false).expect("sent");
                let pieces = if path == "/test/Pieces" { asked.len() } else { 1 };
                for piece in asked.chunks(asked.len().div_ceil(pieces)) {
                    stream.send_data(Bytes::copy_from_slice(piece), false).expect("sent");
                }
                stream.send_trailers(end(if path == "/test/Refuse" { "11" } else { "0" })).expect("sent");
            }
        }
    }

    async fn call(caller: &mut Caller, path: &str) -> Result<String, Code> {
        let method = caller.method(path).expect("a path");
        caller.call(&method, &"hello".to_owned()).await.map_err(|status| status.code())
    }

    #[tokio::test]
    async fn an_answer_is_a_message_and_a_status_in_the_trailers() {
        let server = Server::start().await;
        let mut caller = server.caller();
        assert_eq!(call(&mut caller, "/test/Echo").await, Ok("hello".into()));
        assert_eq!(call(&mut caller, "/test/Pieces").await, Ok("hello".into()));
        assert_eq!(call(&mut caller, "/test/Refuse").await, Err(Code::OutOfRange));
        assert_eq!(server.connections.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_status_without_an_answer_stands_in_the_headers() {
        let mut caller = Server::start().await.caller();
        assert_eq!(call(&mut caller, "/test/HeadersOnly").await, Err(Code::ResourceExhausted));
        assert_eq!(call(&mut caller, "/test/NotGrpc").await, Err(Code::Internal));
    }

    #[tokio::test]
    async fn a_broken_connection_is_made_again_once_for_all_who_share_it() {
        let server = Server::start().await;
        let (mut one, mut other) = (server.caller(), server.caller());
        other.link = one.link.clone();
        assert_eq!(call(&mut one, "/test/Echo").await, Ok("hello".into()));
        assert_eq!(call(&mut other, "/test/Break").await, Err(Code::Unavailable));
        assert_eq!(call(&mut one, "/test/Echo").await, Ok("hello".into()));
        assert_eq!(call(&mut other, "/test/Echo").await, Ok("hello".into()));
        assert_eq!(server.connections.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn nobody_there_is_no_connection() {
        let mut caller = Caller::new("127.0.0.1:1").expect("an address");
        assert_eq!(call(&mut caller, "/test/Echo").await, Err(Code::Unavailable));
        assert!(Caller::new("not an address").is_err());
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_leaves_its_connection_as_it_was() {
        let server = Server::start().await;
        let mut caller = server.caller();
        let late = timeout(Duration::from_millis(50), call(&mut caller, "/test/Silent")).await;
        assert!(late.is_err(), "{late:?}");
        let _told = server.given_up.acquire().await.expect("a reset");
        assert_eq!(call(&mut caller, "/test/Echo").await, Ok("hello".into()));
        assert_eq!(server.connections.load(Ordering::Relaxed), 1);
    }
}
