//! H2, H5 and H7, on members that live in this process: a forgotten lease, lost data, and an end that takes
//! its time.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use futures::stream::{self, BoxStream};
use quorate::{
    Config, Error, Node,
    config::MemberAddr,
    pb::internal::{
        self as pb,
        peer_server::{Peer, PeerServer},
    },
    raft::envelope::Envelope,
    recipes::KvApi,
    types::{CallOptions, NodeId, Put},
};
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{questions::Asked, snapshots::PeerCaller};
use crate::support::{SOON, eventually, ports};

/// Members of one cluster, in this process.
pub struct Members {
    configs: BTreeMap<NodeId, Config>,
    nodes: BTreeMap<NodeId, Node>,
    _dir: TempDir,
}

impl Members {
    /// Three, ready.
    pub async fn start(change: impl Fn(&mut Config)) -> Members {
        Members::of(3, change).await
    }

    async fn of(count: u64, change: impl Fn(&mut Config)) -> Members {
        let members = Members::found(count, change).await;
        for node in members.nodes.values() {
            members.ready(node.id()).await;
        }
        members
    }

    /// As many, just founded: they may not have elected a leader yet.
    async fn found(count: u64, change: impl Fn(&mut Config)) -> Members {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let addr = |id| (id, MemberAddr { peer: ports::free_addr(), client: String::new() });
        let addrs: BTreeMap<_, _> = (1..=count).map(addr).collect();
        let config = |id: NodeId| {
            let data_dir = dir.path().join(id.to_string());
            let mut config = Config { id, data_dir, members: addrs.clone(), ..Config::default() };
            change(&mut config);
            (id, config)
        };
        let configs: BTreeMap<_, _> = addrs.keys().copied().map(config).collect();
        let starting = configs.values().cloned().map(Node::start);
        let started = futures::future::try_join_all(starting).await.expect("the cluster is founded");
        let nodes = started.into_iter().map(|node| (node.id(), node)).collect();
        Members { configs, nodes, _dir: dir }
    }

    pub fn config(&self, id: NodeId) -> &Config {
        &self.configs[&id]
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[&id]
    }

    async fn ready(&self, id: NodeId) {
        let mut ready = self.node(id).readiness();
        let is_ready = tokio::time::timeout(SOON, ready.wait_for(|ready| *ready)).await;
        is_ready.unwrap_or_else(|_| panic!("member {id} is not ready after {SOON:?}")).expect("it runs");
    }

    /// Stops a member; how long that took.
    pub async fn stop(&mut self, id: NodeId) -> Duration {
        let node = self.nodes.remove(&id).expect("it runs");
        let began = Instant::now();
        node.shutdown().await.expect("a graceful end");
        began.elapsed()
    }

    async fn stop_all(&mut self) {
        for id in self.configs.keys().copied().collect::<Vec<_>>() {
            self.stop(id).await;
        }
    }

    /// Starts a member again, on a changed configuration, as soon as its former self has let go of the
    /// directory.
    async fn restart(&mut self, id: NodeId, change: impl Fn(&mut Config)) -> Result<(), Error> {
        let mut config = self.configs[&id].clone();
        change(&mut config);
        let started =
            eventually("the directory is free", SOON, async || match Node::start(config.clone()).await {
                Err(error) if error.to_string().contains("in use") => Err(error.to_string()),
                started => Ok(started),
            });
        self.nodes.insert(id, started.await?);
        Ok(())
    }

    /// Why a member does not start.
    async fn refuses(&mut self, id: NodeId) -> String {
        match self.restart(id, |_| ()).await {
            Ok(()) => panic!("member {id} has started"),
            Err(error) => error.to_string(),
        }
    }

    async fn put(&self, id: NodeId, key: &'static str) -> Result<(), Error> {
        let put = Put { key: key.into(), value: "v".into(), ..Put::default() };
        self.node(id).put(put, CallOptions::default()).await.map(|_| ())
    }

