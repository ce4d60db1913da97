//! What the holder of a lock, or the leader of an election, has in hand; and writes that carry it.

use std::{
    future::{Future, pending},
    time::Duration,
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    Api, KvApi, LeaseApi, WatchApi, WatchStream,
    election::{self, LeaderStream},
    keeper::KeptLease,
    lock::{self, Acquiring},
};
use crate::{
    env::Env,
    error::Error,
    types::{
        Acquire, CallOptions, Consistency, Delete, DeleteResult, ElectionLeader, Grant, Granted, Guard, Held,
        KeptAlive, KeyValue, LeaseId, LeaseInfo, LeaseList, LockMode, LockProgress, LockState, Put, Range,
        RangeAnswer, Revision, Revoked, Txn, TxnResult, Watch, WriteAnswer,
    },
};

/// How a lock is to be taken, or an election stood for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOptions {
    /// The lock, or the election: any bytes but none.
    pub name: Bytes,
    /// How many hold it at once. Of an election: exclusive, whatever is said here.
    pub mode: LockMode,
    /// How long it outlives its holder: the time to live of its lease. Default: 10 s.
    pub ttl: Duration,
    /// How long to wait for it; `None`: for ever.
    pub wait: Option<Duration>,
    /// Told to whoever inspects the lock; of an election, what is told of the leader.
    pub value: Bytes,
}

impl LockOptions {
    /// An exclusive lock with a lease of 10 s, waited for without end.
    pub fn new(name: impl Into<Bytes>) -> LockOptions {
        LockOptions {
            name: name.into(),
            mode: LockMode::Exclusive,
            ttl: Duration::from_secs(10),
            wait: None,
            value: Bytes::new(),
        }
    }
}

/// Locks and elections, for everything that has keys, leases and watches.
pub trait Recipes: Api {
    /// Takes a lock, on a lease of its own that is kept alive. Dropping the future gives the place in
    /// the queue up.
    ///
    /// # Errors
    /// `Deadline` if `wait` was not enough; as [`lock::acquire`], and those of a lease's grant.
    fn lock(&self, options: LockOptions) -> impl Future<Output = Result<LockGuard<Self>, Error>> + Send {
        self.lock_until(options, pending(), |_| {})
    }

    /// Takes a lock, unless `stop` resolves first, and tells where it stands in the queue: see
    /// [`Acquiring::next`]. Returns without the lock when its place is gone, or the cluster does not answer.
    ///
    /// # Errors
    /// `Deadline` also when it was stopped; as [`Recipes::lock`].
    fn lock_until(
        &self,
        options: LockOptions,
        stop: impl Future<Output = ()> + Send,
        mut tell: impl FnMut(&LockProgress) + Send,
    ) -> impl Future<Output = Result<LockGuard<Self>, Error>> + Send {
        async move {
            let lease = KeptLease::grant(self, options.ttl, CallOptions::default()).await?;
            let LockOptions { name, mode, value, wait, .. } = options;
            let acquire = Acquire { name, session: lease.id(), mode, value };
            let taking = async {
                let mut acquiring = lock::acquire(self, acquire, CallOptions::default()).await?;
                tokio::select! {
                    held = granted(&mut acquiring, &mut tell) => held,
                    () = lease.ended() => Err(Error::LeaseNotFound(lease.id())),
                }
            };
            let taken = tokio::select! {
                held = taking => held,
                () = stop => Err(late()),
                () = over(wait) => Err(late()),
            };
            match taken {
                Ok(held) => LockGuard::over(lease, held).await,
                Err(error) => {
                    lease.end().await;
                    Err(error)
                }
            }
        }
    }

    /// Takes a lock now or not at all; `wait` means nothing here.
    ///
    /// # Errors
    /// As [`lock::try_acquire`].
    fn try_lock(
        &self,
        options: LockOptions,
    ) -> impl Future<Output = Result<Option<LockGuard<Self>>, Error>> + Send {
        async move {
            let lease = KeptLease::grant(self, options.ttl, CallOptions::default()).await?;
            let LockOptions { name, mode, value, .. } = options;
            let acquire = Acquire { name, session: lease.id(), mode, value };
            match lock::try_acquire(self, acquire, CallOptions::default()).await? {
                (_, Some(held)) => LockGuard::over(lease, held).await.map(Some),
                (_, None) => {
                    lease.end().await;
                    Ok(None)
                }
            }
        }
    }

    /// Stands for election, and returns when elected. The value is that of the options;
    /// [`Leadership::proclaim`] changes it.
    ///
    /// # Errors
    /// As [`Recipes::lock`].
    fn campaign(&self, options: LockOptions) -> impl Future<Output = Result<Leadership<Self>, Error>> + Send {
        self.campaign_until(options, pending())
    }

