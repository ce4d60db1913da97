//! Conversations with the leader, from both ends: read indexes and forwarded writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    LinearizerOption, ReadPolicy, async_runtime::WatchReceiver, errors::LinearizableReadError,
    errors::RaftError,
};
use tokio::time::Instant;
use tracing::debug;

use super::{Inner, call::Call, leadership::Leader, leases::Ask};
use crate::{
    error::Error,
    mutant::Mutant,
    raft::{
        links::{Question, Questions},
        service::LeaderHandler,
        types::Peer,
    },
    state::Applied,
    types::{CallOptions, LeaseId, NodeId},
};

impl Inner {
    /// A read index: term and index which a reader must have applied. From this member if it leads, else from
    /// the leader. `request_id` is of the client's read behind it; empty: there is none.
    pub async fn read_index(&self, by_lease: bool, request_id: &str) -> Result<(u64, u64), Error> {
        match self.leader() {
            Leader::Me => self.own_read_index(by_lease).await,
            Leader::Other(id, peer) => {
                if !request_id.is_empty() {
                    debug!(%request_id, leader = id, by_lease, "asking the leader for a read index");
                }
                // In a box of its own: the future of a local read need not have room for it.
                Box::pin(self.ask_read_index(id, &peer, (by_lease, request_id))).await
            }
            Leader::Unknown => Err(Error::NoLeader),
        }
    }

    /// As the leader. By a quorum round, or by the lease: the shortest promise, less the clocks' drift and
    /// the margin, and void after a suspension.
    pub async fn own_read_index(&self, by_lease: bool) -> Result<(u64, u64), Error> {
        // A round would not be answered either: say so at once.
        if !by_lease && self.is_cut_off_for(self.config.election_timeout_max * 2) {
            return Err(Error::NoQuorum);
        }
        if !by_lease && Mutant::ReadWithoutRound.is_on() {
            let applied = self.progress.borrow().applied.map_or(0, |at| at.index);
            return Ok((self.term(), applied));
        }
        let lease = self.lease();
        if by_lease && lease.is_zero() {
            return Err(Error::LeaseExpired);
        }
        let option = match by_lease {
            true => LinearizerOption::new(Some(lease), false).with_wait_timeout(Default::default()),
            false => ReadPolicy::ReadIndex.into(),
        };
        let index = match self.raft.get_read_log_id(option).await {
            Ok((read, applied)) => {
                let applied = applied.filter(|_| Mutant::FirstCommitUnawaited.is_on());
                let index = applied.map_or(read.index(), |applied| applied.index());
                (read.log_id().committed_leader_id().term, index)
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) if by_lease => {
                return Err(Error::LeaseExpired);
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                return Err(Error::NoQuorum);
            }
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => {
                return Err(self.not_leader());
            }
            Err(RaftError::Fatal(fatal)) => return Err(Error::Stopped(fatal.to_string())),
        };
        // An acknowledgement that was counted meanwhile may have come with a shorter promise.
        let trusted = || {
            Mutant::SuspensionIgnored.is_on()
                || self.suspension.trusted(self.env.clock().suspended(), Instant::now())
        };
        if by_lease && (self.lease() < lease || !trusted()) {
            return Err(Error::LeaseExpired);
        }
        Ok(index)
    }

    fn lease(&self) -> Duration {
        let promise = self.promises.shortest();
        if Mutant::LeaseWithoutMargin.is_on() { promise } else { self.config.lease(promise) }
    }

    /// As the leader, for a member whose question acknowledges this one in a term (0: in none). Where two
    /// are a quorum, no round is needed: see [`Self::two_are_a_quorum_with`]. Whether this member still
    /// leads, and what is committed, only Raft's own task can say.
    pub(super) async fn index_for(&self, from: NodeId, question: Question) -> Result<(u64, u64), Error> {
        if question.follows_in != 0 && self.two_are_a_quorum_with(from) {
            // Within an age that Raft caps at a lease: a leader that has heard from a quorum just now, so
            // that nearly always nothing is waited for.
            let at_once = LinearizerOption::new(None, false).with_wait_timeout(Duration::ZERO);
            if let Ok((read, _)) = self.raft.get_read_log_id(at_once).await
                && read.log_id().committed_leader_id().term == question.follows_in
            {
                return Ok((question.follows_in, read.index()));
            }
        }
        self.rounds.join(&question.request_id).await.map(|round| (round.term, round.index))
    }

    /// Whether this member and `other` are a quorum. Then `other`'s question, which says that it had voted
    /// for this member and in no later term when it looked, is all that a round of heartbeats would bring, if
    /// this member still leads in that term when it answers: whoever is elected after that term needs the
    /// vote of one of the two, so nobody was elected, and nothing committed elsewhere, before it looked
    /// (ReadIndex, Ongaro's thesis, section 6.4, with the acknowledgement in the question).
    fn two_are_a_quorum_with(&self, other: NodeId) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.membership().get_joint_config();
        two_are_a_quorum(voters, [self.config.id, other])
    }

    /// Asks the leader, for as long as it is the one: this ends as soon as there is another, however silent
    /// the old one is. Whoever waits for this answer waits with others (`rounds`).
    pub(super) async fn ask_read_index(
        &self,
        id: NodeId,
        peer: &Peer,
        (by_lease, request_id): (bool, &str),
    ) -> Result<(u64, u64), Error> {
        let patience = self.config.election_timeout_max * 2;
        let request_id = request_id.to_owned();
        let options =
            CallOptions { timeout: Some(patience), request_id: Some(request_id), ..CallOptions::default() };
        let call = Call::begin(options, &self.config, &self.env);
        let link = self.links.to(id, &peer.peer_addr).map_err(Error::Protocol)?;
        let mut changes = self.leadership_changes();
        // Looked up when all who wait for the answer have arrived.
        let follows_in = self.log.term_of_vote_for(id).unwrap_or(0);
        let question = Question { by_lease, follows_in, request_id: call.request_id.clone() };
        let stream = (peer.peer_addr.clone(), by_lease);
        let mut through = self.asked.lock().remove(&stream).unwrap_or_default();
        let asking = link.read_index(&mut through, question);
        let answer = tokio::select! {
            answer = call.within("the leader's read index", asking) => answer.flatten(),
            () = changes.not_led_by(id) => Err(Error::NoLeader),
        };
        self.asked.lock().insert(stream, through);
        match answer {
            // Nobody answers there, or somebody who is starting or ending: it does not lead any more.
            Err(
                Error::Connection { .. }
                | Error::Deadline { .. }
                | Error::NotReady(_)
                | Error::ShuttingDown
                | Error::Stopped(_),
            ) => Err(Error::NoLeader),
            answer => answer,
        }
    }
}

