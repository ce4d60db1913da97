//! The remote client: the same calls as a [`crate::node::Node`], over gRPC.
//!
//! It follows the leader, spreads reads over the members, repeats what is safe to repeat with backoff
//! and a budget, and keeps one deadline over all attempts. A level of consistency is never weakened:
//! whatever is repeated asks for the same. Writes carry a number of the client's exactly-once session,
//! and so may be repeated after any error: each is applied once. Without a session
//! (`ClientBuilder::sessions`), a write with unknown outcome is never repeated; its error has
//! `maybe_committed()`.
//!
//! ```no_run
//! # async fn example() -> Result<(), quorate::error::Error> {
//! use quorate::{client::Client, recipes::KvApi, types::{CallOptions, Put}};
//!
//! let client = Client::connect(["127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7403"])?;
//! let put = Put { key: "greeting".into(), value: "hello".into(), ..Put::default() };
//! let answer = client.put(put, CallOptions::default()).await?;
//! println!("written at revision {}", answer.header.revision);
//! # Ok(())
//! # }
//! ```
//!
//! A client is for one cluster, the one that its first answer came from: an answer of another is
//! `WrongCluster`.
//!
//! The code: `routing` says whom to ask, `retry` whether to ask again, `channel` connects, `alive` tells a
//! frozen member from a living one, `call` is the loop over attempts, `session` makes it safe, `pipeline`
//! lets many calls share a stream, `kv`, `scan`, `lease`, `watch` and `cluster` are the calls.

mod alive;
mod call;
mod channel;
mod cluster;
mod kv;
mod lease;
mod pipeline;
mod recipes;
mod retry;
mod routing;
mod scan;
mod session;
mod watch;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

#[cfg(feature = "cli")]
pub(crate) use self::retry::unreachable;
pub use self::scan::{ScanAnswer, ScanStream};
use self::{channel::Pool, pipeline::Crowd, retry::Budget, routing::View, session::Sessions, watch::Links};
use crate::{env::Env, error::Error};

/// Bytes of one answer that the client accepts: far more than any member's limits let it send.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Endpoints that a client can be given.
const ENDPOINTS_MAX: usize = 64;

/// A client of one cluster. Cheap to clone; all clones share connections, knowledge and retry budget.
///
/// Calls run inside a tokio runtime. Dropping a call's future cancels the call (one that shares a stream goes
/// on at the member until its deadline); a write may happen all the same.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    settings: ClientBuilder,
    pool: Pool,
    budget: Budget,
    sessions: Sessions,
    links: Links,
    crowd: Crowd,
    /// Never held across an await.
    view: Mutex<View>,
    /// When the members were last asked for.
    refreshed: Mutex<Instant>,
}

/// How a client behaves. `ClientBuilder::new(endpoints)` has the defaults.
#[derive(Clone)]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    timeout: Duration,
    connect_timeout: Duration,
    retry_budget: u32,
    sessions: bool,
    pipeline_above: usize,
    env: Env,
}

impl ClientBuilder {
    /// A client of the members at `endpoints` (`host:port` each). Other members are found through them.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> ClientBuilder {
        ClientBuilder {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            retry_budget: 50,
            sessions: true,
            pipeline_above: 32,
            env: Env::real(),
        }
    }

    /// How long a call without a deadline of its own may take, over all attempts. Default: 5 s.
    pub fn timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.timeout = timeout;
        self
    }

    /// How long one attempt to connect may take. Default: 1 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.connect_timeout = timeout;
        self
    }

    /// How many retries all calls together may have in stock; every fifth answered call adds one. 0: never
    /// retry. Default: 50.
    pub fn retry_budget(mut self, retries: u32) -> ClientBuilder {
        self.retry_budget = retries;
        self
    }

    /// Whether writes carry numbers of an exactly-once session, which the client opens with its first
    /// write, and so may be repeated after any error. Without, a write with unknown outcome is not
    /// repeated. Default: yes. A program that makes a single write saves two entries of the log without.
    pub fn sessions(mut self, sessions: bool) -> ClientBuilder {
        self.sessions = sessions;
        self
    }

    /// While so many calls of [`KvApi`](crate::recipes::KvApi) are under way, further ones share one stream
    /// for each connection (`Kv.Pipeline`), which costs both sides a fraction. What they promise, and how
    /// they fail, is the same, but one whose future is dropped goes on at the member until its deadline.
    /// Requests of more than 16 KiB, and those to a member of an earlier version, go as calls of their own.
    /// 0: all share; `usize::MAX`: none. Default: 32.
    pub fn pipeline_above(mut self, calls: usize) -> ClientBuilder {
        self.pipeline_above = calls;
        self
    }

    /// The world to dial in. Default: the real one.
    pub fn env(mut self, env: Env) -> ClientBuilder {
        self.env = env;
        self
    }

    /// The client. It connects when it is first used.
    ///
    /// # Errors `Invalid` if there is no endpoint, or one is not of the form `host:port`; `TooLarge` if
    /// there are more than 64.
    pub fn build(mut self) -> Result<Client, Error> {
        let mut unique = Vec::new();
        for endpoint in std::mem::take(&mut self.endpoints) {
            channel::endpoint(&endpoint)?;
            if !unique.contains(&endpoint) {
                unique.push(endpoint);
            }
        }
        if unique.is_empty() {
            return Err(Error::Invalid("no endpoints are given".into()));
        }
        if unique.len() > ENDPOINTS_MAX {
            let (limit, actual) = (ENDPOINTS_MAX as u64, unique.len() as u64);
            return Err(Error::TooLarge { what: "endpoints".into(), limit, actual });
        }
        let start = self.env.random() as usize % unique.len();
        let inner = Inner {
            pool: Pool::new(self.env.net(), self.connect_timeout),
            budget: Budget::new(self.retry_budget),
            sessions: Sessions::default(),
            links: Links::default(),
            crowd: Crowd::default(),
            view: Mutex::new(View::new(unique, start)),
            refreshed: Mutex::new(Instant::now()),
            settings: self,
        };
        Ok(Client { inner: Arc::new(inner) })
    }
}

impl Client {
    /// A client of the members at `endpoints` (`host:port` each) with the default settings. It connects
    /// when it is first used.
    ///
    /// # Errors
    /// As [`ClientBuilder::build`].
    pub fn connect<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Result<Client, Error> {
        ClientBuilder::new(endpoints).build()
    }

    /// The endpoints as they were given, without duplicates.
    pub fn endpoints(&self) -> Vec<String> {
        self.view().addresses().map(str::to_owned).collect()
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.inner.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("view", &*self.view()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