    /// Stands for election, unless `stop` resolves first. Returns without the leadership when the
    /// candidacy is withdrawn: a process that ends then leaves none behind.
    ///
    /// # Errors
    /// `Deadline` also when it was stopped; as [`Recipes::lock`].
    fn campaign_until(
        &self,
        options: LockOptions,
        stop: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<Leadership<Self>, Error>> + Send {
        async move {
            let options = LockOptions { mode: LockMode::Exclusive, ..options };
            Ok(Leadership { guard: self.lock_until(options, stop, |_| {}).await? })
        }
    }

    /// Who holds a lock, and who waits.
    ///
    /// # Errors
    /// As [`lock::inspect`].
    fn inspect_lock(
        &self,
        name: impl Into<Bytes> + Send,
    ) -> impl Future<Output = Result<LockState, Error>> + Send {
        let name = name.into();
        async move { lock::inspect(self, &name, CallOptions::default()).await }
    }

    /// Who leads an election.
    ///
    /// # Errors
    /// As [`election::leader`].
    fn leader_of(
        &self,
        name: impl Into<Bytes> + Send,
    ) -> impl Future<Output = Result<ElectionLeader, Error>> + Send {
        let name = name.into();
        async move { election::leader(self, &name, CallOptions::default()).await }
    }

    /// The leader of an election and its changes; from the one after revision `after` on, if that is not 0.
    ///
    /// # Errors
    /// As [`election::observe`].
    fn observe(
        &self,
        name: impl Into<Bytes> + Send,
        after: Revision,
    ) -> impl Future<Output = Result<LeaderStream, Error>> + Send {
        let name = name.into();
        async move { election::observe(self, &name, after, CallOptions::default()).await }
    }

    /// The same store, for a holder of a lock: every write through it is refused with `LOCK_LOST` once
    /// the lock is lost.
    fn guarded(&self, guard: impl Into<Guard>) -> Guarded<Self> {
        Guarded { api: self.clone(), guard: guard.into() }
    }
}

impl<A: Api> Recipes for A {}

async fn granted<A: Api>(
    acquiring: &mut Acquiring<A>,
    tell: &mut (impl FnMut(&LockProgress) + Send),
) -> Result<Held, Error> {
    loop {
        let progress = acquiring.next().await?;
        tell(&progress);
        if let LockProgress::Granted(held) = progress {
            return Ok(held);
        }
    }
}

/// Resolves when the wait is over.
async fn over(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => pending().await,
    }
}

fn late() -> Error {
    Error::Deadline { waiting_for: lock::THE_LOCK.into(), maybe_committed: false }
}

/// A lock that is held, on a lease of its own. Dropping it releases it in the background.
///
/// It is held as long as the lease lives, which nobody can know for certain: not even right after
/// [`LockGuard::is_held`] has said so. What must not be done by two at once has to be guarded:
/// [`Recipes::guarded`] for writes to the store; for everything else, see docs/locks.md.
pub struct LockGuard<A: Api> {
    lease: KeptLease<A>,
    held: Held,
}

impl<A: Api> LockGuard<A> {
    async fn over(lease: KeptLease<A>, held: Held) -> Result<LockGuard<A>, Error> {
        lease.hold().await?;
        Ok(LockGuard { lease, held })
    }

    /// The fencing token: every later holder of the lock has a larger one.
    pub fn token(&self) -> Revision {
        self.held.fencing_token
    }

    /// The key that stands for this grant.
    pub fn owner_key(&self) -> &Bytes {
        &self.held.owner_key
    }

    /// What a write carries to be refused once this grant is lost.
    pub fn guard(&self) -> Guard {
        self.held.guard()
    }

    /// The grant, as it was told.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// The lease that it lives by. Other keys may be attached to it, and go with the lock.
    pub fn lease(&self) -> LeaseId {
        self.lease.id()
    }

    /// The time to live of its lease.
    pub fn ttl(&self) -> Duration {
        self.lease.ttl()
    }

    /// Whether it is held for certain at this moment, by this machine's clock.
    pub fn is_held(&self) -> bool {
        self.lease.is_held()
    }

    /// How long it is held for certain, if no keep-alive comes through any more; zero once it is lost.
    pub fn remaining(&self) -> Duration {
        self.lease.remaining()
    }

    /// Cancelled when the lock is lost, and before anybody else can have it, as long as this process runs and
    /// its machine is not suspended; also when the lock is released or dropped.
    pub fn lost(&self) -> CancellationToken {
        self.lease.lost()
    }

