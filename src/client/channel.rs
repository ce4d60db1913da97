//! Connections: one per address, dialled when first used, shared by all calls, replaced after a failure.
//!
//! Dialling is separate from sending, so that a connection which cannot be made is known to have sent
//! nothing: only that makes it safe to repeat a write. Concurrent calls share one attempt to dial, and its
//! failure.
//!
//! Deliberately absent: TLS, and load balancing inside a channel (routing decides per call).

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Uri};

use super::pipeline::Pipeline;
use crate::{env::Net, error::Error, pb::convert::root_cause};

/// Addresses with a connection. Beyond it connections are not kept: configured and advertised addresses are
/// fewer.
const CHANNELS_MAX: usize = 128;

/// For so long a connection that brought an answer counts as alive.
const ALIVE_FOR: Duration = Duration::from_secs(1);

type Dialling = Shared<BoxFuture<'static, Result<Connection, Error>>>;

/// A connection, and the stream on it that many calls share.
#[derive(Clone)]
pub(super) struct Connection {
    pub channel: Channel,
    pub pipeline: Arc<Pipeline>,
}

/// What is known of one connection.
struct Entry {
    dialling: Dialling,
    /// When the other side last answered on it. That a connection was accepted says nothing: the kernel
    /// does that for a process that is frozen.
    heard: Option<Instant>,
}

/// The connections of one client.
pub(super) struct Pool {
    net: Arc<dyn Net>,
    connect_timeout: Duration,
    channels: Mutex<BTreeMap<String, Entry>>,
}

impl Pool {
    /// No connections yet.
    pub fn new(net: Arc<dyn Net>, connect_timeout: Duration) -> Pool {
        Pool { net, connect_timeout, channels: Mutex::new(BTreeMap::new()) }
    }

    /// The connection to `address`.
    ///
    /// # Errors
    /// `Connection` that was not made; nothing was sent.
    pub async fn get(&self, address: &str) -> Result<Connection, Error> {
        let dialling = self.dialling(address);
        let connection = dialling.clone().await;
        if connection.is_err() {
            self.forget_same(address, &dialling);
        }
        connection
    }

    /// Drops the connection to `address`: the next call dials anew.
    pub fn forget(&self, address: &str) {
        self.channels().remove(address);
    }

    /// An answer came from `address`.
    pub fn heard(&self, address: &str) {
        if let Some(entry) = self.channels().get_mut(address) {
            entry.heard = Some(Instant::now());
        }
    }

    /// Whether an answer came from `address` within the last second.
    pub fn heard_lately(&self, address: &str) -> bool {
        let heard = self.channels().get(address).and_then(|entry| entry.heard);
        heard.is_some_and(|heard| heard.elapsed() < ALIVE_FOR)
    }

    fn dialling(&self, address: &str) -> Dialling {
        let mut channels = self.channels();
        if let Some(entry) = channels.get(address) {
            return entry.dialling.clone();
        }
        let dialling = dial(self.net.clone(), address.to_owned(), self.connect_timeout).boxed().shared();
        if channels.len() < CHANNELS_MAX {
            channels.insert(address.to_owned(), Entry { dialling: dialling.clone(), heard: None });
        }
        dialling
    }

    /// Drops `failed`, but not what another call has dialled since.
    fn forget_same(&self, address: &str, failed: &Dialling) {
        let mut channels = self.channels();
        if channels.get(address).is_some_and(|current| current.dialling.ptr_eq(failed)) {
            channels.remove(address);
        }
    }

    fn channels(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a connection to `host:port`. The only place where the client touches the network.
///
/// The time limit is inside the connector, so that a reconnection which takes too long is, for tonic too, a
/// connection that was not made.
async fn dial(net: Arc<dyn Net>, address: String, limit: Duration) -> Result<Connection, Error> {
    let (target, watched) = (address.clone(), net.clone());
    let connector = tower::service_fn(move |_: Uri| {
        let dialled = tokio::time::timeout(limit, net.dial(target.clone()));
        async move { dialled.await.unwrap_or_else(|_| Err(late(limit))).map(TokioIo::new) }
    });
    let endpoint = watched.kept_alive(endpoint(&address)?);
    match endpoint.connect_with_connector(connector).await {
        Ok(channel) => Ok(Connection { channel, pipeline: Arc::new(Pipeline::new(address)) }),
        Err(error) => {
            let why = root_cause(&error);
            Err(Error::Connection { endpoint: address, why, maybe_committed: false })
        }
    }
}

fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} ms", limit.as_millis()))
}

/// Checks that `address` has the form `host:port`.
pub(super) fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let invalid = || Error::Invalid(format!("{address:?} is not an endpoint of the form host:port"));
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    if host.is_empty() || port.parse::<u16>().is_err() || address.contains('/') {
        return Err(invalid());
    }
    Endpoint::from_shared(format!("http://{address}")).map_err(|_| invalid())
}
