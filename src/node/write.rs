//! The way of a write: checked, admitted, proposed here or forwarded once to the leader.

use std::time::Duration;

use openraft::errors::{ClientWriteError, ForwardReason, RaftError};
use tokio::time::Instant;
use tracing::debug;

use super::{Inner, call::Call, leadership::Leader};
use crate::{
    error::Error,
    raft::types::{Peer, Proposal, Response, TypeConfig},
    stages::Stage,
    state::{self, Applied, Command, Operation, Outcome},
    types::{NodeId, Op, Txn},
};

/// For so long at least a call waits for a leader: an election waits for disks, which no timeout makes
/// faster.
const LEADER_PATIENCE_MIN: Duration = Duration::from_secs(3);

/// What became of an attempt that did not succeed.
pub enum Attempt {
    /// Nothing was appended: another attempt is safe, when leadership has settled.
    NotAppended(Error),
    /// The answer to the caller.
    Final(Error),
}

impl Inner {
    /// Applies an operation to the replicated state; refusals are errors.
    pub async fn write(&self, op: Operation, call: &Call) -> Result<Applied, Error> {
        let (session, guards) = (call.session, call.guards.clone());
        let command = Command { request_id: call.request_id.clone(), session, guards, op };
        state::validate_command(&command, &self.config.limits)?;
        let _place = self.admission.write()?;
        let began = Instant::now();
        let applied = self.propose(command, call).await?;
        self.log.stages().record(Stage::Write, began.elapsed());
        match applied.outcome {
            Outcome::Refused(refusal) => Err(refusal.into()),
            _ => Ok(applied),
        }
    }

