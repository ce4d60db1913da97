//! What a member does when others fail or when it fails itself: clusters of a few that live in this process,
//! looked at from inside.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, atomic::AtomicUsize},
};

use tempfile::TempDir;
use tracing_subscriber::filter::LevelFilter;

/// In the library it belongs to `torture`, which stands above `node`.
#[allow(clippy::duplicate_mod)]
#[path = "../torture/cluster/ports.rs"]
mod ports;

use super::*;
use crate::{
    config::MemberAddr,
    raft::{links::Question, types::Peer},
    types::{KeyRange, Level, Scan},
};

/// How long anything may take that should be quick, on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

/// Members of one cluster.
struct Cluster {
    nodes: Vec<Node>,
    dir: TempDir,
}

/// Three members with quick elections, ready.
fn quick(config: &mut Config) {
    config.heartbeat = Duration::from_millis(50);
    config.election_timeout_min = Duration::from_millis(200);
    config.election_timeout_max = Duration::from_millis(400);
}

impl Cluster {
    /// As many, ready.
    async fn start(count: u64, change: impl Fn(&mut Config)) -> Cluster {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let addr = |id| (id, MemberAddr { peer: ports::free_addr().expect("a port"), client: String::new() });
        let members: BTreeMap<_, _> = (1..=count).map(addr).collect();
        let config = |id: &NodeId| {
            let data_dir = dir.path().join(id.to_string());
            let mut config = Config { id: *id, data_dir, members: members.clone(), ..Config::default() };
            change(&mut config);
            config
        };
        let starting = members.keys().map(config).map(Node::start);
        let nodes = futures::future::try_join_all(starting).await.expect("the cluster is founded");
        let cluster = Cluster { nodes, dir };
        for node in &cluster.nodes {
            ready(node).await;
        }
        cluster
    }

    /// Ends the only member, and starts it again, on a changed configuration.
    async fn restart(&mut self, change: impl Fn(&mut Config)) {
        let node = self.nodes.pop().expect("a member");
        node.shutdown().await.expect("a graceful end");
        let mut config = node.config().clone();
        change(&mut config);
        drop(node);
        let until = tokio::time::Instant::now() + SOON;
        let node = loop {
            match Node::start(config.clone()).await {
                // Its last task is about to let go of the directory.
                Err(error) if error.to_string().contains("in use") => {
                    assert!(tokio::time::Instant::now() < until, "{error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                started => break started.expect("a restart"),
            }
        };
        ready(&node).await;
        self.nodes.push(node);
    }

    /// The leader, and the others.
    async fn roles(&self) -> (Node, Vec<Node>) {
        let leader = eventually("a leader", || {
            self.nodes.iter().find(|node| matches!(node.inner.leader(), Leader::Me)).cloned()
        });
        let leader = leader.await;
        let others = self.nodes.iter().filter(|node| node.id() != leader.id()).cloned().collect();
        (leader, others)
    }
}

async fn ready(node: &Node) {
    let mut ready = node.readiness();
    let ready = tokio::time::timeout(SOON, ready.wait_for(|ready| *ready)).await;
    ready.unwrap_or_else(|_| panic!("member {} is not ready after {SOON:?}", node.id())).expect("it runs");
}

/// Waits until there is a value.
async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + SOON;
    while tokio::time::Instant::now() < until {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within {SOON:?}")
}

fn put(key: &'static str) -> Put {
    Put { key: key.into(), value: "v".into(), ..Put::default() }
}

fn get(key: &'static str) -> Range {
    Range::new(KeyRange::key(key))
}

fn within(timeout: Duration) -> CallOptions {
    CallOptions { timeout: Some(timeout), ..CallOptions::default() }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Keeps what this thread logs while the guard lives.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let lines = self.clone();
        let kept = tracing_subscriber::fmt().with_max_level(LevelFilter::DEBUG).with_ansi(false);
        tracing::subscriber::set_default(kept.with_writer(move || lines.clone()).finish())
    }

    fn with(&self, part: &str) -> usize {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).lines().filter(|line| line.contains(part)).count()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn without_a_leader_a_call_tries_once_a_heartbeat_and_does_not_spin() {
    let cluster = Cluster::start(3, quick).await;
    let (leader, others) = cluster.roles().await;
    // They go without a word: the survivor still takes the dead leader for one.
    for gone in [&leader, &others[0]] {
        gone.inner.raft.shutdown().await.expect("raft ends");
        gone.inner.stop.cancel();
    }
    let survivor = &others[1];
    let config = survivor.config();
    let tries = (config.election_timeout_max * 3).max(Duration::from_secs(3));
    let most = tries.div_duration_f64(config.heartbeat) as usize + 5;

    let lines = Lines::default();
    let listening = lines.listen();
    let written = survivor.put(put("k"), within(SOON)).await.expect_err("nobody leads");
    let by_write = lines.with("waiting for a leader");
    let level = Consistency::from(Level::Lease);
    let read = survivor.range(get("k"), level, within(SOON)).await.expect_err("nobody leads");
    let by_read = lines.with("waiting for a leader") - by_write;
    drop(listening);

    for attempts in [by_write, by_read] {
        assert!((3..=most).contains(&attempts), "{attempts} attempts, {most} heartbeats: {written}, {read}");
    }
    drop(cluster.dir);
}

/// A leader that is silent for longer than the test lasts: it takes calls, and answers none.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_to_a_silent_leader_ends_when_another_one_leads() {
    let silence = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let detour = silence.local_addr().expect("a bound port").to_string();
    let cluster = Cluster::start(3, |config| {
        config.election_timeout_min = Duration::from_secs(8);
        config.election_timeout_max = Duration::from_secs(10);
    })
    .await;
    let (leader, others) = cluster.roles().await;
    let (reader, successor) = (&others[0], &others[1]);
    // As the leader's own address turned silent: the reader hears it, and is not answered.
    let silent = Peer { peer_addr: detour, client_addr: String::new() };
    let mut asking = Box::pin(reader.inner.ask_read_index(leader.id(), &silent, (false, "")));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut asking).await;
    early.expect_err("control: nobody answers");

