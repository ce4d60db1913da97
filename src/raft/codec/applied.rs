//! What applying a command gave: it crosses the wire when a follower forwarded the command.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::{CodecError, convert_all, parse};
use crate::{
    pb::internal::{
        self as pb, applied::Outcome as PbOutcome, op_outcome::Outcome as PbOpOutcome, refusal::Why,
    },
    state::{Applied, Outcome, Refusal},
    types::{DeleteResult, Granted, KeyValue, OpResult, RangeResult, Revoked, TxnResult},
};

/// Encodes what applying a command gave.
pub fn encode_applied(applied: &Applied) -> Bytes {
    pb::Applied::from(applied).encode_to_vec().into()
}

/// Decodes what applying a command gave.
pub fn decode_applied(encoded: Bytes) -> Result<Applied, CodecError> {
    parse::<pb::Applied>("Applied", encoded)?.try_into()
}

impl From<&Applied> for pb::Applied {
    fn from(applied: &Applied) -> Self {
        let outcome = match &applied.outcome {
            Outcome::Put(prev_kv) => PbOutcome::Put(put_outcome(prev_kv)),
            Outcome::Delete(result) => PbOutcome::Delete(result.into()),
            Outcome::Txn(result) => PbOutcome::Txn(result.into()),
            Outcome::Compact => PbOutcome::Compact(pb::Empty {}),
            Outcome::Marker => PbOutcome::Marker(pb::Empty {}),
            Outcome::Refused(refusal) => PbOutcome::Refused(refusal.into()),
            Outcome::Grant(granted) => PbOutcome::Grant(pb::GrantOutcome {
                lease: granted.id,
                ttl_ms: u64::try_from(granted.ttl.as_millis()).unwrap_or(u64::MAX),
            }),
            Outcome::Revoke(revoked) => PbOutcome::Revoke(pb::RevokeOutcome { deleted: revoked.deleted }),
            Outcome::Expire { leases, deleted } => {
                PbOutcome::Expire(pb::ExpireOutcome { leases: *leases, deleted: *deleted })
            }
        };
        pb::Applied {
            log_index: applied.log_index,
            log_term: applied.log_term,
            revision: applied.revision,
            outcome: Some(outcome),
            deduplicated: applied.deduplicated,
        }
    }
}

impl TryFrom<pb::Applied> for Applied {
    type Error = CodecError;

    fn try_from(applied: pb::Applied) -> Result<Self, CodecError> {
        let outcome = match applied.outcome.ok_or(CodecError::Newer("outcome"))? {
            PbOutcome::Put(put) => Outcome::Put(put.prev_kv.map(Into::into)),
            PbOutcome::Delete(delete) => Outcome::Delete(delete.into()),
            PbOutcome::Txn(txn) => Outcome::Txn(txn.try_into()?),
            PbOutcome::Compact(_) => Outcome::Compact,
            PbOutcome::Marker(_) => Outcome::Marker,
            PbOutcome::Refused(refusal) => Outcome::Refused(refusal.try_into()?),
            PbOutcome::Grant(granted) => {
                Outcome::Grant(Granted { id: granted.lease, ttl: Duration::from_millis(granted.ttl_ms) })
            }
            PbOutcome::Revoke(revoked) => Outcome::Revoke(Revoked { deleted: revoked.deleted }),
            PbOutcome::Expire(pb::ExpireOutcome { leases, deleted }) => Outcome::Expire { leases, deleted },
        };
        let pb::Applied { log_index, log_term, revision, deduplicated, .. } = applied;
        Ok(Applied { log_index, log_term, revision, outcome, deduplicated })
    }
}

