//! One member of a cluster, as a handle: what everything above uses, inside the server and inside other
//! programs.
//!
//! Map: `start` (identity, recovery, founding, Raft) · `write` and `read` (the ways of a request) · `rounds`,
//! `certificate`, `lease` (what permits a read) · `leases`, `deadlines`, `expirer` (clients' leases, counted
//! down by the leader alone) · `committed` (what a commit tells the rest of the node) · `watches` ·
//! `recipes` (what locks need besides) · `peers` (both ends of talking to the leader) ·
//! `housekeeping` · `shutdown`. Deliberately absent: anything that decides by a clock what the replicated
//! state becomes.

mod admission;
mod call;
mod certificate;
mod committed;
mod deadlines;
mod expirer;
mod founding;
mod housekeeping;
mod identity;
mod leadership;
mod lease;
mod leases;
mod peers;
mod read;
mod recipes;
mod recover;
mod rounds;
mod scan;
mod shutdown;
mod start;
mod status;
mod stores;
mod watches;
mod write;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openraft::async_runtime::{Instant as _, WatchReceiver};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

pub use self::scan::ScanStream;
pub use self::status::{Lag, Member, StateHash, Status};
pub use self::stores::{Disks, Stores};
pub use self::watches::{WatchPart, WatchParts, WholeMax, whole};
use self::{
    admission::{Admission, Permit},
    call::Call,
    certificate::Certificates,
    deadlines::Deadlines,
    identity::DataDir,
    leadership::Leader,
    lease::SuspensionGuard,
    peers::Asked,
    rounds::Rounds,
};
pub use crate::stages::{Stage, StageTimes};
use crate::{
    config::Config,
    env::{Env, Moment},
    error::Error,
    mutant::Mutant,
    raft::{
        links::Links, log_store::LogStore, promises::Promises, snapshots::SnapshotStore,
        state_machine::Applier, types::Raft,
    },
    recipes::KvApi,
    state::{self, Applied, Compactor, Hashed, Operation, Outcome, StateReader, View},
    types::{
        CallOptions, ClusterId, Consistency, Delete, DeleteResult, Header, KeyValue, Limits, NodeId, Put,
        Range, RangeAnswer, Revision, Txn, TxnResult, WriteAnswer, WriteEvidence,
    },
    watch::Hub,
};

/// A running member. Cheap to clone; all clones are the same member. It runs until [`Node::shutdown`].
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