    /// Gives the lock back, and ends its lease, as one write.
    ///
    /// # Errors
    /// `LockLost` if it was not held any more, with the token of who holds it now: nothing of theirs is
    /// touched.
    /// Those of a write: the lease is then ended in the background.
    pub async fn release(mut self) -> Result<(), Error> {
        let options = CallOptions { guards: vec![self.guard()], ..CallOptions::default() };
        let released = self.lease.api().revoke(self.lease(), options).await;
        if let Ok(_) | Err(Error::LockLost { .. }) = &released {
            self.lease.leave();
        }
        released.map(drop)
    }
}

impl<A: Api> From<&LockGuard<A>> for Guard {
    fn from(guard: &LockGuard<A>) -> Guard {
        guard.guard()
    }
}

/// An election that was won. Dropping it resigns in the background.
pub struct Leadership<A: Api> {
    guard: LockGuard<A>,
}

impl<A: Api> Leadership<A> {
    /// The epoch: every later leader has a larger one.
    pub fn token(&self) -> Revision {
        self.guard.token()
    }

    /// The key that stands for this leadership.
    pub fn owner_key(&self) -> &Bytes {
        self.guard.owner_key()
    }

    /// What a write carries to be refused once this leadership has ended.
    pub fn guard(&self) -> Guard {
        self.guard.guard()
    }

    /// The lease that it lives by.
    pub fn lease(&self) -> LeaseId {
        self.guard.lease()
    }

    /// Whether it leads for certain at this moment, by this machine's clock.
    pub fn is_held(&self) -> bool {
        self.guard.is_held()
    }

    /// How long it leads for certain, if no keep-alive comes through any more.
    pub fn remaining(&self) -> Duration {
        self.guard.remaining()
    }

    /// Cancelled as [`LockGuard::lost`] is.
    pub fn lost(&self) -> CancellationToken {
        self.guard.lost()
    }

    /// Changes the value that is told of the leader.
    ///
    /// # Errors
    /// `LockLost` if it does not lead any more.
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<(), Error> {
        let api = self.guard.lease.api();
        election::proclaim(api, self.guard(), value.into(), CallOptions::default()).await.map(drop)
    }

    /// Steps down.
    ///
    /// # Errors
    /// As [`LockGuard::release`].
    pub async fn resign(self) -> Result<(), Error> {
        self.guard.release().await
    }
}

impl<A: Api> From<&Leadership<A>> for Guard {
    fn from(leadership: &Leadership<A>) -> Guard {
        leadership.guard()
    }
}

/// The store, with a guard on every write. Reads, watches and keep-alives are as without.
#[derive(Clone)]
pub struct Guarded<A> {
    api: A,
    guard: Guard,
}

impl<A> Guarded<A> {
    fn with_guard(&self, mut options: CallOptions) -> CallOptions {
        options.guards.push(self.guard.clone());
        options
    }
}

impl<A: Api> KvApi for Guarded<A> {
    async fn range(
        &self,
        range: Range,
        consistency: Consistency,
        options: CallOptions,
    ) -> Result<RangeAnswer, Error> {
        self.api.range(range, consistency, options).await
    }

    async fn put(&self, put: Put, options: CallOptions) -> Result<WriteAnswer<Option<KeyValue>>, Error> {
        self.api.put(put, self.with_guard(options)).await
    }

    async fn delete(&self, delete: Delete, options: CallOptions) -> Result<WriteAnswer<DeleteResult>, Error> {
        self.api.delete(delete, self.with_guard(options)).await
    }

    async fn txn(&self, txn: Txn, options: CallOptions) -> Result<WriteAnswer<TxnResult>, Error> {
        self.api.txn(txn, self.with_guard(options)).await
    }

    async fn compact(&self, revision: Revision, options: CallOptions) -> Result<WriteAnswer<()>, Error> {
        self.api.compact(revision, self.with_guard(options)).await
    }
}

impl<A: Api> LeaseApi for Guarded<A> {
    async fn grant(&self, grant: Grant, options: CallOptions) -> Result<WriteAnswer<Granted>, Error> {
        self.api.grant(grant, self.with_guard(options)).await
    }

    async fn revoke(&self, lease: LeaseId, options: CallOptions) -> Result<WriteAnswer<Revoked>, Error> {
        self.api.revoke(lease, self.with_guard(options)).await
    }

    async fn keep_alive(&self, lease: LeaseId, options: CallOptions) -> Result<KeptAlive, Error> {
        self.api.keep_alive(lease, options).await
    }

    async fn time_to_live(
        &self,
        lease: LeaseId,
        keys: bool,
        options: CallOptions,
    ) -> Result<LeaseInfo, Error> {
        self.api.time_to_live(lease, keys, options).await
    }

    async fn leases(&self, after: LeaseId, limit: u64, options: CallOptions) -> Result<LeaseList, Error> {
        self.api.leases(after, limit, options).await
    }
}

impl<A: Api> WatchApi for Guarded<A> {
    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        self.api.watch(watch).await
    }
}

impl<A: Api> Api for Guarded<A> {
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