    /// Proposes a command, wherever the leader is, until the deadline or until nobody leads for too long.
    pub async fn propose(&self, command: Command, call: &Call) -> Result<Applied, Error> {
        let proposal = Proposal::new(&command).map_err(|error| Error::Invalid(error.to_string()))?;
        if proposal.size() > self.config.limits.request_bytes_max {
            return Err(Error::TooLarge {
                what: "limits.request_bytes_max".to_owned(),
                limit: self.config.limits.request_bytes_max as u64,
                actual: proposal.size() as u64,
            });
        }
        let (patience, mut changes) = (self.leader_patience(call), self.leadership_changes());
        loop {
            let attempt = match self.leader() {
                Leader::Me => self.propose_here(proposal.clone(), call).await,
                // In a box of its own: the future of a write at the leader need not have room for it.
                Leader::Other(id, peer) => Box::pin(self.forward(id, &peer, &proposal, call)).await,
                Leader::Unknown => Err(Attempt::NotAppended(Error::NoLeader)),
            };
            match attempt {
                Ok(applied) => return Ok(applied),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::NotAppended(error)) => {
                    debug!(request_id = %call.request_id, %error, "waiting for a leader");
                    changes.next(patience).await;
                    // An attempt that has no time could only say that nobody knows, where nothing was
                    // appended.
                    if Instant::now() >= patience {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Until when a call waits for a leader: some elections, if its deadline allows.
    pub fn leader_patience(&self, call: &Call) -> Instant {
        let elections = (self.config.election_timeout_max * 3).max(LEADER_PATIENCE_MIN);
        call.deadline.min(Instant::now() + elections)
    }

    /// As the leader, or not at all.
    pub async fn propose_here(&self, proposal: Proposal, call: &Call) -> Result<Applied, Attempt> {
        self.check_space(&proposal.command().op).map_err(Attempt::Final)?;
        debug!(request_id = %call.request_id, "proposing");
        let began = Instant::now();
        let written = call.outcome("the write to be committed", self.raft.client_write(proposal)).await;
        match written.map_err(Attempt::Final)? {
            Ok(done) => match done.data {
                Response::Applied(applied) => {
                    self.log.stages().record(Stage::Propose, began.elapsed());
                    Ok(applied)
                }
                Response::Internal => Err(Attempt::Final(Error::Protocol("a command gave no result".into()))),
            },
            Err(RaftError::APIError(error)) => Err(refused(error)),
            Err(RaftError::Fatal(fatal)) => Err(Attempt::Final(Error::UnknownOutcome(fatal.to_string()))),
        }
    }

    /// Proposes on behalf of a follower: here or not at all.
    pub async fn propose_forwarded(&self, encoded: bytes::Bytes, call: &Call) -> Result<Applied, Error> {
        let proposal = Proposal::decode_part(&encoded).map_err(|error| Error::Invalid(error.to_string()))?;
        state::validate_command(proposal.command(), &self.config.limits)?;
        let _place = self.admission.write()?;
        if !matches!(self.leader(), Leader::Me) {
            return Err(self.not_leader());
        }
        self.propose_here(proposal, call).await.map_err(|attempt| match attempt {
            Attempt::NotAppended(error) | Attempt::Final(error) => error,
        })
    }

    /// Sends a proposal to the leader. What fails before it is sent was not appended; later, nobody knows.
    async fn forward(
        &self,
        id: NodeId,
        peer: &Peer,
        proposal: &Proposal,
        call: &Call,
    ) -> Result<Applied, Attempt> {
        let link = self.links.to(id, &peer.peer_addr);
        let mut link = link.map_err(|why| Attempt::NotAppended(Error::Protocol(why)))?;
        debug!(request_id = %call.request_id, leader = id, "forwarding to the leader");
        let sent = link.propose(proposal.encoded(), &call.request_id, call.left());
        let reply = call.outcome("the leader's answer", sent).await.map_err(Attempt::Final)?;
        reply.map_err(|error| forward_failed(id, error))
    }

    /// Writes that add are refused while the leader's disk is nearly full (another member's does not matter);
    /// deletes and compaction make room.
    fn check_space(&self, op: &Operation) -> Result<(), Error> {
        let (free, needed) = (self.free_bytes(), self.config.free_bytes_min);
        if free < needed && adds(op) { Err(Error::NoSpace { free, needed }) } else { Ok(()) }
    }
}

fn adds(op: &Operation) -> bool {
    match op {
        Operation::Put(_) | Operation::Grant(_) => true,
        Operation::Txn(txn) => txn_adds(txn),
        Operation::Delete(_)
        | Operation::Compact(_)
        | Operation::Marker
        | Operation::Revoke(_)
        | Operation::Expire(_) => false,
    }
}

fn txn_adds(txn: &Txn) -> bool {
    txn.then_ops.iter().chain(&txn.else_ops).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(nested) => txn_adds(nested),
        Op::Delete(_) | Op::Range(_) => false,
    })
}

/// `ForwardToLeader` was not appended; `LogEntryDiscarded` was, and may yet be committed by another leader.
/// openraft's own helper takes both for the first.
fn refused(error: ClientWriteError<TypeConfig>) -> Attempt {
    match error {
        ClientWriteError::ForwardToLeader(forward) => Attempt::NotAppended(match forward.reason {
            ForwardReason::LeaseExpired => Error::NoQuorum,
            ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => Error::NoLeader,
        }),
        other => Attempt::Final(Error::UnknownOutcome(other.to_string())),
    }
}

/// What a leader's refusal of a forwarded write means here.
fn forward_failed(id: NodeId, error: Error) -> Attempt {
    match error {
        Error::NotLeader { .. }
        | Error::NoLeader
        | Error::NoQuorum
        | Error::NotReady(_)
        | Error::ShuttingDown => Attempt::NotAppended(error),
        // It could not be dialled: it does not lead any more.
        Error::Connection { maybe_committed: false, .. } => Attempt::NotAppended(Error::NoLeader),
        Error::Connection { why, .. } => Attempt::Final(Error::UnknownOutcome(format!("member {id}: {why}"))),
        error => Attempt::Final(error),
    }
}
