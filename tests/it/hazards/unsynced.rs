//! H3 and S1: what is committed in memory is neither shown nor promised before it is on this member's disk.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    raft::AppendEntriesRequest,
    storage::{IOFlushed, RaftLogStorage, RaftStateMachine},
};
use quorate::{
    env::Env,
    error::Error,
    log::{Disk, Driver},
    pb::internal::peer_server::PeerServer,
    raft::{
        links::{Identification, Question},
        log_store::LogStore,
        network::Network,
        service::{FoundingHandler, LeaderHandler, PeerService, RaftSide, Strangers},
        state_machine::Applier,
        types::{LogId, Peer, Proposal, Raft, Snapshot, Vote},
    },
    state::{Applied, Operation},
    types::{CallOptions, Put},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    bench::{
        A_WHILE, Machine, Obliging, blank, config, founding, log_store, peers, promises, protected, pumping,
    },
    snapshots::{Image, PeerCaller},
};
use crate::{
    openraft_suite::Machine as Toy,
    support::{SOON, ports},
};

/// A write that a quorum of others has committed, while the disk of its leader holds still.
struct Committed {
    answer: JoinHandle<bool>,
    disk: Driver,
    log: LogStore,
}

impl Committed {
    async fn on<M>(log: LogStore, disk: Driver, machine: M) -> Committed
    where
        M: RaftStateMachine<quorate::raft::types::TypeConfig>,
    {
        let config = config();
        let settings = Arc::new(protected(&config));
        let network = Obliging::<M::SnapshotData>::new();
        let raft = Raft::<M>::new(1, settings, network, log.clone(), machine).await.expect("raft");
        pumping(&disk, async {
            raft.initialize(peers(&config)).await.expect("a new cluster");
            raft.wait(Some(SOON)).applied_index_at_least(Some(1), "leads").await.expect("a leader");
        })
        .await;
        let put = Put { key: "k".into(), value: "v".into(), ..Put::default() };
        let write = Proposal::new(&Operation::Put(put).into()).expect("a write");
        let writer = raft.clone();
        let answer = tokio::spawn(async move { writer.client_write(write).await.is_ok() });
        raft.wait(Some(SOON)).committed_index_at_least(Some(2), "by the others").await.expect("a commit");
        Committed { answer, disk, log }
    }

    fn is_durable(&self) -> bool {
        let waiting = self.log.wait_durable(LogId::new_term_index(1, 2));
        futures::FutureExt::now_or_never(waiting).is_some()
    }
}

#[tokio::test]
async fn h3_a_committed_write_is_neither_shown_nor_answered_before_the_log_is_durable() {
    let (log, disk) = Disk::default().open();
    let log = log_store(log);
    let Machine { applier, state, dir: _dir, .. } = Machine::new(&log);
    let applied = || state.position().applied.map(|at| at.index);
    let mut write = Committed::on(log, disk, applier).await;
    assert!(!write.is_durable(), "the disk holds still");
    tokio::time::timeout(A_WHILE, &mut write.answer).await.expect_err("answered before it was durable");
    assert_eq!(applied(), Some(1), "shown before it was durable");

    write.disk.pump(usize::MAX);
    assert!(tokio::time::timeout(SOON, write.answer).await.expect("an answer").expect("no panic"));
    assert_eq!(applied(), Some(2));
}

#[tokio::test]
async fn h3_control_a_state_machine_that_does_not_wait_answers_before_the_log_is_durable() {
    let (log, disk) = Disk::default().open();
    let mut write = Committed::on(log_store(log), disk, Toy::default()).await;
    let answered = tokio::time::timeout(SOON, &mut write.answer).await.expect("an answer").expect("no panic");
    assert!(answered && !write.is_durable(), "the leader's disk has had no part in it");
}

/// A crash between the two would leave a state that the log on disk contradicts: openraft refuses to start on
/// that.
#[tokio::test]
async fn a_snapshot_is_published_when_the_tail_that_contradicts_it_is_off_the_disk() {
    let (log, disk) = Disk::default().open();
    let mut log = log_store(log);
    let Machine { mut applier, snapshots, dir, .. } = Machine::new(&log);
    let image = Image::of(&config(), TERM, 4);
    let entries = [founding(&config()), blank(1, 1), blank(1, 2)];
    log.append(entries, IOFlushed::noop()).await.expect("entries");
    disk.pump(usize::MAX);
    log.truncate_after(Some(LogId::new_term_index(0, 0))).await.expect("a truncation");

    let path = dir.path().join("received");
    std::fs::write(&path, &image.bytes).expect("a file");
    let (meta, file) = (image.meta(), snapshots.received(path).expect("a snapshot file"));
    let mut installing = std::pin::pin!(applier.install_snapshot(&meta, file));
    tokio::time::timeout(A_WHILE, &mut installing).await.expect_err("the tail is on the disk yet");
    assert_eq!(snapshots.newest().expect("a directory"), None, "published before the tail was gone");
    pumping(&disk, installing).await.expect("an installation");
    assert!(snapshots.newest().expect("a directory").is_some());
}

/// A node that is not asked anything.
struct Nobody;

impl FoundingHandler for Nobody {
    fn identify(&self) -> Identification {
        Identification::default()
    }

