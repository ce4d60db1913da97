//! One stream to one member, for all watches of a client.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::mailbox::{Lost, Mailbox};
use crate::{
    client::{ANSWER_BYTES_MAX, Client, Inner, routing::Target},
    error::Error,
    pb::{
        convert::{self, RequestKind},
        v1::{self, watch_client::WatchClient, watch_request},
    },
};

/// Requests on their way to the member. Whoever sends one more waits.
const REQUESTS_MAX: usize = 64;

/// A member that said nothing for so long is asked for a watch's progress.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Times that it is asked before it is given up.
const QUESTIONS: u32 = 2;

/// A link is kept for so long though its member is out of touch. Where all members are, going from one to the
/// other gains nothing.
const OUT_OF_TOUCH_KEPT: Duration = Duration::from_secs(5);

/// Times [`SILENCE_MAX`] that a link is kept on which nobody watches.
const IDLE_ROUNDS: u32 = 5;

/// After a failure to open a link, others that want one are told the same for so long.
const FAILED_FOR: Duration = Duration::from_millis(20);

/// The link in use, if there is one.
#[derive(Default)]
pub(in crate::client) struct Links {
    /// Held while one is opened, so that only one is.
    current: AsyncMutex<Current>,
}

#[derive(Default)]
struct Current {
    link: Option<Arc<Link>>,
    failed: Option<(Instant, Error)>,
}

/// A stream.
pub(super) struct Link {
    endpoint: String,
    opened: Instant,
    requests: mpsc::Sender<v1::WatchRequest>,
    routes: Mutex<Routes>,
}

/// Who gets what arrives.
#[derive(Default)]
struct Routes {
    mailboxes: BTreeMap<u64, Arc<Mailbox>>,
    last_id: u64,
    closed: Option<Error>,
}

