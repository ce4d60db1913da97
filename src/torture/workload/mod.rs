//! What clients do: parts, each about something that people rely on, and each with actors of its own.
//!
//! Values are unique and keys do not live for long, since that is what keeps a history cheap to check. Each
//! part of each run has a prefix of its own, and nobody else writes below it.

mod actor;
mod election;
mod keys;
mod leases;
mod lists;
mod locks;
mod registers;
mod watches;

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture};
use rand::{SeedableRng, rngs::SmallRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::actor::{Actor, Means};
pub use self::{actor::options, locks::number_in};
use super::recorder::Recorder;
use crate::{
    check::history::{Text, text},
    client::{Client, ClientBuilder},
    error::Error,
    types::{KeyRange, Level, NodeId, Scan},
};

/// A part of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Writes, deletes, and reads at every level.
    Register,
    /// Compare and set, after a read.
    Cas,
    /// Transactions over several keys, and reads of all of them at once.
    Txn,
    /// Lists that grow at their end, in transactions (Elle).
    Append,
    /// Keys that are added once, and reads of all of them.
    Set,
    /// Writes that are repeated after any error, and must count once.
    Counter,
    /// A counter under a lock whose holders sometimes sleep too long: guarded, and not.
    Lock,
    /// Leases that are kept alive for a while, and their keys.
    Lease,
    /// Watches of what all the others do.
    Watch,
    /// Leaders of an election.
    Election,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 10] = [
        Part::Register,
        Part::Cas,
        Part::Txn,
        Part::Append,
        Part::Set,
        Part::Counter,
        Part::Lock,
        Part::Lease,
        Part::Watch,
        Part::Election,
    ];

    /// The name on the command line, in histories, and, with a `/` behind it, the prefix of its keys.
    pub fn name(self) -> &'static str {
        match self {
            Part::Register => "register",
            Part::Cas => "cas",
            Part::Txn => "txn",
            Part::Append => "append",
            Part::Set => "set",
            Part::Counter => "counter",
            Part::Lock => "lock",
            Part::Lease => "lease",
            Part::Watch => "watch",
            Part::Election => "election",
        }
    }

    fn crew(self, crew: &mut Crew) {
        match self {
            Part::Register => registers::crew(crew),
            Part::Cas => keys::cas(crew),
            Part::Txn => keys::txn(crew),
            Part::Append => lists::crew(crew),
            Part::Set => keys::set(crew),
            Part::Counter => keys::counter(crew),
            Part::Lock => locks::crew(crew),
            Part::Lease => leases::crew(crew),
            Part::Watch => watches::crew(crew),
            Part::Election => election::crew(crew),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        let found = Part::ALL.into_iter().find(|part| part.name() == text);
        found.ok_or_else(|| format!("{text:?} is no workload: all, {}", Part::ALL.map(Part::name).join(", ")))
    }
}

/// The levels that readers ask for, each with readers of its own.
const LEVELS: [Level; 8] = [
    Level::Linearizable,
    Level::Log,
    Level::Lease,
    Level::LeaseOrIndex,
    Level::LeaderLocal,
    Level::Bounded { max_age: Duration::from_millis(300) },
    Level::Session { min_revision: 0 },
    Level::Eventual,
];

/// How a workload is run.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Which parts.
    pub parts: Vec<Part>,
    /// Operations per second that are aimed at, all actors together.
    pub rate: u32,
    /// What random choices are drawn from.
    pub seed: u64,
    /// Where clients dial.
    pub endpoints: Vec<String>,
    /// The members.
    pub nodes: Vec<NodeId>,
    /// Names this run in every key.
    pub tag: String,
}

type Role = Box<dyn FnOnce(Actor) -> BoxFuture<'static, ()> + Send>;

/// The actors of a run, before it begins.
struct Crew {
    nodes: Vec<NodeId>,
    roles: Vec<(&'static str, bool, Role)>,
    part: &'static str,
}

impl Crew {
    /// Adds an actor whose writes are repeated after any error, and count once.
    fn add<F>(&mut self, role: impl FnOnce(Actor) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.roles.push((self.part, true, Box::new(|actor| Box::pin(role(actor)))));
    }

    /// Adds an actor whose writes are not repeated, and whose outcome is unknown more often.
    fn add_without_session<F>(&mut self, role: impl FnOnce(Actor) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.roles.push((self.part, false, Box::new(|actor| Box::pin(role(actor)))));
    }
}

impl Workload {
    /// Starts all actors. They end when `stop` is cancelled, within the time that an operation may take.
    ///
    /// # Errors
    /// If an endpoint makes no sense.
    pub fn start(&self, recorder: &Arc<Recorder>, stop: &CancellationToken) -> Result<JoinSet<()>, Error> {
        let mut crew = Crew { nodes: self.nodes.clone(), roles: Vec::new(), part: "" };
        for part in &self.parts {
            crew.part = part.name();
            part.crew(&mut crew);
        }
        let pace = Duration::from_secs_f64(crew.roles.len() as f64 / f64::from(self.rate.max(1)));
        let mut tasks = JoinSet::new();
        for (number, (part, sessions, role)) in crew.roles.into_iter().enumerate() {
            let means = Means {
                client: self.client(sessions)?,
                recorder: recorder.clone(),
                rng: SmallRng::seed_from_u64(self.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                pace,
                stop: stop.clone(),
                tag: self.tag.clone(),
            };
            tasks.spawn(role(Actor::new(part, means)));
        }
        Ok(tasks)
    }

    /// Reads everything once more, by whoever answers.
    ///
    /// # Errors
    /// If not everything can be read.
    pub async fn last_reads(&self, recorder: &Arc<Recorder>) -> Result<(), Error> {
        let means = Means {
            client: self.client(false)?,
            recorder: recorder.clone(),
            rng: SmallRng::seed_from_u64(self.seed),
            pace: Duration::ZERO,
            stop: CancellationToken::new(),
            tag: self.tag.clone(),
        };
        let mut prefixes = BTreeSet::new();
        for part in &self.parts {
            let keys = KeyRange::prefix(format!("{part}/{}/", self.tag));
            let scan = Scan { keys, revision: 0, keys_only: true };
            let mut chunks = means.client.scan(scan, Level::Linearizable.into(), options()).await?.chunks;
            while let Some(pairs) = chunks.next().await {
                let keys = pairs?.into_iter().map(|kv| text(&kv.key));
                prefixes.extend(keys.filter_map(|key| Some(Text::from(&key[..=key.rfind('/')?]))));
            }
        }
        let mut actor = Actor::new("last", means);
        for prefix in prefixes {
            actor.range_surely(&prefix).await?;
        }
        Ok(())
    }

    fn client(&self, sessions: bool) -> Result<Client, Error> {
        ClientBuilder::new(self.endpoints.clone()).sessions(sessions).retry_budget(20).build()
    }
}
