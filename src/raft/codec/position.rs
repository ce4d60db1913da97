//! Log ids and votes, to and from peers and the log.

use super::super::types::{LogId, Vote};
use crate::{
    log::{self, Position},
    pb::internal as pb,
};

impl From<LogId> for pb::LogId {
    fn from(id: LogId) -> Self {
        pb::LogId { term: id.committed_leader_id().term, index: id.index() }
    }
}

impl From<pb::LogId> for LogId {
    fn from(id: pb::LogId) -> Self {
        LogId::new_term_index(id.term, id.index)
    }
}

impl From<LogId> for Position {
    fn from(id: LogId) -> Self {
        Position { term: id.committed_leader_id().term, index: id.index() }
    }
}

impl From<Position> for LogId {
    fn from(at: Position) -> Self {
        LogId::new_term_index(at.term, at.index)
    }
}

impl From<Vote> for pb::Vote {
    fn from(vote: Vote) -> Self {
        pb::Vote { term: vote.leader_id.term, node_id: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<pb::Vote> for Vote {
    fn from(vote: pb::Vote) -> Self {
        let openraft = if vote.committed { Vote::new_committed } else { Vote::new };
        openraft(vote.term, vote.node_id)
    }
}

impl From<Vote> for log::Vote {
    fn from(vote: Vote) -> Self {
        log::Vote { term: vote.leader_id.term, node_id: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<log::Vote> for Vote {
    fn from(vote: log::Vote) -> Self {
        let openraft = if vote.committed { Vote::new_committed } else { Vote::new };
        openraft(vote.term, vote.node_id)
    }
}