/// What a member consists of.
struct Inner {
    config: Config,
    env: Env,
    cluster_id: ClusterId,
    dir: Arc<DataDir>,
    raft: Raft<Applier>,
    state: StateReader,
    compactor: Compactor,
    log: LogStore,
    snapshots: Arc<SnapshotStore>,
    links: Arc<Links>,
    rounds: Rounds,
    /// Looks at the leader's lease, each for all reads that wait.
    lease_rounds: Rounds,
    asked: Asked,
    certificates: Certificates,
    promises: Arc<Promises>,
    suspension: SuspensionGuard,
    admission: Admission,
    /// When leases end, while this member leads.
    deadlines: Arc<Deadlines>,
    /// Who watches keys change.
    watches: Hub,
    /// What has been applied, as it moves.
    progress: watch::Receiver<View>,
    /// Bytes of commands applied since the snapshot that there was at the start; about, for those from before
    /// the start.
    applied_bytes: Arc<AtomicU64>,
    /// The end of the log at the start. What this member had applied, and shown, cannot lie behind it (hazard
    /// H3).
    recovered_to: Option<u64>,
    started: Moment,
    /// Milliseconds from `started` to the last message of a leader, plus one; 0: none yet.
    contact: AtomicU64,
    /// The highest index that was known to be committed: a new leader may know less at first.
    committed: AtomicU64,
    /// Free bytes on the disk, looked at now and then.
    free: AtomicU64,
    ready: watch::Sender<bool>,
    failed: watch::Sender<Option<String>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Node {
    /// This member's id.
    pub fn id(&self) -> NodeId {
        self.inner.config.id
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.inner.config.limits
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// A header with this member's present position.
    pub fn header(&self, request_id: &str) -> Header {
        self.inner.header(request_id.to_owned(), &self.inner.state.position())
    }

    /// This member, as it is now. Needs no leader.
    pub async fn status(&self) -> Status {
        self.inner.status()
    }

    /// The members as this one knows them.
    pub fn members(&self) -> Vec<Member> {
        self.inner.members()
    }

    /// A hash over everything visible at a revision (0: what is applied here).
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::FutureRevision`]; [`Error::Deadline`], if too many reads of many
    /// keys are under way for all of `Config::default_timeout`.
    pub async fn state_hash(&self, revision: Revision) -> Result<StateHash, Error> {
        let node = &self.inner;
        let place = node.admission.read()?;
        let call = Call::begin(CallOptions::default(), &node.config, &node.env);
        let state = node.state.clone();
        let hash = move || (state.hash(revision), state.leases_hash());
        let hashing = node.admission.heavy_read(place, call.deadline, hash).await?;
        let hashed = hashing.await.map_err(|panic| Error::Stopped(panic.to_string()))?;
        let (hashed, (leases_hash, view)) = hashed;
        let Hashed { hash, revision, keys, .. } = hashed.map_err(|e| node.unreadable(e))?;
        let header = node.header(String::new(), &view);
        Ok(StateHash { header, hash, revision, keys, leases_hash })
    }

    /// True once this member has recovered and a quorum has confirmed its position; false again when it shuts
    /// down.
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.inner.ready.subscribe()
    }

    /// Resolves with the reason if this member fails. It serves nothing from then on and takes no part in
    /// the cluster: a program that embeds it watches this, shuts it down, and starts it anew once the reason
    /// is mended.
    pub fn failed(&self) -> impl Future<Output = String> + Send + 'static {
        let mut failed = self.inner.failed.subscribe();
        async move {
            let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            match reason {
                Some(reason) => reason,
                None => std::future::pending().await,
            }
        }
    }

    /// Hands leadership to the voter whose log reaches furthest, of those that were heard from lately, and
    /// waits until another member leads: its id. Meanwhile requests that need a leader wait for one. This
    /// member stays, and may be elected again.
    ///
    /// # Errors
    /// [`Error::NotLeader`], if another leads; [`Error::NoQuorum`], if no other voter was heard from, and
    /// [`Error::Invalid`], if there is none: this member leads on; [`Error::NoLeader`], if nobody is known
    /// to lead after `Config::election_timeout_max`: then the members elect, as they do when a leader is
    /// lost.
    pub async fn transfer_leadership(&self) -> Result<NodeId, Error> {
        self.inner.transfer_leadership().await
    }

    /// Hands leadership over, lets what is under way finish, syncs, and stops: within
    /// `Config::shutdown_timeout`.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.inner.stop_gracefully().await
    }

    async fn write<T>(
        &self,
        op: Operation,
        options: CallOptions,
        result: impl FnOnce(Outcome) -> Option<T>,
    ) -> Result<WriteAnswer<T>, Error> {
        let node = &self.inner;
        let call = Call::begin(options, &node.config, &node.env);
        let Applied { log_index, log_term, revision, outcome, deduplicated } = node.write(op, &call).await?;
        let wrong = || match deduplicated {
            true => {
                Error::Invalid("this seq of the session was used for a request of another kind".to_owned())
            }
            false => Error::Protocol("the state machine answered another question".to_owned()),
        };
        // Both of the write itself, wherever it was proposed: this member may be behind it, or beyond.
        let own = node.header(call.request_id, &node.state.position());
        let header = Header { revision, applied_index: log_index, ..own };
        let write = WriteEvidence { log_index, log_term, deduplicated };
        Ok(WriteAnswer { header, result: result(outcome).ok_or_else(wrong)?, write })
    }
}

impl KvApi for Node {
    async fn range(
        &self,
        range: Range,
        consistency: Consistency,
        options: CallOptions,
    ) -> Result<RangeAnswer, Error> {
        let node = &self.inner;
        state::validate_range(&range, &node.config.limits)?;
        let call = Call::begin(options, &node.config, &node.env);
        let place = node.admission.read()?;
        let permission = node.permit(consistency, &call).await?;
        let at_revision = range.revision != 0;
        let (result, view) = node.read_range(range, &place, &call).await?;
        let evidence = node.evidence(&permission, &view, at_revision, &call);
        Ok(RangeAnswer { header: node.header(call.request_id, &view), result, evidence })
    }

    async fn put(&self, put: Put, options: CallOptions) -> Result<WriteAnswer<Option<KeyValue>>, Error> {
        self.write(Operation::Put(put), options, |outcome| match outcome {
            Outcome::Put(prev_kv) => Some(prev_kv),
            _ => None,
        })
        .await
    }

    async fn delete(&self, delete: Delete, options: CallOptions) -> Result<WriteAnswer<DeleteResult>, Error> {
        self.write(Operation::Delete(delete), options, |outcome| match outcome {
            Outcome::Delete(deleted) => Some(deleted),
            _ => None,
        })
        .await
    }

    async fn txn(&self, txn: Txn, options: CallOptions) -> Result<WriteAnswer<TxnResult>, Error> {
        self.write(Operation::Txn(txn), options, |outcome| match outcome {
            Outcome::Txn(result) => Some(result),
            _ => None,
        })
        .await
    }

    async fn compact(&self, revision: Revision, options: CallOptions) -> Result<WriteAnswer<()>, Error> {
        self.write(Operation::Compact(revision), options, |outcome| match outcome {
            Outcome::Compact => Some(()),
            _ => None,
        })
        .await
    }
}

impl Inner {
    fn header(&self, request_id: String, view: &View) -> Header {
        Header {
            cluster_id: self.cluster_id,
            member_id: self.config.id,
            term: self.term(),
            revision: view.revision,
            applied_index: view.applied.map_or(0, |at| at.index),
            request_id,
        }
    }

    /// Reads at one instant: the data, and the position that goes into the header. Large ranges leave the
    /// runtime's threads alone, and hold their places until they are read: a caller that has gone does not
    /// make the work end.
    async fn read_range(
        &self,
        range: Range,
        place: &Permit,
        call: &Call,
    ) -> Result<(crate::types::RangeResult, View), Error> {
        let (state, limits) = (self.state.clone(), self.config.limits.clone());
        let read = if range.keys.single().is_some() {
            state.range(&range, &limits)
        } else {
            let read = move || state.range(&range, &limits);
            let reading = self.admission.heavy_read(place.clone(), call.deadline, read).await?;
            let read = call.within("the data to be read", reading).await?;
            read.map_err(|panic| Error::Stopped(panic.to_string()))?
        };
        read.map_err(|error| self.unreadable(error))
    }

    /// A state that cannot be read stops the member; what the caller asked wrongly is its own error.
    fn unreadable(&self, error: state::ReadError) -> Error {
        if let state::ReadError::Broken(corruption) = &error {
            self.fail(corruption.to_string());
        }
        error.into()
    }

    /// Whether the state is at least as new as what this member may have shown before it started: everything
    /// in the log is applied again, or a quorum has confirmed a position since (part of that log may never be
    /// committed).
    fn is_recovered(&self) -> bool {
        let applied = self.progress.borrow().applied.map(|at| at.index);
        applied >= self.recovered_to || *self.ready.borrow() || Mutant::ShownUnrecovered.is_on()
    }

    /// What is committed, as far as this member ever knew, and `now` knows.
    fn seen_committed(&self, now: u64) -> u64 {
        self.committed.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Free bytes on the disk, as of the last look.
    fn free_bytes(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Notes a message from a leader.
    fn heard_from_leader(&self) {
        let since = self.env.now().since(self.started).as_millis() as u64;
        self.contact.store(since + 1, Ordering::Relaxed);
    }

    /// Since this member heard from its leader; on a leader, since a quorum acknowledged something it sent.
    fn leader_contact_age(&self) -> Option<Duration> {
        if let Leader::Me = self.leader() {
            let acked = self.raft.metrics().borrow_watched().last_quorum_acked;
            return acked.map(|at| at.elapsed());
        }
        match self.contact.load(Ordering::Relaxed) {
            0 => None,
            at => Some(self.env.now().since(self.started + Duration::from_millis(at - 1))),
        }
    }

    /// Whether this member leads, others vote too, and no quorum has answered for longer than `patience`: it
    /// leads in name only.
    fn is_cut_off_for(&self, patience: Duration) -> bool {
        if !matches!(self.leader(), Leader::Me) {
            return false;
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.membership().voter_ids().count();
        voters > 1 && metrics.last_quorum_acked.is_some_and(|at| at.elapsed() > patience)
    }

    /// Fail-stop: says why, once, lets nobody in any more, and ends Raft here, so that a leader that failed
    /// does not hold on to leadership: the others elect. What ends because this member is told to stop is no
    /// failure.
    fn fail(&self, reason: String) {
        if self.stop.is_cancelled() {
            return;
        }
        let reason = self.dir.explain(reason);
        let first = self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            if first {
                error!(%reason, "member has failed and must be restarted");
                self.watches.close(Error::Stopped(reason.clone()));
                *failed = Some(reason);
            }
            first
        });
        self.ready.send_replace(false);
        self.admission.close();
        if first {
            let raft = self.raft.clone();
            // In a task of its own: whoever calls may be one that Raft waits for.
            self.tasks.spawn(async move {
                if let Err(error) = raft.shutdown().await {
                    error!(%error, "raft did not end in order");
                }
            });
        }
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests;
