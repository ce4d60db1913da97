//! What both a node and a client can do, and what is made of it: locks and elections, written once.
//!
//! Map: `queue` (who is before whom, and who holds: pure) · `lock` (a place in the queue, from asking to
//! grant; release; inspect) · `election` (the same with a value; who leads, and its changes) · `keeper` (a
//! lease kept alive, and the moment from which it must not be trusted) · `guard` (what a holder has in hand;
//! writes that are refused once the lock is lost).
//!
//! Nothing here is needed for safety: a lock is keys, leases and guards of the store, which any client could
//! use by itself. Deliberately absent: locks without a lease, and any trust in another machine's clock.

pub mod election;
mod guard;
mod keeper;
pub mod lock;
mod queue;

use std::{future::Future, pin::Pin};

use futures::Stream;

pub use self::guard::{Guarded, Leadership, LockGuard, LockOptions, Recipes};
pub use self::keeper::KeptLease;
use crate::{
    env::Env,
    error::Error,
    types::{
        CallOptions, Consistency, Delete, DeleteResult, Grant, Granted, KeptAlive, KeyValue, LeaseId,
        LeaseInfo, LeaseList, Put, Range, RangeAnswer, Revision, Revoked, Txn, TxnResult, Watch, WatchUpdate,
        WriteAnswer,
    },
};

/// The store, as an embedded [`crate::Node`] and a remote client both offer it.
pub trait KvApi: Send + Sync {
    /// Reads keys with the consistency asked for, or fails; never weakens it silently.
    fn range(
        &self,
        range: Range,
        consistency: Consistency,
        options: CallOptions,
    ) -> impl Future<Output = Result<RangeAnswer, Error>> + Send;

    /// Sets a key. Result: the pair that was replaced, if asked for.
    fn put(
        &self,
        put: Put,
        options: CallOptions,
    ) -> impl Future<Output = Result<WriteAnswer<Option<KeyValue>>, Error>> + Send;

    /// Deletes keys.
    fn delete(
        &self,
        delete: Delete,
        options: CallOptions,
    ) -> impl Future<Output = Result<WriteAnswer<DeleteResult>, Error>> + Send;

    /// Compares, then one of two lists of operations, as one revision.
    fn txn(
        &self,
        txn: Txn,
        options: CallOptions,
    ) -> impl Future<Output = Result<WriteAnswer<TxnResult>, Error>> + Send;

    /// Forgets what was superseded at or below `revision`.
    fn compact(
        &self,
        revision: Revision,
        options: CallOptions,
    ) -> impl Future<Output = Result<WriteAnswer<()>, Error>> + Send;
}

/// Leases, as a node and a client both offer them.
pub trait LeaseApi: Send + Sync {
    /// Grants a lease.
    ///
    /// # Errors
    /// `LeaseExists` for a chosen id that is taken; `Overloaded` when there are too many.
    fn grant(
        &self,
        grant: Grant,
        options: CallOptions,
    ) -> impl Future<Output = Result<WriteAnswer<Granted>, Error>> + Send;

    /// Ends a lease; its keys go in one revision.
    ///
    /// # Errors
    /// `LeaseNotFound`.
    fn revoke(
        &self,
        lease: LeaseId,
        options: CallOptions,
    ) -> impl Future<Output = Result<WriteAnswer<Revoked>, Error>> + Send;

    /// Renews a lease: it lives at least its time to live from the moment of the call.
    ///
    /// # Errors
    /// `LeaseNotFound`: it has ended.
    fn keep_alive(
        &self,
        lease: LeaseId,
        options: CallOptions,
    ) -> impl Future<Output = Result<KeptAlive, Error>> + Send;

    /// A lease as it is now; with `keys` also which are attached.
    ///
    /// # Errors
    /// `LeaseNotFound`.
    fn time_to_live(
        &self,
        lease: LeaseId,
        keys: bool,
        options: CallOptions,
    ) -> impl Future<Output = Result<LeaseInfo, Error>> + Send;

    /// Leases with ids above `after`, at most `limit` (0: as many as one answer may hold); whether there are
    /// more.
    fn leases(
        &self,
        after: LeaseId,
        limit: u64,
        options: CallOptions,
    ) -> impl Future<Output = Result<LeaseList, Error>> + Send;
}

/// What a watch tells, until its end. An error is its last item.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchUpdate, Error>> + Send>>;

/// Watches, as a node and a client both offer them.
pub trait WatchApi: Send + Sync {
    /// Watches keys. The first update is `Created`. A client resumes by itself on another member when one is
    /// lost, without a gap and without telling anything twice.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge`; of a node also `Overloaded`, `NotReady`, `ShuttingDown`. In the stream:
    /// `Compacted` where what is to be told next is gone; of a node its end; of a client what it cannot get
    /// over: a beginning that takes longer than its timeout, or a member that has too many watches.
    fn watch(&self, watch: Watch) -> impl Future<Output = Result<WatchStream, Error>> + Send;
}

/// All that recipes need.
pub trait Api: KvApi + LeaseApi + WatchApi + Clone + 'static {
    /// The world that this side lives in. A holder of a lock trusts its clock, which counts the time during
    /// which the machine was suspended.
    fn env(&self) -> &Env;

    /// How many may hold one lock at once (`limits.lock_permits_max`), as far as this side knows.
    fn lock_permits_max(&self) -> u32;

    /// Whether it can turn to other members when one ends. A node is that member, and ends with it.
    fn outlives_members(&self) -> bool;
}
