//! openraft's requests and answers, to and from the peer protocol.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::{
    super::types::{Entry, SnapshotMeta, StoredMembership, TypeConfig, Vote},
    CodecError,
    entry::entry_from_pb,
    membership::membership_from_pb,
};
use crate::{
    log::Position,
    pb::internal::{self as pb, append_reply, transfer_reply},
};

fn vote(vote: Option<pb::Vote>) -> Result<Vote, CodecError> {
    vote.map(Vote::from).ok_or(CodecError::Missing("vote"))
}

impl From<AppendEntriesRequest<TypeConfig>> for pb::AppendRequest {
    fn from(request: AppendEntriesRequest<TypeConfig>) -> Self {
        pb::AppendRequest {
            vote: Some(request.vote.into()),
            prev: request.prev_log_id.map(Into::into),
            commit: request.leader_commit.map(Into::into),
            entries: request.entries.iter().map(Into::into).collect(),
        }
    }
}

/// Decodes a request to append, and refuses one that no leader sends: openraft trusts it, and only asserts.
pub fn append_request(request: pb::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, CodecError> {
    let entries = request.entries.into_iter().map(entry_from_pb).collect::<Result<Vec<Entry>, _>>()?;
    let request = AppendEntriesRequest {
        vote: vote(request.vote)?,
        prev_log_id: request.prev.map(Into::into),
        leader_commit: request.commit.map(Into::into),
        entries,
    };
    match contradiction(&request) {
        None => Ok(request),
        Some(what) => Err(CodecError::Contradiction(what)),
    }
}

fn contradiction(request: &AppendEntriesRequest<TypeConfig>) -> Option<&'static str> {
    if !request.vote.committed {
        return Some("only an elected leader appends");
    }
    let mut before = request.prev_log_id.map(Position::from);
    for entry in &request.entries {
        let at = Position::from(entry.log_id);
        if at.index != before.map_or(0, |before| before.index.saturating_add(1)) {
            return Some("the entries are not consecutive");
        }
        if before.is_some_and(|before| at.term < before.term) {
            return Some("the entries' terms go back");
        }
        before = Some(at);
    }
    let ahead = before.is_some_and(|last| last.term > request.vote.leader_id.term);
    ahead.then_some("an entry is of a later term than the leader")
}

impl From<AppendEntriesResponse<TypeConfig>> for pb::AppendReply {
    fn from(response: AppendEntriesResponse<TypeConfig>) -> Self {
        use append_reply::Result as Reply;
        let result = match response {
            AppendEntriesResponse::Success => Reply::Success(true),
            AppendEntriesResponse::PartialSuccess(Some(upto)) => Reply::Partial(upto.into()),
            AppendEntriesResponse::PartialSuccess(None) => Reply::PartialNone(true),
            AppendEntriesResponse::Conflict => Reply::Conflict(true),
            AppendEntriesResponse::HigherVote(vote) => Reply::HigherVote(vote.into()),
        };
        // What is promised is not Raft's to say: the service adds it.
        pb::AppendReply { result: Some(result), promise_ms: 0 }
    }
}

/// Decodes the answer to a request to append.
pub fn append_reply(reply: pb::AppendReply) -> Result<AppendEntriesResponse<TypeConfig>, CodecError> {
    use append_reply::Result as Reply;
    Ok(match reply.result.ok_or(CodecError::Newer("AppendReply"))? {
        Reply::Success(_) => AppendEntriesResponse::Success,
        Reply::Partial(upto) => AppendEntriesResponse::PartialSuccess(Some(upto.into())),
        Reply::PartialNone(_) => AppendEntriesResponse::PartialSuccess(None),
        Reply::Conflict(_) => AppendEntriesResponse::Conflict,
        Reply::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote.into()),
    })
}

impl From<VoteRequest<TypeConfig>> for pb::VoteRequest {
    fn from(request: VoteRequest<TypeConfig>) -> Self {
        pb::VoteRequest {
            vote: Some(request.vote.into()),
            last: request.last_log_id.map(Into::into),
            leadership_transfer: request.leadership_transfer,
        }
    }
}

