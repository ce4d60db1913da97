//! A member that hears no keep-alives: as a client behind a broken link, or one that is too slow.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use quorate::{
    Error, Node,
    env::Env,
    recipes::{Api, KvApi, LeaseApi, WatchApi, WatchStream},
    types::{
        CallOptions, Consistency, Delete, DeleteResult, Grant, Granted, KeptAlive, KeyValue, LeaseId,
        LeaseInfo, LeaseList, Put, Range, RangeAnswer, Revision, Revoked, Txn, TxnResult, Watch, WriteAnswer,
    },
};

/// The member, and whether it is deaf to keep-alives and revocations at the moment.
#[derive(Clone)]
pub struct Deaf {
    node: Node,
    deaf: Arc<AtomicBool>,
}

impl Deaf {
    pub fn new(node: &Node) -> Deaf {
        Deaf { node: node.clone(), deaf: Arc::new(AtomicBool::new(false)) }
    }

    pub fn set(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    async fn hears(&self) {
        if self.deaf.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
    }
}

impl KvApi for Deaf {
    async fn range(&self, range: Range, level: Consistency, how: CallOptions) -> Result<RangeAnswer, Error> {
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

impl LeaseApi for Deaf {
    async fn grant(&self, grant: Grant, how: CallOptions) -> Result<WriteAnswer<Granted>, Error> {
        self.node.grant(grant, how).await
    }

    async fn revoke(&self, lease: LeaseId, how: CallOptions) -> Result<WriteAnswer<Revoked>, Error> {
        self.hears().await;
        self.node.revoke(lease, how).await
    }

    async fn keep_alive(&self, lease: LeaseId, how: CallOptions) -> Result<KeptAlive, Error> {
        self.hears().await;
        self.node.keep_alive(lease, how).await
    }

    async fn time_to_live(&self, lease: LeaseId, keys: bool, how: CallOptions) -> Result<LeaseInfo, Error> {
        self.node.time_to_live(lease, keys, how).await
    }

    async fn leases(&self, after: LeaseId, limit: u64, how: CallOptions) -> Result<LeaseList, Error> {
        self.node.leases(after, limit, how).await
    }
}

impl WatchApi for Deaf {
    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        self.node.watch(watch).await
    }
}

impl Api for Deaf {
    fn env(&self) -> &Env {
        self.node.env()
    }

    fn lock_permits_max(&self) -> u32 {
        self.node.lock_permits_max()
    }
}
