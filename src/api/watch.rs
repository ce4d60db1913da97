//! `quorate.v1.Watch`: many watches on one stream.
//!
//! Everything is pulled: the next response is made when HTTP/2 has room for it. A stream that is not
//! read takes no more requests and asks its watches for nothing, so that it costs the buffers of its
//! watches, which are bounded, and one response in parts.
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
    node::Node,
    pb::{
        convert,
        v1::{self, watch_request},
    },
    types::{Header, Watch, WatchEvent, WatchUpdate},
    watch::ProgressRequest,
};

/// Bytes of events in one part of a response, about; a single event is never split.
const FRAGMENT_BYTES: usize = 1 << 20;

/// What an event takes on the wire besides keys and values, about.
const EVENT_BYTES: usize = 64;

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
    watches: SelectAll<BoxStream<'static, (u64, Result<WatchUpdate, Error>)>>,
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
    fragment: bool,
    /// Its first response was made.
    created: bool,
}

/// What the stream waits for.
enum Happening {
    Request(Option<Result<v1::WatchRequest, Status>>),
    Update(u64, Result<WatchUpdate, Error>),
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
                Happening::Update(id, update) => self.tell(id, update),
                Happening::Stopping => self.stopping = true,
            }
        }
    }

    async fn happening(&mut self) -> Happening {
        tokio::select! {
            request = self.requests.next(), if self.listening => Happening::Request(request),
            Some((id, update)) = self.watches.next() => Happening::Update(id, update),
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
        let (updates, progress) = self.node.open_watch(Watch::try_from(create)?)?;
        let (updates, abort) = abortable(updates);
        self.watches.push(updates.map(move |update| (id, update)).boxed());
        self.open.insert(id, Open { progress, abort, fragment, created: false });
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

    /// Makes the responses that tell of an update.
    fn tell(&mut self, id: u64, update: Result<WatchUpdate, Error>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        match update {
            Ok(WatchUpdate::Created(header)) => {
                open.created = true;
                let header = Header { request_id: self.call.id().to_owned(), ..header };
                self.ready.push_back(v1::WatchResponse { created: true, ..response(id, header) });
            }
            Ok(WatchUpdate::Progress(header)) => {
                let out_of_touch = self.node.is_out_of_touch();
                let progress = v1::WatchResponse { progress: true, out_of_touch, ..response(id, header) };
                self.ready.push_back(progress);
            }
            Ok(WatchUpdate::Events { header, events }) => match open.fragment {
                true => self.ready.extend(fragments(&response(id, header), events)),
                false => self.ready.push_back(whole(response(id, header), events)),
            },
            Err(error) => {
                let created = open.created;
                self.open.remove(&id);
                self.refuse(id, &error, !created);
            }
        }
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

fn whole(base: v1::WatchResponse, events: Vec<WatchEvent>) -> v1::WatchResponse {
    v1::WatchResponse { events: events.into_iter().map(Into::into).collect(), ..base }
}

/// The events in parts; all but the last say that more follow.
fn fragments(base: &v1::WatchResponse, events: Vec<WatchEvent>) -> Vec<v1::WatchResponse> {
    let mut parts: Vec<Vec<WatchEvent>> = Vec::new();
    let mut room = 0;
    for event in events {
        let bytes = size(&event);
        match parts.last_mut() {
            Some(part) if bytes <= room => part.push(event),
            _ => {
                parts.push(vec![event]);
                room = FRAGMENT_BYTES;
            }
        }
        room = room.saturating_sub(bytes);
    }
    let last = parts.len().saturating_sub(1);
    let part = |(at, events)| v1::WatchResponse { fragment: at < last, ..whole(base.clone(), events) };
    parts.into_iter().enumerate().map(part).collect()
}

fn size(event: &WatchEvent) -> usize {
    let pairs = [Some(&event.kv), event.prev_kv.as_ref()].into_iter().flatten();
    EVENT_BYTES + pairs.map(|kv| kv.key.len() + kv.value.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::KeyValue;

    fn event(bytes: usize) -> WatchEvent {
        let kv = KeyValue {
            key: "k".into(),
            value: vec![0; bytes].into(),
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            lease: 0,
        };
        WatchEvent { deleted: false, kv, prev_kv: None }
    }

    #[test]
    fn parts_are_full_and_all_but_the_last_say_that_more_follow() {
        let base = v1::WatchResponse { watch_id: 7, ..Default::default() };
        let third = FRAGMENT_BYTES / 3;
        let parts = fragments(&base, [third, third, third, 2 * FRAGMENT_BYTES, 1].map(event).to_vec());
        let seen: Vec<_> = parts.iter().map(|part| (part.events.len(), part.fragment)).collect();
        assert_eq!(seen, [(2, true), (1, true), (1, true), (1, false)]);
        assert!(parts.iter().all(|part| part.watch_id == 7));
        let one = fragments(&base, vec![event(1)]);
        assert_eq!((one.len(), one[0].fragment), (1, false));
    }
}