    leader.inner.raft.trigger().transfer_leader(successor.id()).await.expect("raft runs");
    let known = eventually("the reader knows its new leader", || {
        reader.inner.leader_id().filter(|id| *id == successor.id())
    });
    known.await;
    let ended = tokio::time::timeout(Duration::from_secs(2), asking).await;
    assert_eq!(ended.expect("before its patience of 20 s ends"), Err(Error::NoLeader));
    drop(silence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_silent_for_too_long_is_none() {
    let silence = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let detour = silence.local_addr().expect("a bound port").to_string();
    let cluster = Cluster::start(3, quick).await;
    let (leader, others) = cluster.roles().await;
    let silent = Peer { peer_addr: detour, client_addr: String::new() };
    let asked = others[0].inner.ask_read_index(leader.id(), &silent, (false, "")).await;
    assert_eq!(asked, Err(Error::NoLeader), "a caller that has time may ask the next one");
    drop((silence, cluster.dir));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_fails_does_not_hold_on_to_leadership() {
    let cluster = Cluster::start(3, quick).await;
    let (leader, others) = cluster.roles().await;
    leader.inner.fail("a test".to_owned());
    assert_eq!(leader.failed().await, "a test");
    let refused = leader.put(put("k"), within(SOON)).await;
    refused.expect_err("a member that failed serves nothing");

    let elected = eventually("another leader", || {
        others.iter().find(|node| matches!(node.inner.leader(), Leader::Me)).map(Node::id)
    });
    assert_ne!(elected.await, leader.id());
    for node in &others {
        node.put(put("k"), within(SOON)).await.expect("the others take writes");
    }
    tokio::time::timeout(SOON, leader.shutdown()).await.expect("in time").expect("a graceful end");
    drop(cluster.dir);
}

/// The runtime's threads for blocking work, all taken.
struct Blocked {
    release: Arc<AtomicBool>,
}

const BLOCKING_THREADS: usize = 4;

/// Runs a test where there are few threads for blocking work.
fn with_few_threads(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).max_blocking_threads(BLOCKING_THREADS).enable_all();
    runtime.build().expect("a runtime").block_on(test);
}

impl Blocked {
    async fn all() -> Blocked {
        let (release, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..BLOCKING_THREADS {
            let (release, taken) = (release.clone(), taken.clone());
            tokio::task::spawn_blocking(move || {
                taken.fetch_add(1, Ordering::SeqCst);
                while !release.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let all = || (taken.load(Ordering::SeqCst) == BLOCKING_THREADS).then_some(());
        eventually("all threads are taken", all).await;
        Blocked { release }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.release.store(true, Ordering::SeqCst);
    }
}

async fn read_all(node: &Node, timeout: Duration) -> Result<(), Error> {
    let all = Range::new(KeyRange::all());
    node.range(all, Consistency::from(Level::Eventual), within(timeout)).await.map(|_| ())
}

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn a_read_that_nobody_waits_for_keeps_its_place_until_its_work_ends() {
    with_few_threads(async {
        let cluster = Cluster::start(1, |config| config.limits.inflight_reads_max = 2).await;
        let node = &cluster.nodes[0];
        let blocked = Blocked::all().await;
        let late = read_all(node, SHORT).await;
        assert!(matches!(late, Err(Error::Deadline { .. })), "{late:?}");
        let scan = Scan { keys: KeyRange::all(), revision: 0, keys_only: false };
        let late = node.scan(scan, Consistency::from(Level::Eventual), within(SHORT)).await.map(|_| ());
        assert!(matches!(late, Err(Error::Deadline { .. })), "{late:?}");

        let third = read_all(node, SHORT).await;
        assert!(matches!(third, Err(Error::Overloaded { limit: 2, .. })), "{third:?}");
        let hash = node.state_hash(0).await.map(|_| ());
        assert!(matches!(hash, Err(Error::Overloaded { limit: 2, .. })), "{hash:?}");
        drop(blocked);
        let idle = || node.inner.admission.is_idle().then_some(());
        eventually("the work ends, and the places are free", idle).await;
        read_all(node, SOON).await.expect("a read");
    });
}

#[test]
fn reads_of_many_keys_wait_for_one_of_few_places_and_leave_the_others_theirs() {
    with_few_threads(async {
        let cluster = Cluster::start(1, |_| ()).await;
        let node = &cluster.nodes[0];
        let blocked = Blocked::all().await;
        let reads = futures::future::join_all((0..50).map(|_| read_all(node, SHORT))).await;
        let unplaced = reads.iter().filter(|read| format!("{read:?}").contains("16 places")).count();
        assert_eq!(unplaced, 50 - 16, "{reads:?}");
        let single = node.range(get("k"), Consistency::from(Level::Eventual), within(SOON)).await;
        single.expect("a read of one key needs none of these places");
        drop(blocked);
        read_all(node, SOON).await.expect("a read");
    });
}

/// Writes so many KiB, one in each put.
async fn fill(node: &Node, kib: usize) {
    for _ in 0..kib {
        let put = Put { key: "k".into(), value: vec![0; 1 << 10].into(), ..Put::default() };
        node.put(put, within(SOON)).await.expect("a write");
    }
}

async fn snapshot_index(node: &Node) -> u64 {
    node.status().await.snapshot_index
}

#[tokio::test]
async fn a_member_that_restarts_before_each_snapshot_still_takes_one() {
    let mut cluster = Cluster::start(1, |config| config.snapshot_log_bytes = 64 << 10).await;
    fill(&cluster.nodes[0], 40).await;
    cluster.restart(|_| ()).await;
    assert_eq!(snapshot_index(&cluster.nodes[0]).await, 0, "40 of 64 KiB");
    fill(&cluster.nodes[0], 40).await;
    let node = &cluster.nodes[0];
    let taken = || node.inner.snapshots.newest().expect("a directory");
    eventually("80 of 64 KiB", taken).await;
}

#[tokio::test]
async fn a_snapshot_waits_until_there_is_space_for_it_and_says_so_once() {
    let mut cluster = Cluster::start(1, |_| ()).await;
    fill(&cluster.nodes[0], 40).await;
    let lines = Lines::default();
    let listening = lines.listen();
    let full = |config: &mut Config| {
        config.snapshot_log_bytes = 16 << 10;
        config.free_bytes_min = u64::MAX;
    };
    cluster.restart(full).await;
    eventually("a warning", || (lines.with("no space for a snapshot") > 0).then_some(())).await;
    // As long again as the look at whether one is due takes.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(lines.with("no space for a snapshot"), 1, "once per episode");
    assert_eq!(snapshot_index(&cluster.nodes[0]).await, 0);
    drop(listening);

    cluster.restart(|config| config.free_bytes_min = 0).await;
    let node = &cluster.nodes[0];
    eventually("control: with space it is taken", || node.inner.snapshots.newest().ok().flatten()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_no_longer_than_the_shortest_promise_of_those_who_acknowledge() {
    // The one that is to lead would trust a lease of more than 7 s, were it for its own timeouts.
    let cluster = Cluster::start(3, |config| {
        if config.id == 1 {
            config.election_timeout_min = Duration::from_secs(4);
            config.election_timeout_max = Duration::from_secs(8);
        }
    })
    .await;
    let (first, _) = cluster.roles().await;
    let (leader, others) = (&cluster.nodes[0], &cluster.nodes[1..]);
    if first.id() != leader.id() {
        first.inner.raft.trigger().transfer_leader(leader.id()).await.expect("raft runs");
    }
    eventually("it leads", || matches!(leader.inner.leader(), Leader::Me).then_some(())).await;
    let by_lease = || leader.range(get("k"), Consistency::from(Level::Lease), within(SOON));
    let served = by_lease().await.expect("control: a lease, while the others answer");
    assert_eq!(served.evidence.level_served, Level::Lease);

    for gone in others {
        gone.inner.raft.shutdown().await.expect("raft ends");
        gone.inner.stop.cancel();
    }
    // From here on they would have elected somebody else.
    tokio::time::sleep(others[0].config().promise()).await;
    assert!(matches!(leader.inner.leader(), Leader::Me), "control: it still believes that it leads");
    let refused = by_lease().await.map(|answer| answer.evidence);
    assert!(matches!(refused, Err(Error::LeaseExpired)), "{refused:?}");
    drop(cluster.dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_hands_over_and_stays() {
    let cluster = Cluster::start(3, quick).await;
    let (leader, others) = cluster.roles().await;
    let refused = others[0].transfer_leadership().await;
    assert!(matches!(refused, Err(Error::NotLeader { .. })), "{refused:?}");
    let next = leader.transfer_leadership().await.expect("another leads");
    assert_ne!(next, leader.id());
    fill(&leader, 1).await;
    drop(cluster.dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_acknowledges_is_answered_without_a_round() {
    let cluster = Cluster::start(3, |config| {
        config.election_timeout_min = Duration::from_secs(8);
        config.election_timeout_max = Duration::from_secs(10);
    })
    .await;
    let (leader, others) = cluster.roles().await;
    let written = leader.put(put("k"), within(SOON)).await.expect("a write").write.log_index;
    // From here on a round would not be answered, and nobody else is elected either.
    for gone in &others {
        gone.inner.raft.shutdown().await.expect("raft ends");
        gone.inner.stop.cancel();
    }
    let (node, term, follower) = (&leader.inner, leader.inner.term(), others[0].id());
    let ask = async |from, follows_in| {
        let question = Question { by_lease: false, follows_in, request_id: String::new() };
        tokio::time::timeout(Duration::from_millis(200), node.index_for(from, question)).await
    };
    let (in_term, index) = ask(follower, term).await.expect("at once").expect("it leads");
    assert!(in_term == term && index >= written, "{index} of {in_term}, not {written} of {term}");
    for (from, follows_in) in [(follower, 0), (follower, term + 1), (leader.id(), term), (99, term)] {
        let answer = ask(from, follows_in).await;
        assert!(!matches!(answer, Ok(Ok(_))), "{from} in {follows_in}: {answer:?}");
    }
    drop(cluster.dir);
}