/// Decodes a request for a vote.
pub fn vote_request(request: pb::VoteRequest) -> Result<VoteRequest<TypeConfig>, CodecError> {
    let mut decoded = VoteRequest::new(vote(request.vote)?, request.last.map(Into::into));
    decoded.leadership_transfer = request.leadership_transfer;
    Ok(decoded)
}

impl From<VoteResponse<TypeConfig>> for pb::VoteReply {
    fn from(response: VoteResponse<TypeConfig>) -> Self {
        pb::VoteReply {
            vote: Some(response.vote.into()),
            granted: response.vote_granted,
            last: response.last_log_id.map(Into::into),
        }
    }
}

/// Decodes the answer to a request for a vote.
pub fn vote_reply(reply: pb::VoteReply) -> Result<VoteResponse<TypeConfig>, CodecError> {
    Ok(VoteResponse::new(vote(reply.vote)?, reply.last.map(Into::into), reply.granted))
}

impl From<TransferLeaderRequest<TypeConfig>> for pb::TransferRequest {
    fn from(request: TransferLeaderRequest<TypeConfig>) -> Self {
        pb::TransferRequest {
            from: Some((*request.from_leader()).into()),
            to: *request.to_node_id(),
            last: request.last_log_id().copied().map(Into::into),
        }
    }
}

/// Decodes a request to take leadership over.
pub fn transfer_request(
    request: pb::TransferRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, CodecError> {
    Ok(TransferLeaderRequest::new(vote(request.from)?, request.to, request.last.map(Into::into)))
}

/// Encodes the answer to a request to take leadership over.
pub fn transfer_reply_to_pb(response: TransferLeaderResponse<TypeConfig>) -> pb::TransferReply {
    use transfer_reply::{LogNotFlushed, Result as Reply, VoteChanged};
    let result = match response {
        Ok(()) => Reply::Accepted(true),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            Reply::VoteChanged(VoteChanged { expected: Some(expected.into()), actual: Some(actual.into()) })
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Reply::LogNotFlushed(LogNotFlushed {
            expected: expected.map(Into::into),
            actual: actual.map(Into::into),
        }),
    };
    pb::TransferReply { result: Some(result) }
}

/// Decodes the answer to a request to take leadership over.
pub fn transfer_reply(reply: pb::TransferReply) -> Result<TransferLeaderResponse<TypeConfig>, CodecError> {
    use transfer_reply::Result as Reply;
    Ok(match reply.result.ok_or(CodecError::Newer("TransferReply"))? {
        Reply::Accepted(_) => Ok(()),
        Reply::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
            expected: vote(changed.expected)?,
            actual: vote(changed.actual)?,
        }),
        Reply::LogNotFlushed(lag) => Err(TransferLeaderError::LogNotFlushed {
            expected: lag.expected.map(Into::into),
            actual: lag.actual.map(Into::into),
        }),
    })
}

/// The head of a snapshot stream.
pub fn snapshot_head(vote: Vote, meta: &SnapshotMeta, size: u64) -> pb::SnapshotHead {
    pb::SnapshotHead {
        vote: Some(vote.into()),
        last: meta.last_log_id.map(Into::into),
        membership_id: meta.last_membership.log_id().map(Into::into),
        membership: Some(meta.last_membership.membership().into()),
        size,
    }
}

/// Decodes the head of a snapshot stream: who sends it, and what it covers.
pub fn snapshot_head_from_pb(head: pb::SnapshotHead) -> Result<(Vote, SnapshotMeta), CodecError> {
    let membership = membership_from_pb(head.membership.ok_or(CodecError::Missing("membership"))?)?;
    let last_membership = StoredMembership::new(head.membership_id.map(Into::into), membership);
    Ok((vote(head.vote)?, SnapshotMeta { last_log_id: head.last.map(Into::into), last_membership }))
}
