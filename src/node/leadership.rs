//! Who leads, as far as this member knows.

use std::{future::pending, time::Duration};

use openraft::{
    ServerState, async_runtime::WatchReceiver, metrics::RaftServerMetrics,
    type_config::alias::WatchReceiverOf,
};
use tokio::time::{Instant, timeout_at};

use super::Inner;
use crate::{
    error::{Error, LeaderHint},
    raft::types::{Peer, TypeConfig},
    types::{MemberRole, NodeId},
};

/// The leader, seen from here.
pub enum Leader {
    /// This member.
    Me,
    /// Another.
    Other(NodeId, Peer),
    /// Nobody that is known.
    Unknown,
}

/// What changes about leadership from one moment on. Made before an attempt that needs a leader: what changes
/// during the attempt is not missed, and what changed before it wakes nobody.
pub struct LeadershipChanges {
    metrics: WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>,
    /// No wait is longer: what the leader answers may change without a change of the leader.
    patience: Duration,
}

impl LeadershipChanges {
    /// Waits until something has changed since the last look, a heartbeat passes, or `until`.
    pub async fn next(&mut self, until: Instant) {
        let until = until.min(Instant::now() + self.patience);
        let _ = timeout_at(until, self.changed()).await;
    }

    /// Waits until `id` is not the leader any more.
    pub async fn not_led_by(&mut self, id: NodeId) {
        while self.metrics.borrow_and_update().current_leader == Some(id) {
            self.changed().await;
        }
    }

    /// Where Raft has ended, nothing changes any more.
    async fn changed(&mut self) {
        if self.metrics.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}

impl Inner {
    /// Who leads.
    pub fn leader(&self) -> Leader {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        match metrics.current_leader {
            Some(id) if id == self.config.id && metrics.state == ServerState::Leader => Leader::Me,
            Some(id) if id == self.config.id => Leader::Unknown,
            Some(id) => {
                let peer = metrics.membership_config.membership().get_node(&id).cloned();
                peer.map_or(Leader::Unknown, |peer| Leader::Other(id, peer))
            }
            None => Leader::Unknown,
        }
    }

    /// The leader's id, if known.
    pub fn leader_id(&self) -> Option<NodeId> {
        self.raft.server_metrics().borrow_watched().current_leader
    }

    /// Where a client finds the leader, if it is another member.
    pub fn leader_hint(&self) -> Option<LeaderHint> {
        match self.leader() {
            Leader::Other(id, peer) => Some(LeaderHint { id, client_addr: peer.client_addr }),
            Leader::Me => {
                let own = self.config.members.get(&self.config.id);
                let client_addr = own.map(|addr| addr.client.clone()).unwrap_or_default();
                Some(LeaderHint { id: self.config.id, client_addr })
            }
            Leader::Unknown => None,
        }
    }

    /// The refusal of what only a leader can do.
    pub fn not_leader(&self) -> Error {
        match self.leader() {
            Leader::Unknown => Error::NoLeader,
            _ => Error::NotLeader { leader: self.leader_hint() },
        }
    }

    /// What this member is.
    pub fn role(&self) -> MemberRole {
        match self.raft.server_metrics().borrow_watched().state {
            ServerState::Leader => MemberRole::Leader,
            ServerState::Follower => MemberRole::Follower,
            ServerState::Candidate => MemberRole::Candidate,
            ServerState::Learner => MemberRole::Learner,
            ServerState::Shutdown => MemberRole::Stopped,
        }
    }

    /// This member's term.
    pub fn term(&self) -> u64 {
        self.raft.server_metrics().borrow_watched().vote.leader_id.term
    }

    /// What changes about leadership from now on.
    pub fn leadership_changes(&self) -> LeadershipChanges {
        let mut metrics = self.raft.server_metrics();
        // openraft hands out copies of a receiver that has seen nothing: to them everything is new.
        let _ = metrics.borrow_and_update();
        LeadershipChanges { metrics, patience: self.config.heartbeat }
    }
}
