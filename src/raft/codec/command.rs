//! Commands: the replicated log format. Its tags are frozen (`proto/quorate/internal/command.proto`).

use bytes::Bytes;
use prost::Message;

use super::{CodecError, convert_all, parse};
use crate::{
    pb::internal::{self as pb, command::Op as PbCommand, compare::Target as PbTarget, op::Op as PbOp},
    state::{Command, Doomed, Expire, GrantLease, Operation},
    types::{
        Compare, CompareTarget, Delete, Guard, KeyRange, Op, Operator, Put, Range, SessionSeq, SortBy, Txn,
    },
};

/// How deep transactions may nest in the log. Each level is two messages, and a decoder gives up at 100.
/// `Limits::txn_depth_max` is far below; what is checked here is that no member can be given what it cannot
/// decode.
pub const TXN_DEPTH_MAX: usize = 32;

/// The first byte of a command in the log. No protobuf message begins with it, as other entries do.
pub const COMMAND: u8 = 0;

/// Encodes a command as the log stores it: [`COMMAND`], then the message.
pub fn encode_command(command: &Command) -> Result<Bytes, CodecError> {
    if let Operation::Txn(txn) = &command.op {
        let actual = depth(txn);
        if actual > TXN_DEPTH_MAX {
            return Err(CodecError::TooDeep { actual });
        }
    }
    let command = pb::Command::from(command);
    let mut record = Vec::with_capacity(1 + command.encoded_len());
    record.push(COMMAND);
    command.encode(&mut record).expect("a vector has room");
    Ok(record.into())
}

/// Decodes a command's message.
pub fn decode_command(encoded: Bytes) -> Result<Command, CodecError> {
    parse::<pb::Command>("Command", encoded)?.try_into()
}

fn depth(txn: &Txn) -> usize {
    let nested = txn.then_ops.iter().chain(&txn.else_ops);
    let deepest = nested.map(|op| if let Op::Txn(txn) = op { depth(txn) } else { 0 }).max();
    1 + deepest.unwrap_or(0)
}

impl From<&Command> for pb::Command {
    fn from(command: &Command) -> Self {
        let op = match &command.op {
            Operation::Put(put) => PbCommand::Put(put.into()),
            Operation::Delete(delete) => PbCommand::Delete(delete.into()),
            Operation::Txn(txn) => PbCommand::Txn(txn.into()),
            Operation::Compact(revision) => PbCommand::Compact(pb::Compact { revision: *revision }),
            Operation::Marker => PbCommand::Marker(pb::Marker {}),
            Operation::Grant(grant) => PbCommand::Grant((*grant).into()),
            Operation::Revoke(lease) => PbCommand::Revoke(pb::Revoke { lease: *lease }),
            Operation::Expire(expire) => PbCommand::Expire(expire.into()),
        };
        pb::Command {
            request_id: command.request_id.clone(),
            session: command.session.map(Into::into),
            guards: command.guards.iter().map(Into::into).collect(),
            op: Some(op),
        }
    }
}

impl TryFrom<pb::Command> for Command {
    type Error = CodecError;

    fn try_from(command: pb::Command) -> Result<Self, CodecError> {
        let op = match command.op.ok_or(CodecError::Newer("command"))? {
            PbCommand::Put(put) => Operation::Put(put.into()),
            PbCommand::Delete(delete) => Operation::Delete(delete.try_into()?),
            PbCommand::Txn(txn) => Operation::Txn(txn.try_into()?),
            PbCommand::Compact(compact) => Operation::Compact(compact.revision),
            PbCommand::Marker(_) => Operation::Marker,
            PbCommand::Grant(grant) => Operation::Grant(grant.into()),
            PbCommand::Revoke(revoke) => Operation::Revoke(revoke.lease),
            PbCommand::Expire(expire) => Operation::Expire(expire.into()),
        };
        Ok(Command {
            request_id: command.request_id,
            session: command.session.map(Into::into),
            guards: command.guards.into_iter().map(Into::into).collect(),
            op,
        })
    }
}

impl From<SessionSeq> for pb::SessionSeq {
    fn from(request: SessionSeq) -> Self {
        let SessionSeq { id: session_id, seq, ack_below } = request;
        pb::SessionSeq { session_id, seq, ack_below }
    }
}

