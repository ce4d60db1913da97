//! Keys, values, single operations and their results.

use super::{all, each, enumerated, required};
use crate::{
    error::Error,
    pb::v1,
    types::{Delete, DeleteResult, KeyRange, KeyValue, OpResult, Put, Range, RangeResult, SortBy, TxnResult},
};

impl From<KeyRange> for v1::Keys {
    fn from(range: KeyRange) -> Self {
        let of = match range.single() {
            Some(key) => v1::keys::Of::Key(key.clone()),
            None => v1::keys::Of::Interval(v1::keys::Interval { start: range.start, end: range.end }),
        };
        v1::Keys { of: Some(of) }
    }
}

impl TryFrom<v1::Keys> for KeyRange {
    type Error = Error;

    fn try_from(keys: v1::Keys) -> Result<Self, Error> {
        Ok(match required("keys (a key, a prefix or an interval)", keys.of)? {
            v1::keys::Of::Key(key) => KeyRange::key(key),
            v1::keys::Of::Prefix(prefix) => KeyRange::prefix(prefix),
            v1::keys::Of::Interval(interval) => KeyRange::interval(interval.start, interval.end),
        })
    }
}

/// The range of a field of type `Keys`, which must be there.
pub(super) fn key_range(keys: Option<v1::Keys>) -> Result<KeyRange, Error> {
    required("keys", keys)?.try_into()
}

impl From<KeyValue> for v1::KeyValue {
    fn from(kv: KeyValue) -> Self {
        let KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
        v1::KeyValue { key, value, create_revision, mod_revision, version, lease }
    }
}

impl From<v1::KeyValue> for KeyValue {
    fn from(kv: v1::KeyValue) -> Self {
        let v1::KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
        KeyValue { key, value, create_revision, mod_revision, version, lease }
    }
}

impl From<Put> for v1::PutRequest {
    fn from(put: Put) -> Self {
        let Put { key, value, lease, prev_kv } = put;
        v1::PutRequest { key, value, lease, prev_kv, exactness: None }
    }
}

impl From<v1::PutRequest> for Put {
    fn from(put: v1::PutRequest) -> Self {
        let v1::PutRequest { key, value, lease, prev_kv, .. } = put;
        Put { key, value, lease, prev_kv }
    }
}

impl From<Delete> for v1::DeleteRequest {
    fn from(delete: Delete) -> Self {
        v1::DeleteRequest { keys: Some(delete.keys.into()), prev_kv: delete.prev_kv, exactness: None }
    }
}

impl TryFrom<v1::DeleteRequest> for Delete {
    type Error = Error;

    fn try_from(delete: v1::DeleteRequest) -> Result<Self, Error> {
        Ok(Delete { keys: key_range(delete.keys)?, prev_kv: delete.prev_kv })
    }
}

impl From<SortBy> for v1::range_query::SortBy {
    fn from(sort_by: SortBy) -> Self {
        match sort_by {
            SortBy::Key => Self::Key,
            SortBy::Version => Self::Version,
            SortBy::CreateRevision => Self::CreateRevision,
            SortBy::ModRevision => Self::ModRevision,
            SortBy::Value => Self::Value,
        }
    }
}

impl From<v1::range_query::SortBy> for SortBy {
    fn from(sort_by: v1::range_query::SortBy) -> Self {
        use v1::range_query::SortBy as Wire;
        match sort_by {
            Wire::Key => SortBy::Key,
            Wire::Version => SortBy::Version,
            Wire::CreateRevision => SortBy::CreateRevision,
            Wire::ModRevision => SortBy::ModRevision,
            Wire::Value => SortBy::Value,
        }
    }
}

impl From<Range> for v1::RangeQuery {
    fn from(range: Range) -> Self {
        v1::RangeQuery {
            keys: Some(range.keys.into()),
            revision: range.revision,
            limit: range.limit,
            sort_by: v1::range_query::SortBy::from(range.sort_by).into(),
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

impl TryFrom<v1::RangeQuery> for Range {
    type Error = Error;

    fn try_from(query: v1::RangeQuery) -> Result<Self, Error> {
        Ok(Range {
            keys: key_range(query.keys)?,
            revision: query.revision,
            limit: query.limit,
            sort_by: enumerated::<v1::range_query::SortBy>("sort_by", query.sort_by)?.into(),
            descending: query.descending,
            keys_only: query.keys_only,
            count_only: query.count_only,
            min_mod_revision: query.min_mod_revision,
            max_mod_revision: query.max_mod_revision,
            min_create_revision: query.min_create_revision,
            max_create_revision: query.max_create_revision,
        })
    }
}

impl From<RangeResult> for v1::RangeResult {
    fn from(result: RangeResult) -> Self {
        v1::RangeResult { kvs: each(result.kvs), count: result.count, more: result.more }
    }
}

impl From<v1::RangeResult> for RangeResult {
    fn from(result: v1::RangeResult) -> Self {
        RangeResult { kvs: each(result.kvs), count: result.count, more: result.more }
    }
}

impl From<DeleteResult> for v1::DeleteResult {
    fn from(result: DeleteResult) -> Self {
        v1::DeleteResult { deleted: result.deleted, prev_kvs: each(result.prev_kvs) }
    }
}

impl From<v1::DeleteResult> for DeleteResult {
    fn from(result: v1::DeleteResult) -> Self {
        DeleteResult { deleted: result.deleted, prev_kvs: each(result.prev_kvs) }
    }
}

impl From<OpResult> for v1::OpResult {
    fn from(result: OpResult) -> Self {
        use v1::op_result::Result as Wire;
        let result = match result {
            OpResult::Put(prev_kv) => Wire::Put(v1::PutResult { prev_kv: prev_kv.map(Into::into) }),
            OpResult::Delete(result) => Wire::Delete(result.into()),
            OpResult::Range(result) => Wire::Range(result.into()),
            OpResult::Txn(result) => Wire::Txn(result.into()),
        };
        v1::OpResult { result: Some(result) }
    }
}

impl TryFrom<v1::OpResult> for OpResult {
    type Error = Error;

    fn try_from(result: v1::OpResult) -> Result<Self, Error> {
        use v1::op_result::Result as Wire;
        Ok(match required("result", result.result)? {
            Wire::Put(result) => OpResult::Put(result.prev_kv.map(Into::into)),
            Wire::Delete(result) => OpResult::Delete(result.into()),
            Wire::Range(result) => OpResult::Range(result.into()),
            Wire::Txn(result) => OpResult::Txn(result.try_into()?),
        })
    }
}

impl From<TxnResult> for v1::TxnResult {
    fn from(result: TxnResult) -> Self {
        v1::TxnResult { succeeded: result.succeeded, results: each(result.results) }
    }
}

/// Recurses no deeper than protobuf's own decoder, which stops at 100 levels.
impl TryFrom<v1::TxnResult> for TxnResult {
    type Error = Error;

    fn try_from(result: v1::TxnResult) -> Result<Self, Error> {
        Ok(TxnResult { succeeded: result.succeeded, results: all(result.results)? })
    }
}