/// The streams of questions to leaders that are not in use: by address, and whether the lease is asked for.
/// As many as there are addresses of members.
#[derive(Default)]
pub struct Asked(Mutex<BTreeMap<(String, bool), Questions>>);

impl Asked {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, bool), Questions>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two members are a quorum of each set of voters.
fn two_are_a_quorum(voters: &[BTreeSet<NodeId>], [one, other]: [NodeId; 2]) -> bool {
    let few = |voters: &BTreeSet<NodeId>| voters.len() <= 3 || Mutant::QuestionIsQuorum.is_on();
    one != other && voters.iter().all(|set| few(set) && set.contains(&one) && set.contains(&other))
}

/// The node, for calls of its peers. Weak: the service may outlive the node.
pub struct NodeHandler(pub Weak<Inner>);

impl NodeHandler {
    fn node(&self) -> Result<Arc<Inner>, Error> {
        self.0.upgrade().ok_or(Error::ShuttingDown)
    }

    /// Begins a call of a peer. The member that forwards has the client's deadline, and ends this call with
    /// it: not sooner than that.
    fn begin(&self, options: CallOptions) -> Result<(Arc<Inner>, Call), Error> {
        let node = self.node()?;
        let options = CallOptions { timeout: Some(node.config.timeout_max), ..options };
        let call = Call::begin(options, &node.config, &node.env);
        Ok((node, call))
    }

    /// The same, for what only a leader does.
    fn leading(&self, options: CallOptions) -> Result<(Arc<Inner>, Call), Error> {
        let (node, call) = self.begin(options)?;
        match node.leader() {
            Leader::Me => Ok((node, call)),
            Leader::Other(..) | Leader::Unknown => Err(node.not_leader()),
        }
    }
}

impl LeaderHandler for NodeHandler {
    async fn read_index(&self, from: NodeId, question: Question) -> Result<(u64, u64), Error> {
        let node = self.node()?;
        let (by_lease, request_id) = (question.by_lease, &question.request_id);
        if !request_id.is_empty() {
            debug!(%request_id, by_lease, from, "a peer asks for a read index");
        }
        match (by_lease, node.leader()) {
            (_, Leader::Other(..) | Leader::Unknown) => Err(node.not_leader()),
            (true, Leader::Me) => node.own_read_index(true).await,
            (false, Leader::Me) => node.index_for(from, question).await,
        }
    }

    async fn propose(&self, command: Bytes, options: CallOptions) -> Result<Applied, Error> {
        let (node, call) = self.begin(options)?;
        debug!(request_id = %call.request_id, "a peer forwards a write");
        node.propose_forwarded(command, &call).await
    }

    async fn keep_alive(&self, lease: LeaseId, options: CallOptions) -> Result<(u64, Duration), Error> {
        let (node, call) = self.leading(options)?;
        debug!(request_id = %call.request_id, lease, "a peer asks to renew a lease");
        node.ask_here(Ask::Renew, lease, &call).await
    }

    async fn lease_time(&self, lease: LeaseId, options: CallOptions) -> Result<(u64, Duration), Error> {
        let (node, call) = self.leading(options)?;
        node.ask_here(Ask::Tell, lease, &call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters<const N: usize>(sets: [&[NodeId]; N]) -> [BTreeSet<NodeId>; N] {
        sets.map(|set| set.iter().copied().collect())
    }

    #[test]
    fn two_members_are_a_quorum_of_two_or_three_voters() {
        for sets in [voters([&[1, 2]]), voters([&[1, 2, 3]])] {
            assert!(two_are_a_quorum(&sets, [1, 2]));
        }
        assert!(two_are_a_quorum(&voters([&[1, 2, 3], &[1, 2, 4]]), [2, 1]), "of both");
    }

    #[test]
    fn but_not_of_more_nor_with_one_who_does_not_vote() {
        assert!(!two_are_a_quorum(&voters([&[1, 2, 3, 4]]), [1, 2]));
        assert!(!two_are_a_quorum(&voters([&[1, 2, 3, 4, 5]]), [1, 2]));
        assert!(!two_are_a_quorum(&voters([&[1, 2, 3], &[1, 2, 3, 4, 5]]), [1, 2]), "of one of two");
        assert!(!two_are_a_quorum(&voters([&[1, 2, 3], &[1, 3, 4]]), [1, 2]), "a voter of one of two");
        assert!(!two_are_a_quorum(&voters([&[1, 2, 3]]), [1, 4]), "a learner");
        assert!(!two_are_a_quorum(&voters([&[1, 2, 3]]), [1, 1]), "itself");
    }
}