    fn found(&self, _cluster_id: u64, _members: BTreeMap<u64, Peer>) -> Result<(), Error> {
        Err(Error::ShuttingDown)
    }
}

impl LeaderHandler for Nobody {
    async fn read_index(&self, _from: u64, _question: Question) -> Result<(u64, u64), Error> {
        Err(Error::NoLeader)
    }

    async fn propose(&self, _command: Bytes, _options: CallOptions) -> Result<Applied, Error> {
        Err(Error::NoLeader)
    }

    async fn keep_alive(&self, _lease: u64, _options: CallOptions) -> Result<(u64, Duration), Error> {
        Err(Error::NoLeader)
    }

    async fn lease_time(&self, _lease: u64, _options: CallOptions) -> Result<(u64, Duration), Error> {
        Err(Error::NoLeader)
    }
}

const CLUSTER: u64 = 7;
const TERM: u64 = 5;

/// Member 1, following member 2, over the peer service: committed up to entry 4 in memory, durable up to
/// entry 0.
struct Follower {
    raft: Raft<Applier>,
    machine_dir: tempfile::TempDir,
    snapshots: Arc<quorate::raft::snapshots::SnapshotStore>,
    disk: Driver,
    peer: PeerCaller,
}

async fn append(raft: &Raft<Applier>, upto: u64) {
    let config = config();
    let entries = (1..=upto).map(|index| blank(TERM, index));
    let request = AppendEntriesRequest {
        vote: Vote::new_committed(TERM, 2),
        prev_log_id: None,
        leader_commit: (upto > 0).then(|| LogId::new_term_index(TERM, upto)),
        entries: std::iter::once(founding(&config)).chain(entries).collect(),
    };
    let answer = raft.append_entries(request).await;
    assert!(answer.expect("raft runs").is_success());
}

impl Follower {
    async fn start() -> Follower {
        let config = config();
        let (log, disk) = Disk::default().open();
        let log = log_store(log);
        let Machine { applier, snapshots, dir: machine_dir, .. } = Machine::new(&log);
        let links = quorate::raft::links::Links::new(1, CLUSTER, Env::real().net(), BTreeMap::new());
        let network = Network {
            links: Arc::new(links),
            me: 1,
            snapshots: snapshots.clone(),
            promises: promises(&config),
            append_timeout: SOON,
        };
        let settings = openraft::Config { enable_elect: false, ..protected(&config) };
        let raft = Raft::new(1, Arc::new(settings), network, log.clone(), applier).await.expect("raft");
        pumping(&disk, append(&raft, 0)).await;
        let side = RaftSide {
            raft: raft.clone(),
            log,
            snapshots: snapshots.clone(),
            promise: config.promise(),
            vote_guard_until: Env::real().now(),
            leader_contact: Box::new(|| ()),
            leader: Nobody,
        };
        let peer = PeerCaller::new(&serve(side), CLUSTER);
        // Its answer waits for the disk, as it must.
        let appending = raft.clone();
        tokio::spawn(async move { append(&appending, 4).await });
        let wait = raft.wait(Some(SOON));
        wait.metrics(|m| m.last_log_index == Some(4), "entries in memory").await.expect("entries");
        Follower { raft, machine_dir, snapshots, disk, peer }
    }

    /// A snapshot of what it has committed already.
    fn image(&self) -> Image {
        Image::of(&config(), TERM, 4)
    }
}

/// Serves one member's peers; its address.
fn serve(side: RaftSide<Nobody>) -> String {
    let addr = ports::free_addr();
    let service = PeerService {
        me: 1,
        cluster_id: Arc::new(OnceLock::from(CLUSTER)),
        env: Env::real(),
        founding: Arc::new(Nobody),
        side: Arc::new(OnceLock::from(side)),
        strangers: Strangers::default(),
        stop: CancellationToken::new(),
    };
    let server = tonic::transport::Server::builder().add_service(PeerServer::new(service));
    tokio::spawn(server.serve(addr.parse().expect("an address")));
    addr
}

#[tokio::test]
async fn s1_a_snapshot_is_answered_when_the_log_is_durable() {
    let follower = Follower::start().await;
    let (peer, image) = (follower.peer.clone(), follower.image());
    let mut sending = tokio::spawn(async move { peer.send(&image, |_| ()).await });
    tokio::time::timeout(A_WHILE, &mut sending).await.expect_err("answered while the log is in memory only");
    let answer = pumping(&follower.disk, &mut sending).await.expect("no panic");
    assert!(answer.expect("an answer").vote.is_some_and(|vote| vote.term == TERM));
}

#[tokio::test]
async fn s1_control_openraft_answers_at_once_what_it_has_committed_in_memory() {
    let follower = Follower::start().await;
    let path = follower.machine_dir.path().join("received");
    std::fs::write(&path, &follower.image().bytes).expect("a file");
    let snapshot = Snapshot {
        meta: follower.image().meta(),
        snapshot: follower.snapshots.received(path).expect("a snapshot file"),
    };
    let installing = follower.raft.install_full_snapshot(Vote::new_committed(TERM, 2), snapshot);
    tokio::time::timeout(Duration::from_secs(10), installing).await.expect("at once").expect("raft runs");
    assert!(follower.disk.queued() > 0, "and nothing of it is on the disk");
}
