//! `quorate.v1.Watch`: many watches on one stream.
//!
//! Everything is pulled: the next response is made when HTTP/2 has room for it. A stream that is not
//! read takes no more requests and asks its watches for nothing, so that it costs the buffers of its
//! watches, which are bounded, and one response. A large revision is made part by part, each when the one
//! before was taken.
//!
//! The stream has no deadline. It ends when the client ends it, or when it has no watches and the client
//! sends no more requests, or when the member stops.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
};

use futures::{
    StreamExt,
    future::AbortHandle,
    stream::{self, BoxStream, SelectAll, abortable},
};
use tonic::{Request, Response, Status, Streaming};

use super::request::Call;
use crate::{
    error::Error,
    node::{Node, WatchPart, WholeMax, whole},
    pb::{
        convert,
        v1::{self, watch_request},
    },
    types::{Header, Watch, WatchUpdate},
    watch::ProgressRequest,
};

/// Bytes of a response to a watch without `fragment`, about: what gRPC clients accept unless told otherwise.
/// A revision that takes more ends the watch: it must be in one response, and so in memory at once.
const WHOLE_MAX: WholeMax = WholeMax { what: "of a watch without fragment", bytes: 4 << 20 };

/// The service of one member.
pub struct Service {
    node: Node,
}

impl Service {
    pub fn new(node: Node) -> Service {
        Service { node }
    }
}

type Responses = BoxStream<'static, Result<v1::WatchResponse, Status>>;

#[tonic::async_trait]
impl v1::watch_server::Watch for Service {
    type WatchStream = Responses;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let (call, requests) = Call::split(request)?;
        Ok(Response::new(Session::new(self.node.clone(), call, requests).responses()))
    }
}

/// One stream.
struct Session {
    node: Node,
    call: Call,
    requests: BoxStream<'static, Result<v1::WatchRequest, Status>>,
    /// The client may send more.
    listening: bool,
    watches: SelectAll<BoxStream<'static, (u64, Result<WatchPart, Error>)>>,
    open: BTreeMap<u64, Open>,
    last_id: u64,
    /// Made and not yet sent.
    ready: VecDeque<v1::WatchResponse>,
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    stopping: bool,
}

/// A watch of the stream.
struct Open {
    progress: ProgressRequest,
    abort: AbortHandle,
    /// Its first response was made.
    created: bool,
}

/// What the stream waits for.
enum Happening {
    Request(Option<Result<v1::WatchRequest, Status>>),
    Part(u64, Result<WatchPart, Error>),
    Stopping,
}

impl Session {
    fn new(node: Node, call: Call, requests: Streaming<v1::WatchRequest>) -> Session {
        let closed = Box::pin(node.watches_closed());
        Session {
            node,
            call,
            requests: requests.boxed(),
            listening: true,
            watches: SelectAll::new(),
            open: BTreeMap::new(),
            last_id: 0,
            ready: VecDeque::new(),
            closed,
            stopping: false,
        }
    }

