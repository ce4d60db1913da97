//! A load of unique puts, and the question afterwards: is everything that was acknowledged still there, on
//! every member?
//!
//! No key is ever written twice, so that an unknown outcome needs no judgement: such a key may be there or
//! not.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quorate::{
    client::Client,
    recipes::KvApi,
    types::{CallOptions, Level, Put},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{SOON, cluster::Cluster, eventually};

/// How long one put may take.
const PUT_TIMEOUT: Duration = Duration::from_secs(2);

/// What was acknowledged. Survives the load, and may be added to by the next one.
#[derive(Clone, Default)]
pub struct Acknowledged(Arc<Mutex<BTreeSet<String>>>);

impl Acknowledged {
    /// How many keys.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Notes a key.
    pub fn add(&self, key: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    /// Waits until `more` further keys are acknowledged.
    pub async fn grows_by(&self, more: usize, limit: Duration) {
        let before = self.count();
        eventually("writes go on", limit, async || {
            let now = self.count();
            if now >= before + more { Ok(()) } else { Err(format!("{now} acknowledged, {before} before")) }
        })
        .await;
    }

    /// Checks that every acknowledged key that begins with `prefix` is on every member, by what the member
    /// itself has applied, and that all members have the same hash. All members must run.
    pub async fn verify(&self, cluster: &Cluster, prefix: &str) {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let keys: BTreeSet<_> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
        let revision = settled_revision(cluster).await;
        let mut hashes = BTreeSet::new();
        for id in cluster.ids() {
            let node = cluster.node(id).within(SOON);
            let found = node.keys(prefix).await.expect("an eventual read");
            let missing: Vec<_> = keys.difference(&found).take(5).collect();
            let lost = keys.difference(&found).count();
            assert_eq!(lost, 0, "member {id} has lost {lost} of {} writes: {missing:?} …", keys.len());
            hashes.insert(node.hash(revision).await.expect("the hash of a member's state"));
        }
        assert_eq!(hashes.len(), 1, "the members differ at revision {revision}: {hashes:?}");
    }
}

/// The newest revision, once every member has applied it.
async fn settled_revision(cluster: &Cluster) -> u64 {
    let first = cluster.node(1);
    let answer = eventually("a linearizable read", SOON, async || {
        first.get("ready-probe", Level::Linearizable).await.map_err(|error| error.to_string())
    })
    .await;
    let revision = answer.header.revision;
    for id in cluster.ids() {
        let node = cluster.node(id);
        eventually(&format!("member {id} has caught up"), SOON, async || {
            let session = Level::Session { min_revision: revision };
            node.get("ready-probe", session).await.map_err(|error| error.to_string())
        })
        .await;
    }
    revision
}

/// Writers at work.
pub struct Load {
    stop: CancellationToken,
    writers: JoinSet<()>,
}

/// Who writes what.
#[derive(Clone)]
pub struct Workload {
    /// Keys begin with it.
    pub prefix: String,
    /// How many write at a time.
    pub writers: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
}

impl Workload {
    /// Eight writers of small values.
    pub fn small(prefix: &str) -> Workload {
        Workload { prefix: prefix.to_owned(), writers: 8, value_bytes: 64 }
    }
}

impl Load {
    /// Starts the writers.
    pub fn start(cluster: &Cluster, workload: Workload, acknowledged: Acknowledged) -> Load {
        let client = connect(cluster);
        let stop = CancellationToken::new();
        let mut writers = JoinSet::new();
        for writer in 0..workload.writers {
            let (client, workload) = (client.clone(), workload.clone());
            let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
            writers.spawn(async move {
                let work = write(client, workload, writer, acknowledged);
                stop.run_until_cancelled(work).await;
            });
        }
        Load { stop, writers }
    }

    /// Ends the writers; what they have under way is not counted.
    pub async fn finish(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.writers.join_next().await {
            ended.expect("a writer does not panic");
        }
    }
}

/// Writes one key after the other, for ever.
async fn write(client: Client, workload: Workload, writer: usize, acknowledged: Acknowledged) {
    let value = bytes::Bytes::from(vec![b'v'; workload.value_bytes]);
    for number in 0u64.. {
        let key = format!("{}{writer}/{number:08}", workload.prefix);
        let put = Put { key: key.clone().into(), value: value.clone(), ..Put::default() };
        let options = CallOptions { timeout: Some(PUT_TIMEOUT), ..CallOptions::default() };
        match client.put(put, options).await {
            Ok(_) => acknowledged.add(key),
            // Refused, or unknown: never the same key again, and no storm of attempts.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The library's client, told of all members.
pub fn connect(cluster: &Cluster) -> Client {
    Client::connect(cluster.endpoints()).expect("well-formed endpoints")
}