impl From<pb::SessionSeq> for SessionSeq {
    fn from(request: pb::SessionSeq) -> Self {
        let pb::SessionSeq { session_id: id, seq, ack_below } = request;
        SessionSeq { id, seq, ack_below }
    }
}

impl From<&Guard> for pb::Guard {
    fn from(guard: &Guard) -> Self {
        pb::Guard { owner_key: guard.owner_key.clone(), fencing_token: guard.fencing_token }
    }
}

impl From<pb::Guard> for Guard {
    fn from(guard: pb::Guard) -> Self {
        Guard { owner_key: guard.owner_key, fencing_token: guard.fencing_token }
    }
}

impl From<GrantLease> for pb::Grant {
    fn from(grant: GrantLease) -> Self {
        let GrantLease { lease, ttl_ms, session, leases_max, sessions_max } = grant;
        pb::Grant { lease, ttl_ms, session, leases_max, sessions_max }
    }
}

impl From<pb::Grant> for GrantLease {
    fn from(grant: pb::Grant) -> Self {
        let pb::Grant { lease, ttl_ms, session, leases_max, sessions_max } = grant;
        GrantLease { lease, ttl_ms, session, leases_max, sessions_max }
    }
}

impl From<&Expire> for pb::Expire {
    fn from(expire: &Expire) -> Self {
        let (leases, granted_at) =
            expire.leases.iter().map(|doomed| (doomed.lease, doomed.granted_at)).unzip();
        pb::Expire { leases, term: expire.term, granted_at }
    }
}

impl From<pb::Expire> for Expire {
    fn from(expire: pb::Expire) -> Self {
        let granted_at = expire.granted_at.into_iter().chain(std::iter::repeat(0));
        let doomed = |(lease, granted_at)| Doomed { lease, granted_at };
        Expire { leases: expire.leases.into_iter().zip(granted_at).map(doomed).collect(), term: expire.term }
    }
}

impl From<&KeyRange> for pb::KeyRange {
    fn from(keys: &KeyRange) -> Self {
        pb::KeyRange { start: keys.start.clone(), end: keys.end.clone() }
    }
}

fn key_range(keys: Option<pb::KeyRange>) -> Result<KeyRange, CodecError> {
    let keys = keys.ok_or(CodecError::Missing("keys"))?;
    Ok(KeyRange { start: keys.start, end: keys.end })
}

impl From<&Put> for pb::Put {
    fn from(put: &Put) -> Self {
        pb::Put { key: put.key.clone(), value: put.value.clone(), lease: put.lease, prev_kv: put.prev_kv }
    }
}

impl From<pb::Put> for Put {
    fn from(put: pb::Put) -> Self {
        Put { key: put.key, value: put.value, lease: put.lease, prev_kv: put.prev_kv }
    }
}

impl From<&Delete> for pb::Delete {
    fn from(delete: &Delete) -> Self {
        pb::Delete { keys: Some((&delete.keys).into()), prev_kv: delete.prev_kv }
    }
}

impl TryFrom<pb::Delete> for Delete {
    type Error = CodecError;

    fn try_from(delete: pb::Delete) -> Result<Self, CodecError> {
        Ok(Delete { keys: key_range(delete.keys)?, prev_kv: delete.prev_kv })
    }
}