    async fn leader(&self) -> NodeId {
        let first = self.nodes.values().next().expect("a member");
        eventually("a leader", SOON, async || first.status().await.leader_id.ok_or("none".to_owned())).await
    }

    /// Member 2, as member `to` hears it.
    fn caller(&self, to: NodeId) -> PeerCaller {
        let cluster_id = self.node(to).header("").cluster_id;
        PeerCaller::between(&self.configs[&to].members[&to].peer, Envelope { cluster_id, from: 2, to })
    }
}

/// A guard that no test outlasts.
fn long_guard(config: &mut Config) {
    config.election_timeout_min = Duration::from_secs(50);
    config.election_timeout_max = Duration::from_secs(100);
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_a_restarted_voter_votes_for_nobody_but_the_successor_of_its_leader() {
    let mut members = Members::start(|_| ()).await;
    members.stop(3).await;
    members.restart(3, long_guard).await.expect("a restart");
    let caller = members.caller(3);
    for pre in [true, false] {
        let refused = caller.ask_for_vote(pre, false).await.expect_err("a vote within the guard");
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(refused.message().contains("does not vote yet"), "{refused:?}");
    }
    let transferred = caller.ask_for_vote(false, true).await.expect("an answer");
    assert!(transferred.granted, "the leader itself handed over: {transferred:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_who_has_promised_nothing_is_not_held() {
    let pristine = Members::found(3, long_guard).await;
    let vote = pristine.caller(3).ask_for_vote(true, false).await;
    vote.expect("control: a voter that never voted is asked by Raft's own rules");

    let mut single = Members::of(1, |_| ()).await;
    single.stop(1).await;
    single.restart(1, long_guard).await.expect("a restart");
    single.ready(1).await;
    single.put(1, "k").await.expect("nobody else could hold a lease");
}

/// A peer that notes the first campaign it hears of, and answers nothing but questions for read indexes.
#[derive(Default)]
pub struct Recorder {
    pub campaign: watch::Sender<Option<Instant>>,
    pub asked: Asked,
}

impl Recorder {
    fn note<T>(&self) -> Result<Response<T>, Status> {
        self.campaign.send_if_modified(|first| first.replace(Instant::now()).is_none());
        silent()
    }
}

fn silent<T>() -> Result<Response<T>, Status> {
    Err(Status::unavailable("a recorder"))
}

#[tonic::async_trait]
impl Peer for Recorder {
    async fn vote(&self, _: Request<pb::VoteRequest>) -> Result<Response<pb::VoteReply>, Status> {
        self.note()
    }

    async fn pre_vote(&self, _: Request<pb::VoteRequest>) -> Result<Response<pb::VoteReply>, Status> {
        self.note()
    }

    type AppendStream = stream::Empty<Result<pb::AppendReply, Status>>;

    async fn append(
        &self,
        _: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        silent()
    }

    async fn snapshot(
        &self,
        _: Request<Streaming<pb::SnapshotChunk>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        silent()
    }

    async fn transfer_leader(
        &self,
        _: Request<pb::TransferRequest>,
    ) -> Result<Response<pb::TransferReply>, Status> {
        silent()
    }

    type ReadIndexStream = BoxStream<'static, Result<pb::ReadIndexReply, Status>>;

    async fn read_index(
        &self,
        request: Request<Streaming<pb::ReadIndexRequest>>,
    ) -> Result<Response<Self::ReadIndexStream>, Status> {
        Ok(Response::new(self.asked.answer(request.into_inner())))
    }

    async fn propose(&self, _: Request<pb::ProposeRequest>) -> Result<Response<pb::ProposeReply>, Status> {
        silent()
    }

    async fn keep_alive(
        &self,
        _: Request<pb::KeepAliveRequest>,
    ) -> Result<Response<pb::KeepAliveReply>, Status> {
        silent()
    }

    async fn lease_time(
        &self,
        _: Request<pb::LeaseTimeRequest>,
    ) -> Result<Response<pb::LeaseTimeReply>, Status> {
        silent()
    }

    async fn identify(&self, _: Request<pb::IdentifyRequest>) -> Result<Response<pb::IdentifyReply>, Status> {
        silent()
    }

    async fn found(&self, _: Request<pb::FoundRequest>) -> Result<Response<pb::FoundReply>, Status> {
        silent()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_a_restarted_voter_does_not_campaign_while_it_is_held() {
    let mut members = Members::start(|_| ()).await;
    members.stop_all().await;
    let (campaign, mut heard) = watch::channel(None);
    let recorder = Recorder { campaign, ..Recorder::default() };
    let service = tonic::transport::Server::builder().add_service(PeerServer::new(recorder));
    let addr = members.config(2).members[&2].peer.parse().expect("an address");
    let serving = tokio::spawn(service.serve(addr));

    let began = Instant::now();
    let quick = |config: &mut Config| {
        // Unheld, it would campaign within 30 to 1000 ms; the guard is 1950 ms.
        config.heartbeat = Duration::from_millis(10);
        config.election_timeout_min = Duration::from_millis(30);
        config.election_timeout_max = Duration::from_secs(1);
        config.lease_margin = Duration::from_millis(900);
    };
    members.restart(1, quick).await.expect("a restart");
    let first = tokio::time::timeout(SOON, heard.wait_for(Option::is_some)).await;
    let first = first.expect("it campaigns in the end").expect("the recorder lives").expect("a moment");
    let config = members.node(1).config();
    let guard = config.vote_guard(config.promise());
    assert!(first - began >= guard, "campaigned after {:?}, the guard is {guard:?}", first - began);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_a_voter_that_restarts_with_shorter_timeouts_keeps_its_longer_promise() {
    let promise = Duration::from_secs(4);
    let mut members = Members::start(|config| config.election_timeout_max = promise).await;
    members.stop(3).await;
    let began = Instant::now();
    let short = |config: &mut Config| config.election_timeout_max = Duration::from_millis(600);
    members.restart(3, short).await.expect("a restart");
    let config = members.node(3).config();
    tokio::time::sleep(config.vote_guard(config.promise()) + Duration::from_millis(300)).await;
    let caller = members.caller(3);
    let refused = caller.ask_for_vote(true, false).await.expect_err("its former self promised more");
    assert!(refused.message().contains("does not vote yet"), "{refused:?}");

    let path = config.data_dir.join("identity.toml");
    eventually("it forgets what it promised", SOON, async || {
        let identity = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        if identity.contains("promise_ms = 600") { Ok(()) } else { Err(identity) }
    })
    .await;
    assert!(began.elapsed() >= promise, "after {:?}", began.elapsed());
    caller.ask_for_vote(true, false).await.expect("control: it is held no longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_a_voter_that_lost_its_data_stays_out_and_the_others_go_on() {
    let mut members = Members::start(|_| ()).await;
    members.put(1, "before").await.expect("a write");
    members.stop(3).await;
    let dir = members.config(3).data_dir.clone();
    let kept = dir.with_extension("kept");
    fs::rename(&dir, &kept).expect("the directory moves");
    let wiped = members.refuses(3).await;
    assert!(wiped.contains("has lost its data") && wiped.contains("must not come back"), "{wiped}");
    members.put(1, "meanwhile").await.expect("two of three go on");

    fs::remove_dir_all(&dir).expect("what the refused start left");
    fs::rename(&kept, &dir).expect("the directory comes back");
    members.restart(3, |_| ()).await.expect("control: with its data it starts");
    members.ready(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_a_founder_that_lost_its_data_does_not_found_again() {
    let mut members = Members::start(|_| ()).await;
    members.stop(1).await;
    fs::remove_dir_all(&members.config(1).data_dir).expect("the directory goes");
    let wiped = members.refuses(1).await;
    assert!(wiped.contains("has lost its data"), "{wiped}");
    members.put(2, "meanwhile").await.expect("two of three go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_a_directory_without_log_or_identity_is_refused() {
    let mut members = Members::of(1, |_| ()).await;
    members.stop(1).await;
    let dir = members.config(1).data_dir.clone();
    fs::rename(dir.join("identity.toml"), dir.join("away")).expect("the identity moves");
    let nameless = members.refuses(1).await;
    assert!(nameless.contains("identity.toml"), "{nameless}");
    fs::rename(dir.join("log"), dir.join("log-away")).expect("the log moves");
    let nameless = members.refuses(1).await;
    assert!(nameless.contains("has a state but no identity.toml"), "{nameless}");
    fs::rename(dir.join("away"), dir.join("identity.toml")).expect("the identity comes back");
    let emptied = members.refuses(1).await;
    assert!(emptied.contains("log is empty"), "{emptied}");

    fs::remove_dir_all(dir.join("log")).expect("what the refused start left");
    fs::rename(dir.join("log-away"), dir.join("log")).expect("the log comes back");
    members.restart(1, |_| ()).await.expect("control: with both it starts");
    members.ready(1).await;
}

/// The founder stopped between the beginning of Raft and noting it: its peers have begun, by its own doing.
#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_did_not_note_the_beginning_is_not_taken_for_one_that_lost_its_data() {
    let mut members = Members::start(|_| ()).await;
    members.stop(1).await;
    let path = members.config(1).data_dir.join("identity.toml");
    let noted = fs::read_to_string(&path).expect("an identity");
    let unnoted = noted.replace("initialized = true", "initialized = false");
    assert_ne!(noted, unnoted);
    fs::write(&path, unnoted).expect("a file");
    members.restart(1, |_| ()).await.expect("a restart");
    members.ready(1).await;

    members.stop(1).await;
    let unnoted = noted.replace("initialized = true", "initialized = false");
    fs::write(&path, unnoted).expect("a file");
    fs::remove_dir_all(members.config(1).data_dir.join("log")).expect("the log goes");
    let emptied = members.refuses(1).await;
    assert!(emptied.contains("log is empty"), "control: its log must be there: {emptied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_a_leader_whose_peers_are_dead_stops_in_time() {
    let mut members = Members::start(|config| config.shutdown_timeout = Duration::from_secs(4)).await;
    let leader = members.leader().await;
    for id in (1..=3).filter(|id| *id != leader) {
        members.stop(id).await;
    }
    let node = members.node(leader).clone();
    let put = Put { key: "k".into(), value: "v".into(), ..Put::default() };
    let patient = CallOptions { timeout: Some(Duration::from_secs(60)), ..CallOptions::default() };
    let mut writing = Box::pin(async move { node.put(put, patient).await });
    assert!(futures::poll!(writing.as_mut()).is_pending(), "it is under way when the end begins");
    let writing = tokio::spawn(writing);
    let took = members.stop(leader).await;
    assert!(took < Duration::from_secs(5), "took {took:?} of 4 s");
    let error = writing.await.expect("no panic").expect_err("nobody could commit it");
    assert!(error.maybe_committed() || error.retryable(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_a_leader_that_stops_has_handed_over() {
    // Who is not handed leadership would wait this long for it.
    let unaided = Duration::from_secs(4);
    let mut members = Members::start(|config| {
        config.election_timeout_min = unaided;
        config.election_timeout_max = Duration::from_secs(6);
    })
    .await;
    let leader = members.leader().await;
    let other = (1..=3).find(|id| *id != leader).expect("another member");
    members.put(leader, "before").await.expect("a write");
    members.stop(leader).await;
    let began = Instant::now();
    members.put(other, "after").await.expect("a write through another member");
    assert!(began.elapsed() < unaided / 2, "took {:?}", began.elapsed());
}
