//! openraft's own storage suite, on every log store, over a state machine that is as small as the suite
//! allows.

use std::{io, sync::Arc};

use futures::{Stream, TryStreamExt};
use openraft::{
    OptionalSend, StorageError,
    entry::RaftEntry,
    storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine},
    testing::log::{StoreBuilder, Suite},
};
use quorate::raft::{
    log_store::LogStore,
    types::{EntryPayload, LogId, Response, Snapshot, SnapshotMeta, StoredMembership, TypeConfig},
};
use tokio::sync::Mutex;

use crate::log_contract::Store;

/// Knows what it applied, and nothing else.
#[derive(Clone, Debug, Default)]
struct Applied {
    last: Option<LogId>,
    membership: StoredMembership,
}

#[derive(Clone, Default)]
pub struct Machine {
    applied: Arc<Mutex<Applied>>,
    snapshot: Arc<Mutex<Option<SnapshotMeta>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<()>> {
        let Applied { last, membership } = self.applied.lock().await.clone();
        let meta = SnapshotMeta { last_log_id: last, last_membership: membership };
        *self.snapshot.lock().await = Some(meta.clone());
        Ok(Snapshot::<()> { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let Applied { last, membership } = self.applied.lock().await.clone();
        Ok((last, membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut applied = self.applied.lock().await;
            applied.last = Some(entry.log_id());
            if let EntryPayload::Membership(membership) = entry.payload {
                applied.membership = StoredMembership::new(applied.last, membership);
            }
            if let Some(responder) = responder {
                responder.send(Response::Internal);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Machine> {
        Some(self.clone())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _snapshot: ()) -> io::Result<()> {
        let applied = Applied { last: meta.last_log_id, membership: meta.last_membership.clone() };
        *self.applied.lock().await = applied;
        *self.snapshot.lock().await = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<()>>> {
        Ok(self.snapshot.lock().await.clone().map(|meta| Snapshot::<()> { meta, snapshot: () }))
    }
}

/// Builds a fresh store for each of the suite's tests.
struct Builder {
    /// Which of [`Store::all`].
    nth: usize,
    cache_bytes: usize,
}

impl StoreBuilder<TypeConfig, LogStore, Machine, Store> for Builder {
    async fn build(&self) -> Result<(Store, LogStore, Machine), StorageError<TypeConfig>> {
        let store = Store::all().remove(self.nth);
        let log = LogStore::new(store.open(), self.cache_bytes);
        Ok((store, log, Machine::default()))
    }
}

/// The suite sleeps much: both runs at once. One reads from the cache, the other (but for the last entry)
/// from the log.
fn run(nth: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let suite = |cache_bytes| Suite::test_all(Builder { nth, cache_bytes });
    let (cached, uncached) = runtime.block_on(async { tokio::join!(suite(1 << 20), suite(0)) });
    cached.unwrap();
    uncached.unwrap();
}

#[test]
fn wal_passes() {
    run(0);
}

#[test]
fn sled_passes() {
    run(1);
}

#[test]
fn memory_passes() {
    run(2);
}