impl From<&Txn> for pb::Txn {
    fn from(txn: &Txn) -> Self {
        pb::Txn {
            compares: txn.compares.iter().map(Into::into).collect(),
            then_ops: txn.then_ops.iter().map(Into::into).collect(),
            else_ops: txn.else_ops.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Txn> for Txn {
    type Error = CodecError;

    fn try_from(txn: pb::Txn) -> Result<Self, CodecError> {
        Ok(Txn {
            compares: convert_all(txn.compares)?,
            then_ops: convert_all(txn.then_ops)?,
            else_ops: convert_all(txn.else_ops)?,
        })
    }
}

impl From<&Compare> for pb::Compare {
    fn from(compare: &Compare) -> Self {
        let target = match &compare.target {
            CompareTarget::Value(value) => PbTarget::Value(value.clone()),
            CompareTarget::Version(version) => PbTarget::Version(*version),
            CompareTarget::CreateRevision(revision) => PbTarget::CreateRevision(*revision),
            CompareTarget::ModRevision(revision) => PbTarget::ModRevision(*revision),
            CompareTarget::Lease(lease) => PbTarget::Lease(*lease),
        };
        let operator = match compare.operator {
            Operator::Equal => 0,
            Operator::NotEqual => 1,
            Operator::Greater => 2,
            Operator::Less => 3,
        };
        pb::Compare { keys: Some((&compare.keys).into()), operator, target: Some(target) }
    }
}

impl TryFrom<pb::Compare> for Compare {
    type Error = CodecError;

    fn try_from(compare: pb::Compare) -> Result<Self, CodecError> {
        let target = match compare.target.ok_or(CodecError::Newer("compare target"))? {
            PbTarget::Value(value) => CompareTarget::Value(value),
            PbTarget::Version(version) => CompareTarget::Version(version),
            PbTarget::CreateRevision(revision) => CompareTarget::CreateRevision(revision),
            PbTarget::ModRevision(revision) => CompareTarget::ModRevision(revision),
            PbTarget::Lease(lease) => CompareTarget::Lease(lease),
        };
        let operator = match compare.operator {
            0 => Operator::Equal,
            1 => Operator::NotEqual,
            2 => Operator::Greater,
            3 => Operator::Less,
            value => return Err(CodecError::UnknownValue { what: "Compare.operator", value }),
        };
        Ok(Compare { keys: key_range(compare.keys)?, operator, target })
    }
}

impl From<&Op> for pb::Op {
    fn from(op: &Op) -> Self {
        let op = match op {
            Op::Put(put) => PbOp::Put(put.into()),
            Op::Delete(delete) => PbOp::Delete(delete.into()),
            Op::Range(range) => PbOp::Range(range.into()),
            Op::Txn(txn) => PbOp::Txn(txn.into()),
        };
        pb::Op { op: Some(op) }
    }
}

impl TryFrom<pb::Op> for Op {
    type Error = CodecError;

    fn try_from(op: pb::Op) -> Result<Self, CodecError> {
        Ok(match op.op.ok_or(CodecError::Newer("operation of a transaction"))? {
            PbOp::Put(put) => Op::Put(put.into()),
            PbOp::Delete(delete) => Op::Delete(delete.try_into()?),
            PbOp::Range(range) => Op::Range(range.try_into()?),
            PbOp::Txn(txn) => Op::Txn(txn.try_into()?),
        })
    }
}

impl From<&Range> for pb::Range {
    fn from(range: &Range) -> Self {
        let sort_by = match range.sort_by {
            SortBy::Key => 0,
            SortBy::Version => 1,
            SortBy::CreateRevision => 2,
            SortBy::ModRevision => 3,
            SortBy::Value => 4,
        };
        pb::Range {
            keys: Some((&range.keys).into()),
            limit: range.limit,
            sort_by,
            descending: range.descending,
            keys_only: range.keys_only,
            count_only: range.count_only,
            min_mod_revision: range.min_mod_revision,
            max_mod_revision: range.max_mod_revision,
            min_create_revision: range.min_create_revision,
            max_create_revision: range.max_create_revision,
        }
    }
}

impl TryFrom<pb::Range> for Range {
    type Error = CodecError;

    fn try_from(range: pb::Range) -> Result<Self, CodecError> {
        let sort_by = match range.sort_by {
            0 => SortBy::Key,
            1 => SortBy::Version,
            2 => SortBy::CreateRevision,
            3 => SortBy::ModRevision,
            4 => SortBy::Value,
            value => return Err(CodecError::UnknownValue { what: "Range.sort_by", value }),
        };
        Ok(Range {
            keys: key_range(range.keys)?,
            // A transaction reads at its own point in history: the log has no revision here.
            revision: 0,
            limit: range.limit,
            sort_by,
            descending: range.descending,
            keys_only: range.keys_only,
            count_only: range.count_only,
            min_mod_revision: range.min_mod_revision,
            max_mod_revision: range.max_mod_revision,
            min_create_revision: range.min_create_revision,
            max_create_revision: range.max_create_revision,
        })
    }
}