    fn responses(self) -> Responses {
        stream::unfold(Some(self), |session| async {
            let mut session = session?;
            match session.next().await {
                Ok(Some(response)) => Some((Ok(response), Some(session))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<v1::WatchResponse>, Status> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Ok(Some(response));
            }
            if self.open.is_empty() && self.stopping {
                return Err(self.call.status(&Error::ShuttingDown));
            }
            if self.open.is_empty() && !self.listening {
                return Ok(None);
            }
            match self.happening().await {
                Happening::Request(Some(request)) => self.handle(request?),
                Happening::Request(None) => self.listening = false,
                Happening::Part(id, part) => self.tell(id, part),
                Happening::Stopping => self.stopping = true,
            }
        }
    }

    async fn happening(&mut self) -> Happening {
        tokio::select! {
            request = self.requests.next(), if self.listening => Happening::Request(request),
            Some((id, part)) = self.watches.next() => Happening::Part(id, part),
            () = &mut self.closed, if !self.stopping => Happening::Stopping,
        }
    }

    fn handle(&mut self, request: v1::WatchRequest) {
        match request.request {
            Some(watch_request::Request::Create(create)) => {
                let id = if create.watch_id == 0 { self.free_id() } else { create.watch_id };
                if let Err(error) = self.create(id, create) {
                    self.refuse(id, &error, true);
                }
            }
            Some(watch_request::Request::Cancel(cancel)) => match self.open.remove(&cancel.watch_id) {
                Some(open) => {
                    open.abort.abort();
                    self.ready
                        .push_back(v1::WatchResponse { canceled: true, ..self.response(cancel.watch_id) });
                }
                None => self.refuse(cancel.watch_id, &unknown(cancel.watch_id), false),
            },
            Some(watch_request::Request::Progress(progress)) => self.ask_progress(progress.watch_id),
            None => self.refuse(0, &Error::Invalid("a request to do nothing".into()), false),
        }
    }

    fn create(&mut self, id: u64, create: v1::WatchCreate) -> Result<(), Error> {
        if self.open.contains_key(&id) {
            return Err(Error::Invalid(format!("the stream has a watch {id} already: choose another id")));
        }
        let limit = self.node.limits().watches_per_stream_max;
        if self.open.len() >= limit {
            let what = "limits.watches_per_stream_max".to_owned();
            let retry_after = self.node.config().default_timeout;
            return Err(Error::Overloaded { what, limit: limit as u64, retry_after });
        }
        let fragment = create.fragment;
        let (parts, progress) = self.node.open_watch(Watch::try_from(create)?)?;
        let (parts, abort) = abortable(if fragment { parts } else { whole(parts, WHOLE_MAX) });
        self.watches.push(parts.map(move |part| (id, part)).boxed());
        self.open.insert(id, Open { progress, abort, created: false });
        Ok(())
    }

    fn free_id(&mut self) -> u64 {
        loop {
            self.last_id = self.last_id.wrapping_add(1).max(1);
            if !self.open.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    fn ask_progress(&mut self, id: u64) {
        match self.open.get(&id) {
            Some(open) => open.progress.send(),
            None if id == 0 => self.open.values().for_each(|open| open.progress.send()),
            None => self.refuse(id, &unknown(id), false),
        }
    }

    /// Makes the response that tells of a part.
    fn tell(&mut self, id: u64, part: Result<WatchPart, Error>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let WatchPart { update, more } = match part {
            Ok(part) => part,
            Err(error) => {
                let created = open.created;
                self.open.remove(&id);
                return self.refuse(id, &error, !created);
            }
        };
        self.ready.push_back(match update {
            WatchUpdate::Created(header) => {
                open.created = true;
                let header = Header { request_id: self.call.id().to_owned(), ..header };
                v1::WatchResponse { created: true, ..response(id, header) }
            }
            WatchUpdate::Progress(header) => {
                let out_of_touch = self.node.is_out_of_touch();
                v1::WatchResponse { progress: true, out_of_touch, ..response(id, header) }
            }
            WatchUpdate::Events { header, events } => {
                let events = events.into_iter().map(Into::into).collect();
                v1::WatchResponse { events, fragment: more, ..response(id, header) }
            }
        });
    }

    /// A watch, or a request, ends with an error; `first`: it had no response before.
    fn refuse(&mut self, id: u64, error: &Error, first: bool) {
        self.ready.push_back(v1::WatchResponse {
            created: first,
            canceled: true,
            cancel: Some(convert::error::detail(error, self.call.id())),
            cancel_message: error.to_string(),
            ..self.response(id)
        });
    }

    fn response(&self, id: u64) -> v1::WatchResponse {
        response(id, self.node.header(self.call.id()))
    }
}

fn unknown(id: u64) -> Error {
    Error::Invalid(format!("the stream has no watch {id}"))
}

fn response(id: u64, header: Header) -> v1::WatchResponse {
    v1::WatchResponse { header: Some(header.into()), watch_id: id, ..v1::WatchResponse::default() }
}
