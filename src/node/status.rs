//! What a member says about itself.

use std::{collections::BTreeSet, time::Duration};

use openraft::{RaftMetrics, async_runtime::WatchReceiver};

use super::Inner;
use crate::{
    config::LogStoreKind,
    raft::types::{Peer, TypeConfig},
    stages::StageTimes,
    types::{Header, MemberRole, NodeId, Revision},
};

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Where clients reach it; may be empty.
    pub client_addr: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether the answering member believes that it leads.
    pub is_leader: bool,
}

/// How far a peer is behind its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The peer.
    pub id: NodeId,
    /// The last log index known to be on it.
    pub matched_index: Option<u64>,
    /// Entries that it lacks.
    pub entries: u64,
}

/// One member, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Position and identity.
    pub header: Header,
    /// Its role.
    pub role: MemberRole,
    /// The leader it knows.
    pub leader_id: Option<NodeId>,
    /// Committed, as far as it knows.
    pub commit_index: u64,
    /// The first entry in its log.
    pub first_log_index: u64,
    /// The last entry in its log.
    pub last_log_index: u64,
    /// The last entry in its newest snapshot file; 0: none.
    pub snapshot_index: u64,
    /// The oldest readable revision.
    pub compact_revision: Revision,
    /// Keys alive.
    pub keys: u64,
    /// Bytes of the Raft log on disk.
    pub log_bytes: u64,
    /// Bytes of the state on disk.
    pub state_bytes: u64,
    /// Free bytes on the data directory's disk.
    pub free_disk_bytes: u64,
    /// Whether it has recovered and a quorum confirmed its position once; on a leader, whether a quorum has
    /// answered within a lease.
    pub ready: bool,
    /// Since it started.
    pub uptime: Duration,
    /// Since it heard from its leader (on a leader: from a quorum).
    pub leader_contact_age: Option<Duration>,
    /// On a leader: the peers.
    pub lag: Vec<Lag>,
    /// The implementation of its log.
    pub log_store: LogStoreKind,
    /// What each stage of operations took since it started.
    pub stages: Vec<StageTimes>,
}

/// A hash over all keys and values visible at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateHash {
    /// The member's position.
    pub header: Header,
    /// 128 bits.
    pub hash: u128,
    /// The revision hashed.
    pub revision: Revision,
    /// Keys visible at it.
    pub keys: u64,
    /// Of all leases and sessions at the header's applied index. They have no history.
    pub leases_hash: u128,
}

impl Inner {
    /// This member now.
    pub fn status(&self) -> Status {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let view = self.state.position();
        let first = metrics.purged.map_or(0, |at| at.index() + 1);
        Status {
            header: self.header(String::new(), &view),
            role: self.role(),
            leader_id: metrics.current_leader,
            commit_index: self.seen_committed(metrics.cluster_committed.map_or(0, |at| at.index())),
            first_log_index: first,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            snapshot_index: metrics.snapshot.map_or(0, |at| at.index()),
            compact_revision: view.compact_revision,
            keys: view.keys,
            log_bytes: self.log.size(),
            state_bytes: self.state.size(),
            free_disk_bytes: self.free_bytes(),
            ready: *self.ready.borrow() && !self.is_cut_off_for(self.config.election_timeout_max),
            uptime: self.env.now().since(self.started),
            leader_contact_age: self.leader_contact_age(),
            lag: lag(&metrics),
            log_store: self.config.log_store,
            stages: self.log.stages().times(),
        }
    }

    /// The members as this one knows them.
    pub fn members(&self) -> Vec<Member> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let member = |(id, peer): (&NodeId, &Peer)| Member {
            id: *id,
            peer_addr: peer.peer_addr.clone(),
            client_addr: peer.client_addr.clone(),
            voter: voters.contains(id),
            is_leader: metrics.current_leader == Some(*id),
        };
        membership.nodes().map(member).collect()
    }
}

fn lag(metrics: &RaftMetrics<TypeConfig>) -> Vec<Lag> {
    let last = metrics.last_log_index.map_or(0, |index| index + 1);
    let peers = metrics.replication.iter().flatten().filter(|(id, _)| **id != metrics.id);
    peers
        .map(|(id, matched)| {
            let matched_index = matched.as_ref().map(|at| at.index());
            Lag {
                id: *id,
                matched_index,
                entries: last.saturating_sub(matched_index.map_or(0, |index| index + 1)),
            }
        })
        .collect()
}
