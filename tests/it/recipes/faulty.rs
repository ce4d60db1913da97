//! A store that is a node, and behaves at times as a remote one does: a grant whose answer is late, members
//! that end, members that have too many watches.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::stream;
use quorate::{
    Error, Node,
    env::Env,
    recipes::{Api, KvApi, LeaseApi, WatchApi, WatchStream},
    types::{
        CallOptions, Consistency, Delete, DeleteResult, Grant, Granted, KeptAlive, KeyValue, LeaseId,
        LeaseInfo, LeaseList, Put, Range, RangeAnswer, Revision, Revoked, Txn, TxnResult, Watch, WriteAnswer,
    },
};

/// When a member that has too many watches wants to be asked again.
pub const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What is wrong at the moment.
#[derive(Default)]
struct Faults {
    grants_late: Mutex<Duration>,
    ends: AtomicBool,
    is_full: AtomicBool,
    refused: AtomicUsize,
}

/// A node with faults.
#[derive(Clone)]
pub struct Faulty {
    node: Node,
    faults: Arc<Faults>,
}

impl Faulty {
    pub fn new(node: &Node) -> Faulty {
        Faulty { node: node.clone(), faults: Arc::default() }
    }

    /// How long after it was done a grant is answered.
    pub fn grants_late(&self, by: Duration) {
        *self.faults.grants_late.lock().expect("no panic") = by;
    }

    /// Whether whoever is asked to read is about to end.
    pub fn ends(&self, ends: bool) {
        self.faults.ends.store(ends, Ordering::SeqCst);
    }

    /// Whether no more watches are taken.
    pub fn is_full(&self, is_full: bool) {
        self.faults.is_full.store(is_full, Ordering::SeqCst);
    }

    /// Reads and watches that were refused.
    pub fn refused(&self) -> usize {
        self.faults.refused.load(Ordering::SeqCst)
    }

    fn refuses(&self, fault: &AtomicBool) -> bool {
        let refuses = fault.load(Ordering::SeqCst);
        self.faults.refused.fetch_add(usize::from(refuses), Ordering::SeqCst);
        refuses
    }
}

impl KvApi for Faulty {
    async fn range(&self, range: Range, level: Consistency, how: CallOptions) -> Result<RangeAnswer, Error> {
        if self.refuses(&self.faults.ends) {
            return Err(Error::ShuttingDown);
        }
        self.node.range(range, level, how).await
    }

    async fn put(&self, put: Put, how: CallOptions) -> Result<WriteAnswer<Option<KeyValue>>, Error> {
        self.node.put(put, how).await
    }

    async fn delete(&self, delete: Delete, how: CallOptions) -> Result<WriteAnswer<DeleteResult>, Error> {
        self.node.delete(delete, how).await
    }

    async fn txn(&self, txn: Txn, how: CallOptions) -> Result<WriteAnswer<TxnResult>, Error> {
        self.node.txn(txn, how).await
    }

    async fn compact(&self, revision: Revision, how: CallOptions) -> Result<WriteAnswer<()>, Error> {
        self.node.compact(revision, how).await
    }
}

impl LeaseApi for Faulty {
    async fn grant(&self, grant: Grant, how: CallOptions) -> Result<WriteAnswer<Granted>, Error> {
        let granted = self.node.grant(grant, how).await;
        let late = *self.faults.grants_late.lock().expect("no panic");
        tokio::time::sleep(late).await;
        granted
    }

    async fn revoke(&self, lease: LeaseId, how: CallOptions) -> Result<WriteAnswer<Revoked>, Error> {
        self.node.revoke(lease, how).await
    }

    async fn keep_alive(&self, lease: LeaseId, how: CallOptions) -> Result<KeptAlive, Error> {
        self.node.keep_alive(lease, how).await
    }

    async fn time_to_live(&self, lease: LeaseId, keys: bool, how: CallOptions) -> Result<LeaseInfo, Error> {
        self.node.time_to_live(lease, keys, how).await
    }

    async fn leases(&self, after: LeaseId, limit: u64, how: CallOptions) -> Result<LeaseList, Error> {
        self.node.leases(after, limit, how).await
    }
}

impl WatchApi for Faulty {
    /// As a remote member refuses one: in the stream.
    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        if self.refuses(&self.faults.is_full) {
            let what = "limits.watches_max".to_owned();
            let full = Error::Overloaded { what, limit: 1, retry_after: RETRY_AFTER };
            return Ok(Box::pin(stream::iter([Err(full)])));
        }
        self.node.watch(watch).await
    }
}

impl Api for Faulty {
    fn env(&self) -> &Env {
        self.node.env()
    }

    fn lock_permits_max(&self) -> u32 {
        self.node.lock_permits_max()
    }

    /// As a client.
    fn outlives_members(&self) -> bool {
        true
    }
}