impl Client {
    /// The link in use, or a new one to the member whose turn it is.
    pub(super) async fn link(&self) -> Result<Arc<Link>, Error> {
        let mut current = self.inner.links.current.lock().await;
        if let Some(link) = current.link.as_ref().filter(|link| link.routes().closed.is_none()) {
            return Ok(link.clone());
        }
        if let Some((_, error)) = current.failed.as_ref().filter(|(at, _)| at.elapsed() < FAILED_FOR) {
            return Err(error.clone());
        }
        let endpoint = self.view().pick(Target::Any, &BTreeSet::new(), Instant::now());
        let endpoint = endpoint.ok_or(Error::NoLeader)?;
        match self.open_link(&endpoint).await {
            Ok(link) => {
                *current = Current { link: Some(link.clone()), failed: None };
                Ok(link)
            }
            Err(error) => {
                self.view().learn_error(&endpoint, &error, Instant::now());
                current.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn open_link(&self, endpoint: &str) -> Result<Arc<Link>, Error> {
        let limit = self.inner.settings.connect_timeout;
        let channel = self.inner.pool.get(endpoint).await?.channel;
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let mut service = WatchClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let opened = timeout(limit, service.watch(ReceiverStream::new(requests))).await;
        let silent = |_| Error::Connection {
            endpoint: endpoint.to_owned(),
            why: format!("connected, but no answer within {} ms", limit.as_millis()),
            maybe_committed: false,
        };
        let opened = opened.map_err(silent).and_then(|opened| {
            opened.map_err(|status| convert::from_status(&status, endpoint, RequestKind::Read))
        });
        let responses = opened.inspect_err(|_| self.inner.pool.forget(endpoint))?.into_inner();
        let (endpoint, opened) = (endpoint.to_owned(), Instant::now());
        let link = Arc::new(Link { endpoint, opened, requests: sender, routes: Mutex::default() });
        tokio::spawn(read(Arc::downgrade(&self.inner), link.clone(), responses));
        Ok(link)
    }
}

/// Hands out what arrives, until the link is lost or idle, or the client is gone.
async fn read(client: Weak<Inner>, link: Arc<Link>, mut responses: Streaming<v1::WatchResponse>) {
    let mut silent = 0;
    let error = loop {
        match timeout(SILENCE_MAX, responses.message()).await {
            Ok(Ok(Some(response))) => {
                silent = 0;
                let Some(client) = client.upgrade().map(|inner| Client { inner }) else { return };
                if let Err(error) = link.hand_out(&client, response) {
                    break error;
                }
            }
            Ok(Ok(None)) => break link.broken("the stream has ended"),
            Ok(Err(status)) => break convert::from_status(&status, &link.endpoint, RequestKind::Read),
            Err(_) => {
                silent += 1;
                match link.ask_for_life(silent) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => break error,
                }
            }
        }
    };
    tracing::debug!(endpoint = link.endpoint, %error, "the watches' stream is lost");
    let Some(client) = client.upgrade().map(|inner| Client { inner }) else { return };
    if matches!(error, Error::Connection { .. }) {
        client.inner.pool.forget(&link.endpoint);
    }
    client.view().learn_error(&link.endpoint, &error, Instant::now());
    link.close(&error);
}

impl Link {
    /// Begins a watch.
    ///
    /// # Errors
    /// Why the link is lost.
    pub async fn begin(self: Arc<Self>, create: v1::WatchCreate) -> Result<Feed, Error> {
        let mailbox = Arc::new(Mailbox::default());
        let id = {
            let mut routes = self.routes();
            if let Some(error) = &routes.closed {
                return Err(error.clone());
            }
            routes.last_id += 1;
            let id = routes.last_id;
            routes.mailboxes.insert(id, mailbox.clone());
            id
        };
        let feed = Feed { link: self, id, mailbox };
        let create = watch_request::Request::Create(v1::WatchCreate { watch_id: id, ..create });
        let request = v1::WatchRequest { request: Some(create) };
        let sent = feed.link.requests.send(request).await;
        sent.map_err(|_| feed.link.broken("the stream has ended"))?;
        Ok(feed)
    }

    /// Puts a response into its mailbox. A watch whose mailbox is full, or gone, is cancelled.
    ///
    /// # Errors
    /// `WrongCluster`; `NotReady`, if the member is cut off from the others and so has nothing to tell.
    fn hand_out(&self, client: &Client, response: v1::WatchResponse) -> Result<(), Error> {
        let id = response.watch_id;
        if let Some(header) = response.header.as_ref().filter(|_| response.created) {
            let mut view = client.view();
            view.learn_cluster(&self.endpoint, header.cluster_id)?;
            view.learn_member(&self.endpoint, header.member_id);
        }
        if response.out_of_touch && self.opened.elapsed() >= OUT_OF_TOUCH_KEPT {
            return Err(Error::NotReady("it has lost touch with the other members".to_owned()));
        }
        let ended = response.canceled;
        let mut routes = self.routes();
        let taken = routes.mailboxes.get(&id).is_some_and(|mailbox| mailbox.put(response));
        if ended || !taken {
            routes.mailboxes.remove(&id);
        }
        drop(routes);
        if !ended && !taken {
            self.cancel(id);
        }
        Ok(())
    }

    /// After so many times [`SILENCE_MAX`]: asks for a sign of life, if anybody watches. False: the link is
    /// closed, since nobody has watched for long.
    ///
    /// # Errors
    /// The member was asked often enough.
    fn ask_for_life(&self, silent: u32) -> Result<bool, Error> {
        let mut routes = self.routes();
        let Some(id) = routes.mailboxes.keys().next().copied() else {
            let idle = silent >= IDLE_ROUNDS;
            if idle {
                routes.closed = Some(self.broken("nobody watched"));
            }
            return Ok(!idle);
        };
        drop(routes);
        if silent > QUESTIONS {
            return Err(self.broken("the member is silent"));
        }
        let progress = watch_request::Request::Progress(v1::WatchProgress { watch_id: id });
        // A queue that is full is a question too.
        let _ = self.requests.try_send(v1::WatchRequest { request: Some(progress) });
        Ok(true)
    }

    /// If the queue is full, the next response of the watch is the next occasion.
    fn cancel(&self, id: u64) {
        let cancel = watch_request::Request::Cancel(v1::WatchCancel { watch_id: id });
        let _ = self.requests.try_send(v1::WatchRequest { request: Some(cancel) });
    }

    /// No watch begins here any more, and those that have begun are lost.
    fn close(&self, error: &Error) {
        let mailboxes = {
            let mut routes = self.routes();
            routes.closed.get_or_insert_with(|| error.clone());
            std::mem::take(&mut routes.mailboxes)
        };
        mailboxes.values().for_each(|mailbox| mailbox.close(Lost::Link(error.clone())));
    }

    fn broken(&self, why: &str) -> Error {
        Error::Connection { endpoint: self.endpoint.clone(), why: why.to_owned(), maybe_committed: false }
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a link brings for one watch. Dropping it cancels the watch.
pub(super) struct Feed {
    link: Arc<Link>,
    id: u64,
    mailbox: Arc<Mailbox>,
}

impl Feed {
    /// The next response, or why nothing more comes.
    pub async fn next(&mut self) -> Result<v1::WatchResponse, Lost> {
        self.mailbox.take().await
    }

    /// The member refuses watches for a reason of its own: all go elsewhere.
    pub fn leave_member(self, client: &Client, error: &Error) {
        client.view().learn_error(&self.link.endpoint, error, Instant::now());
        self.link.close(error);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if self.link.routes().mailboxes.remove(&self.id).is_some() {
            self.link.cancel(self.id);
        }
    }
}
