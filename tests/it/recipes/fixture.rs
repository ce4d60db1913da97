//! Three members in this process, and leases on them.

use std::{collections::BTreeMap, time::Duration};

use quorate::{
    Config, Error, Node,
    config::{LogStoreKind, MemberAddr},
    recipes::{
        KvApi, LeaseApi,
        lock::{self, Acquiring},
    },
    types::{
        Acquire, CallOptions, Grant, Held, KeyRange, KeyValue, LeaseId, Level, LockMode, LockProgress, Range,
    },
};
use tempfile::TempDir;

use crate::support::{SOON, ports};

/// A lease that no test outlives.
pub const LONG: Duration = Duration::from_secs(600);

/// A cluster.
pub struct Nodes {
    nodes: Vec<Node>,
    _dir: TempDir,
}

impl Nodes {
    /// Three members, ready, with logs in memory.
    pub async fn three() -> Nodes {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let addr = |id| (id, MemberAddr { peer: ports::free_addr(), client: String::new() });
        let members: BTreeMap<_, _> = (1..=3).map(addr).collect();
        let config = |id: u64| Config {
            id,
            data_dir: dir.path().join(id.to_string()),
            members: members.clone(),
            log_store: LogStoreKind::Memory,
            ..Config::default()
        };
        let starting = (1..=3).map(|id| Node::start(config(id)));
        let nodes = futures::future::try_join_all(starting).await.expect("the cluster is founded");
        for node in &nodes {
            let mut ready = node.readiness();
            let ready = tokio::time::timeout(SOON, ready.wait_for(|ready| *ready)).await;
            ready.expect("ready in time").expect("it runs");
        }
        Nodes { nodes, _dir: dir }
    }

    /// One of them.
    pub fn node(&self, which: usize) -> &Node {
        &self.nodes[which % self.nodes.len()]
    }

    /// A lease.
    pub async fn lease(&self, ttl: Duration) -> LeaseId {
        let grant = Grant { id: 0, ttl, session: false };
        self.node(0).grant(grant, CallOptions::default()).await.expect("a lease").result.id
    }

    /// Ends a lease.
    pub async fn revoke(&self, lease: LeaseId) {
        self.node(1).revoke(lease, CallOptions::default()).await.expect("it is there");
    }

    /// Somebody with a lease of their own who has asked for a lock, and where they stand.
    pub async fn ask(&self, which: usize, name: &str, mode: LockMode) -> Asker {
        let session = self.lease(LONG).await;
        self.ask_as(which, session, acquire_of(name, session, mode)).await.expect("a place")
    }

    /// The same with another request.
    pub async fn ask_as(&self, which: usize, session: LeaseId, asked: Acquire) -> Result<Asker, Error> {
        let mut acquiring = lock::acquire(self.node(which), asked, CallOptions::default()).await?;
        let first = acquiring.next().await?;
        Ok(Asker { session, acquiring, first })
    }

    /// What is stored under a prefix.
    pub async fn pairs(&self, prefix: &str) -> Vec<KeyValue> {
        let range = Range::new(KeyRange::prefix(prefix.to_owned()));
        let answer = self.node(2).range(range, Level::Linearizable.into(), CallOptions::default()).await;
        answer.expect("a read").result.kvs
    }

    /// Gives a lock back.
    pub async fn release(&self, held: &Held) -> Result<(), Error> {
        lock::release(self.node(1), held.guard(), CallOptions::default()).await.map(drop)
    }
}

pub fn acquire_of(name: &str, session: LeaseId, mode: LockMode) -> Acquire {
    Acquire { name: name.to_owned().into(), session, mode, value: "".into() }
}

/// Somebody who wants a lock.
pub struct Asker {
    pub session: LeaseId,
    pub acquiring: Acquiring<Node>,
    /// What was said first.
    pub first: LockProgress,
}

impl Asker {
    /// How many are before it.
    pub fn position(&self) -> u64 {
        match self.first {
            LockProgress::Queued { position, .. } => position,
            LockProgress::Granted(_) => panic!("it was granted at once"),
        }
    }

    /// The grant, which must have come at once.
    pub fn held(&self) -> Held {
        match &self.first {
            LockProgress::Granted(held) => held.clone(),
            LockProgress::Queued { position, .. } => panic!("it waits behind {position}"),
        }
    }

    /// The grant, which must come soon.
    pub async fn granted(mut self) -> Held {
        let granted = async {
            loop {
                if let LockProgress::Granted(held) = self.acquiring.next().await.expect("a grant") {
                    return held;
                }
            }
        };
        tokio::time::timeout(SOON, granted).await.expect("granted in time")
    }

    /// Whether it still waits after a while.
    pub async fn still_waits(&mut self) -> bool {
        let next = self.acquiring.next();
        matches!(
            tokio::time::timeout(Duration::from_millis(200), next).await,
            Err(_) | Ok(Ok(LockProgress::Queued { .. }))
        )
    }

    /// Why it is told to stop waiting.
    pub async fn refused(mut self) -> Error {
        loop {
            match tokio::time::timeout(SOON, self.acquiring.next()).await.expect("told in time") {
                Ok(LockProgress::Queued { .. }) => {}
                Ok(LockProgress::Granted(held)) => panic!("granted: {held:?}"),
                Err(error) => return error,
            }
        }
    }
}
