//! One member's Raft on a bench: its disk is moved by hand, its peers are whatever the test needs.

use std::{collections::BTreeMap, future::Future, marker::PhantomData, pin::pin, sync::Arc, time::Duration};

use openraft::{
    OptionalSend,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
    storage::{IOFlushed, RaftLogStorage},
};
use quorate::{
    config::{Config, MemberAddr},
    log::{self, Disk, Driver},
    raft::{
        log_store::LogStore,
        promises::Promises,
        settings::settings,
        snapshots::SnapshotStore,
        state_machine::Applier,
        types::{Entry, EntryPayload, LogId, Membership, Peer, Snapshot, TypeConfig, Vote},
    },
    state::{StateMachine, StateReader},
    storage::{EngineHome, MemoryHome},
};
use tempfile::TempDir;

use crate::support::ports;

/// How long what must not happen is watched for.
pub const A_WHILE: Duration = Duration::from_millis(300);
/// Bytes of entries that stay decoded.
const CACHE_BYTES: usize = 1 << 20;

/// Member 1 of three, with quick elections. Nobody listens at the others' addresses.
pub fn config() -> Config {
    let addr = |id| (id, MemberAddr { peer: ports::free_addr(), client: String::new() });
    Config {
        id: 1,
        members: (1..=3).map(addr).collect(),
        heartbeat: Duration::from_millis(20),
        election_timeout_min: Duration::from_millis(60),
        election_timeout_max: Duration::from_millis(120),
        lease_margin: Duration::from_millis(10),
        ..Config::default()
    }
}

/// The configuration's members, as Raft knows them.
pub fn peers(config: &Config) -> BTreeMap<u64, Peer> {
    let peer = |(id, addr): (&u64, &MemberAddr)| {
        (*id, Peer { peer_addr: addr.peer.clone(), client_addr: String::new() })
    };
    config.members.iter().map(peer).collect()
}

/// What is known of the others' promises: nothing yet.
pub fn promises(config: &Config) -> Arc<Promises> {
    Arc::new(Promises::new(config.promise()))
}

/// openraft as the node sets it up.
pub fn protected(config: &Config) -> openraft::Config {
    settings(config).expect("sound settings")
}

pub fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: LogId::new_term_index(term, index), payload: EntryPayload::Blank }
}

/// The first entry of a log: the membership.
pub fn founding(config: &Config) -> Entry {
    let voters = config.members.keys().copied().collect();
    let membership = Membership::new(vec![voters], peers(config)).expect("a sound membership");
    Entry { log_id: LogId::new_term_index(0, 0), payload: EntryPayload::Membership(membership) }
}

/// A disk that durably holds a vote and a log of two entries, the second of `vote`'s term.
pub async fn disk_with(config: &Config, vote: log::Vote) -> Disk {
    let disk = Disk::default();
    let (log, driver) = disk.open();
    log.save_vote(vote, Box::new(|_| ())).expect("a vote");
    let mut store = LogStore::new(log, CACHE_BYTES);
    let entries = [founding(config), blank(vote.term, 1)];
    store.append(entries, IOFlushed::noop()).await.expect("entries");
    driver.pump(usize::MAX);
    disk
}

/// The log of a disk, as Raft uses it.
pub fn log_store(log: Arc<dyn log::RaftLog>) -> LogStore {
    LogStore::new(log, CACHE_BYTES)
}

/// A member's state and snapshots.
pub struct Machine {
    pub applier: Applier,
    pub state: StateReader,
    pub snapshots: Arc<SnapshotStore>,
    pub dir: TempDir,
}

impl Machine {
    /// An empty one, whose applier waits for `log`.
    pub fn new(log: &LogStore) -> Machine {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = Arc::new(MemoryHome::new());
        let machine = StateMachine::open(home.open_current().expect("an engine")).expect("an empty state");
        let snapshots = Arc::new(SnapshotStore::open(dir.path().join("snapshots")).expect("a directory"));
        let state = machine.reader();
        let applier = Applier::new(machine, home, (log.clone(), snapshots.clone()), Box::new(()));
        Machine { applier, state, snapshots, dir }
    }
}

/// Does some work while everything that reaches the disk is made durable at once.
pub async fn pumping<T>(disk: &Driver, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        disk.pump(usize::MAX);
        if let Ok(done) = tokio::time::timeout(Duration::from_millis(1), &mut work).await {
            return done;
        }
    }
}

/// Peers that grant every vote and acknowledge every append at once: a quorum without this member's disk. `S`
/// is what the state machine makes of a snapshot; none is ever sent.
pub struct Obliging<S>(PhantomData<fn() -> S>);

impl<S> Obliging<S> {
    pub fn new() -> Self {
        Obliging(PhantomData)
    }
}

impl<S: OptionalSend + 'static> RaftNetworkFactory<TypeConfig> for Obliging<S> {
    type Network = Self;

    async fn new_client(&mut self, _target: u64, _peer: &Peer) -> Self {
        Obliging::new()
    }
}

impl<S: OptionalSend + 'static> RaftNetworkV2<TypeConfig> for Obliging<S> {
    type SnapshotData = S;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(AppendEntriesResponse::Success)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(VoteResponse::new(rpc.vote, None, true))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot<S>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(Unreachable::from_string("no snapshots on the bench")))
    }
}