impl From<&KeyValue> for pb::KeyValue {
    fn from(kv: &KeyValue) -> Self {
        pb::KeyValue {
            key: kv.key.clone(),
            value: kv.value.clone(),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

impl From<pb::KeyValue> for KeyValue {
    fn from(kv: pb::KeyValue) -> Self {
        KeyValue {
            key: kv.key,
            value: kv.value,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

fn put_outcome(prev_kv: &Option<KeyValue>) -> pb::PutOutcome {
    pb::PutOutcome { prev_kv: prev_kv.as_ref().map(Into::into) }
}

impl From<&DeleteResult> for pb::DeleteOutcome {
    fn from(result: &DeleteResult) -> Self {
        let prev_kvs = result.prev_kvs.iter().map(Into::into).collect();
        pb::DeleteOutcome { deleted: result.deleted, prev_kvs }
    }
}

impl From<pb::DeleteOutcome> for DeleteResult {
    fn from(outcome: pb::DeleteOutcome) -> Self {
        let prev_kvs = outcome.prev_kvs.into_iter().map(Into::into).collect();
        DeleteResult { deleted: outcome.deleted, prev_kvs }
    }
}

impl From<&RangeResult> for pb::RangeOutcome {
    fn from(result: &RangeResult) -> Self {
        let kvs = result.kvs.iter().map(Into::into).collect();
        pb::RangeOutcome { kvs, count: result.count, more: result.more }
    }
}

impl From<pb::RangeOutcome> for RangeResult {
    fn from(outcome: pb::RangeOutcome) -> Self {
        let kvs = outcome.kvs.into_iter().map(Into::into).collect();
        RangeResult { kvs, count: outcome.count, more: outcome.more }
    }
}

impl From<&TxnResult> for pb::TxnOutcome {
    fn from(result: &TxnResult) -> Self {
        let results = result.results.iter().map(Into::into).collect();
        pb::TxnOutcome { succeeded: result.succeeded, results }
    }
}

impl TryFrom<pb::TxnOutcome> for TxnResult {
    type Error = CodecError;

    fn try_from(outcome: pb::TxnOutcome) -> Result<Self, CodecError> {
        Ok(TxnResult { succeeded: outcome.succeeded, results: convert_all(outcome.results)? })
    }
}

impl From<&OpResult> for pb::OpOutcome {
    fn from(result: &OpResult) -> Self {
        let outcome = match result {
            OpResult::Put(prev_kv) => PbOpOutcome::Put(put_outcome(prev_kv)),
            OpResult::Delete(result) => PbOpOutcome::Delete(result.into()),
            OpResult::Range(result) => PbOpOutcome::Range(result.into()),
            OpResult::Txn(result) => PbOpOutcome::Txn(result.into()),
        };
        pb::OpOutcome { outcome: Some(outcome) }
    }
}

impl TryFrom<pb::OpOutcome> for OpResult {
    type Error = CodecError;

    fn try_from(result: pb::OpOutcome) -> Result<Self, CodecError> {
        Ok(match result.outcome.ok_or(CodecError::Newer("outcome in a transaction"))? {
            PbOpOutcome::Put(put) => OpResult::Put(put.prev_kv.map(Into::into)),
            PbOpOutcome::Delete(delete) => OpResult::Delete(delete.into()),
            PbOpOutcome::Range(range) => OpResult::Range(range.into()),
            PbOpOutcome::Txn(txn) => OpResult::Txn(txn.try_into()?),
        })
    }
}

impl From<&Refusal> for pb::Refusal {
    fn from(refusal: &Refusal) -> Self {
        use pb::refusal as why;
        let why = match refusal.clone() {
            Refusal::Compacted { requested, compacted } => {
                Why::Compacted(why::Compacted { requested, compacted })
            }
            Refusal::FutureRevision { requested, current } => {
                Why::FutureRevision(why::FutureRevision { requested, current })
            }
            Refusal::LeaseNotFound(lease) => Why::LeaseNotFound(why::LeaseNotFound { lease }),
            Refusal::LeaseExists(lease) => Why::LeaseExists(why::LeaseExists { lease }),
            Refusal::TooMany { what, limit } => Why::TooMany(why::TooMany { what, limit }),
            Refusal::SessionExpired(session) => Why::SessionExpired(why::SessionExpired { session }),
            Refusal::SessionSeq { seq, acknowledged_below } => {
                Why::SessionSeq(why::SessionSeq { seq, acknowledged_below })
            }
            Refusal::LockLost { owner_key, token, current_token } => {
                Why::LockLost(why::LockLost { owner_key, token, current_token })
            }
            Refusal::AnswerTooLarge { limit, actual } => {
                Why::AnswerTooLarge(why::AnswerTooLarge { limit, actual })
            }
        };
        pb::Refusal { why: Some(why) }
    }
}

impl TryFrom<pb::Refusal> for Refusal {
    type Error = CodecError;

    fn try_from(refusal: pb::Refusal) -> Result<Self, CodecError> {
        Ok(match refusal.why.ok_or(CodecError::Newer("refusal"))? {
            Why::Compacted(why) => Refusal::Compacted { requested: why.requested, compacted: why.compacted },
            Why::FutureRevision(why) => {
                Refusal::FutureRevision { requested: why.requested, current: why.current }
            }
            Why::LeaseNotFound(why) => Refusal::LeaseNotFound(why.lease),
            Why::LeaseExists(why) => Refusal::LeaseExists(why.lease),
            Why::TooMany(why) => Refusal::TooMany { what: why.what, limit: why.limit },
            Why::SessionExpired(why) => Refusal::SessionExpired(why.session),
            Why::SessionSeq(why) => {
                Refusal::SessionSeq { seq: why.seq, acknowledged_below: why.acknowledged_below }
            }
            Why::LockLost(why) => Refusal::LockLost {
                owner_key: why.owner_key,
                token: why.token,
                current_token: why.current_token,
            },
            Why::AnswerTooLarge(why) => Refusal::AnswerTooLarge { limit: why.limit, actual: why.actual },
        })
    }
}
