//! A store to which keep-alives do not come through at times: as from a client that is stopped, or behind a
//! broken link.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use quorate::{
    Error,
    env::Env,
    recipes::{Api, KvApi, LeaseApi, WatchApi, WatchStream},
    types::{
        CallOptions, Consistency, Delete, DeleteResult, Grant, Granted, KeptAlive, KeyValue, LeaseId,
        LeaseInfo, LeaseList, Put, Range, RangeAnswer, Revision, Revoked, Txn, TxnResult, Watch, WriteAnswer,
    },
};

/// A node or a client, and whether keep-alives and revocations are held up at the moment.
#[derive(Clone)]
pub struct Deaf<A> {
    api: A,
    deaf: Arc<AtomicBool>,
}

impl<A: Api> Deaf<A> {
    pub fn new(api: &A) -> Deaf<A> {
        Deaf { api: api.clone(), deaf: Arc::new(AtomicBool::new(false)) }
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

impl<A: Api> KvApi for Deaf<A> {
    async fn range(&self, range: Range, level: Consistency, how: CallOptions) -> Result<RangeAnswer, Error> {
        self.api.range(range, level, how).await
    }

    async fn put(&self, put: Put, how: CallOptions) -> Result<WriteAnswer<Option<KeyValue>>, Error> {
        self.api.put(put, how).await
    }

    async fn delete(&self, delete: Delete, how: CallOptions) -> Result<WriteAnswer<DeleteResult>, Error> {
        self.api.delete(delete, how).await
    }

    async fn txn(&self, txn: Txn, how: CallOptions) -> Result<WriteAnswer<TxnResult>, Error> {
        self.api.txn(txn, how).await
    }

    async fn compact(&self, revision: Revision, how: CallOptions) -> Result<WriteAnswer<()>, Error> {
        self.api.compact(revision, how).await
    }
}

impl<A: Api> LeaseApi for Deaf<A> {
    async fn grant(&self, grant: Grant, how: CallOptions) -> Result<WriteAnswer<Granted>, Error> {
        self.api.grant(grant, how).await
    }

    async fn revoke(&self, lease: LeaseId, how: CallOptions) -> Result<WriteAnswer<Revoked>, Error> {
        self.hears().await;
        self.api.revoke(lease, how).await
    }

    async fn keep_alive(&self, lease: LeaseId, how: CallOptions) -> Result<KeptAlive, Error> {
        self.hears().await;
        self.api.keep_alive(lease, how).await
    }

    async fn time_to_live(&self, lease: LeaseId, keys: bool, how: CallOptions) -> Result<LeaseInfo, Error> {
        self.api.time_to_live(lease, keys, how).await
    }

    async fn leases(&self, after: LeaseId, limit: u64, how: CallOptions) -> Result<LeaseList, Error> {
        self.api.leases(after, limit, how).await
    }
}

impl<A: Api> WatchApi for Deaf<A> {
    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        self.api.watch(watch).await
    }
}

impl<A: Api> Api for Deaf<A> {
    fn env(&self) -> &Env {
        self.api.env()
    }

    fn lock_permits_max(&self) -> u32 {
        self.api.lock_permits_max()
    }

    fn outlives_members(&self) -> bool {
        self.api.outlives_members()
    }
}
