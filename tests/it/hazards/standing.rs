//! H1 and H4: what a member that stands alone makes of itself: a leader of the past, or a raiser of terms.

use std::{future::Future, sync::Arc, time::Duration};

use openraft::{
    OptionalSend, ServerState,
    async_runtime::WatchReceiver,
    errors::{RPCError, ReplicationClosed, StreamingError},
    network::{RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
};
use quorate::{
    config::Config,
    env::Env,
    log,
    raft::{
        links::Links,
        network::{Network, PeerNetwork},
        snapshots::{SnapshotFile, SnapshotStore},
        state_machine::Applier,
        types::{Peer, Raft, Snapshot, TypeConfig, Vote},
    },
};

use tempfile::TempDir;

use super::bench::{Machine, Obliging, config, disk_with, log_store, promises, protected};
use crate::{
    openraft_suite::Machine as Toy,
    support::{SOON, eventually},
};

/// What a member becomes whose log says that it was elected in term 3.
async fn comes_up_as(config: &Config, settings: openraft::Config) -> ServerState {
    let elected = log::Vote { term: 3, node_id: 1, committed: true };
    let log = log_store(disk_with(config, elected).await.open_threaded().expect("a log"));
    let settings = Arc::new(openraft::Config { enable_elect: false, ..settings });
    let raft = Raft::<Toy>::new(1, settings, Obliging::new(), log, Toy::default()).await.expect("raft");
    raft.with_raft_state(|state| state.server_state).await.expect("a state")
}

#[tokio::test]
async fn h1_a_leader_that_restarts_does_not_resume_its_term() {
    let config = config();
    assert_eq!(comes_up_as(&config, protected(&config)).await, ServerState::Follower);

    let unprotected = openraft::Config { enable_leader_restore: None, ..protected(&config) };
    let control = comes_up_as(&config, unprotected).await;
    assert_eq!(control, ServerState::Leader, "control: openraft's default takes the old term up again");
}

/// Our own network, but with openraft's default for pre-votes.
struct Unasked<N>(N);

impl RaftNetworkFactory<TypeConfig> for Unasked<Network> {
    type Network = Unasked<PeerNetwork>;

    async fn new_client(&mut self, target: u64, peer: &Peer) -> Unasked<PeerNetwork> {
        Unasked(self.0.new_client(target, peer).await)
    }
}

impl RaftNetworkV2<TypeConfig> for Unasked<PeerNetwork> {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        RaftNetworkV2::append_entries(&mut self.0, rpc, option).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        RaftNetworkV2::vote(&mut self.0, rpc, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        RaftNetworkV2::full_snapshot(&mut self.0, vote, snapshot, cancel, option).await
    }
}

/// A member that followed member 2 in term 3, and reaches nobody since.
async fn cut_off<N: RaftNetworkFactory<TypeConfig>>(config: &Config, network: N) -> (Raft<Applier>, TempDir)
where
    N::Network: openraft::network::NetSnapshot<TypeConfig, SnapshotData = SnapshotFile>,
{
    let followed = log::Vote { term: 3, node_id: 2, committed: true };
    let log = log_store(disk_with(config, followed).await.open_threaded().expect("a log"));
    let Machine { applier, dir, .. } = Machine::new(&log);
    let raft = Raft::new(1, Arc::new(protected(config)), network, log, applier).await.expect("raft");
    (raft, dir)
}

fn term(raft: &Raft<Applier>) -> u64 {
    raft.server_metrics().borrow_watched().vote.leader_id.term
}

#[tokio::test]
async fn h4_a_member_that_reaches_nobody_does_not_raise_its_term() {
    let config = config();
    let dir = tempfile::tempdir().expect("a directory");
    let snapshots = Arc::new(SnapshotStore::open(dir.path().join("none")).expect("a directory"));
    let network = || {
        let links = Links::new(1, 7, Env::real().net(), config.peer_dial.clone());
        let (snapshots, promises) = (snapshots.clone(), promises(&config));
        Network { links: Arc::new(links), me: 1, snapshots, promises, append_timeout: SOON }
    };
    let (asking, _dir) = cut_off(&config, network()).await;
    let (unasked, _other) = cut_off(&config, Unasked(network())).await;
    eventually("control: where silence is a grant, the term rises", SOON, async || match term(&unasked) {
        risen if risen >= 6 => Ok(()),
        term => Err(format!("term {term}")),
    })
    .await;
    assert_eq!(term(&asking), 3, "after as many election timeouts, nobody was asked for a vote");
    // It does want to lead: a quorum of grants is all that it lacks.
    asking.trigger().elect(false).await.expect("raft runs");
    let raised = Duration::from_secs(10);
    asking
        .wait(Some(raised))
        .metrics(|m| m.vote.leader_id.term > 3, "a vote without pre-vote")
        .await
        .expect("a vote");
}
