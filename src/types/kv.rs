//! Keys, values, and what can be asked of them.

use bytes::Bytes;

use super::{LeaseId, Revision};

/// Which keys: `start <= key < end`; no end means no upper bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key, inclusive.
    pub start: Bytes,
    /// The end, exclusive.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Exactly one key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        let start = key.into();
        let mut end = Vec::with_capacity(start.len() + 1);
        end.extend_from_slice(&start);
        end.push(0);
        KeyRange { start, end: Some(end.into()) }
    }

    /// All keys that begin with `prefix`; with an empty prefix, all keys.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = match start.iter().rposition(|byte| *byte != 0xff) {
            None => None,
            Some(last) => {
                let mut end = start[..=last].to_vec();
                end[last] += 1;
                Some(end.into())
            }
        };
        KeyRange { start, end }
    }

    /// All keys.
    pub fn all() -> Self {
        KeyRange { start: Bytes::new(), end: None }
    }

    /// `start <= key < end`.
    pub fn interval(start: impl Into<Bytes>, end: Option<Bytes>) -> Self {
        KeyRange { start: start.into(), end }
    }

    /// The key, if the range holds exactly one.
    pub fn single(&self) -> Option<&Bytes> {
        let end = self.end.as_ref()?;
        let one = end.len() == self.start.len() + 1 && end.ends_with(&[0]) && end.starts_with(&self.start);
        one.then_some(&self.start)
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_ref().is_none_or(|end| *key < **end)
    }

    /// Whether no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether some key can lie in both.
    pub fn overlaps(&self, other: &KeyRange) -> bool {
        let below = |range: &KeyRange, start: &Bytes| range.end.as_ref().is_none_or(|end| *start < *end);
        !self.is_empty() && !other.is_empty() && below(self, &other.start) && below(other, &self.start)
    }
}

/// One key with its value and its history's coordinates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty in answers to `keys_only`.
    pub value: Bytes,
    /// The revision that created the key (since its last deletion).
    pub create_revision: Revision,
    /// The revision that last changed it.
    pub mod_revision: Revision,
    /// How often it was put since its creation: 1 for a new key.
    pub version: u64,
    /// The lease whose end deletes it; 0: none.
    pub lease: LeaseId,
}

/// Set a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The key: not empty, at most `Limits::key_bytes_max`.
    pub key: Bytes,
    /// The value: at most `Limits::value_bytes_max`; may be empty.
    pub value: Bytes,
    /// The lease whose end deletes the key; 0: none.
    pub lease: LeaseId,
    /// Answer with the pair that was replaced.
    pub prev_kv: bool,
}

/// Delete keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Which.
    pub keys: KeyRange,
    /// Answer with the pairs that were deleted.
    pub prev_kv: bool,
}

/// What to order a range by. Ties are ordered by key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// Bytewise order of keys.
    #[default]
    Key,
    /// `KeyValue::version`.
    Version,
    /// `KeyValue::create_revision`.
    CreateRevision,
    /// `KeyValue::mod_revision`.
    ModRevision,
    /// Bytewise order of values.
    Value,
}

/// Read keys. `Range::new(keys)` asks for all of them at the newest revision, in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which keys.
    pub keys: KeyRange,
    /// The state at this revision; 0: the newest. Must be 0 inside a transaction.
    pub revision: Revision,
    /// At most so many pairs; 0: as many as one answer may hold.
    pub limit: u64,
    /// The order of the answer.
    pub sort_by: SortBy,
    /// From the highest down.
    pub descending: bool,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Inclusive lower bound of `mod_revision`; 0: none.
    pub min_mod_revision: Revision,
    /// Inclusive upper bound of `mod_revision`; 0: none.
    pub max_mod_revision: Revision,
    /// Inclusive lower bound of `create_revision`; 0: none.
    pub min_create_revision: Revision,
    /// Inclusive upper bound of `create_revision`; 0: none.
    pub max_create_revision: Revision,
}

impl Range {
    /// All pairs of `keys` at the newest revision.
    pub fn new(keys: KeyRange) -> Self {
        Range {
            keys,
            revision: 0,
            limit: 0,
            sort_by: SortBy::Key,
            descending: false,
            keys_only: false,
            count_only: false,
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
        }
    }
}

/// What a range read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResult {
    /// The pairs, ordered as asked.
    pub kvs: Vec<KeyValue>,
    /// How many keys match, also beyond the limit.
    pub count: u64,
    /// Whether pairs were left out because of a limit.
    pub more: bool,
}

/// What to scan: a range of any size, at one revision.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which keys.
    pub keys: KeyRange,
    /// At which revision; 0: the newest when the scan begins.
    pub revision: Revision,
    /// Leave the values out.
    pub keys_only: bool,
}

/// How a comparison compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
}

/// What a comparison looks at, and the operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// The value. False for a key that does not exist, whatever the operator.
    Value(Bytes),
    /// `KeyValue::version`; 0 for a key that does not exist.
    Version(u64),
    /// `KeyValue::create_revision`; 0 for a key that does not exist.
    CreateRevision(Revision),
    /// `KeyValue::mod_revision`; 0 for a key that does not exist.
    ModRevision(Revision),
    /// `KeyValue::lease`; 0 for none or a key that does not exist.
    Lease(LeaseId),
}

/// One condition of a transaction: true if it holds for every existing key of `keys`; where none exists, if
/// it holds for a key that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The keys compared.
    pub keys: KeyRange,
    /// The stored side is on the left: `stored > operand`.
    pub operator: Operator,
    /// What is compared, with the operand.
    pub target: CompareTarget,
}

/// One operation of a transaction. Later operations see what earlier ones did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Set a key.
    Put(Put),
    /// Delete keys.
    Delete(Delete),
    /// Read keys, at the transaction's own point in history.
    Range(Range),
    /// A nested transaction.
    Txn(Txn),
}

/// All `compares` hold: `then_ops`, else `else_ops`; all of it at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The conditions; none: true.
    pub compares: Vec<Compare>,
    /// Done if all hold.
    pub then_ops: Vec<Op>,
    /// Done otherwise.
    pub else_ops: Vec<Op>,
}

/// What a delete did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteResult {
    /// How many keys were deleted.
    pub deleted: u64,
    /// The deleted pairs, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// What one operation of a transaction gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// Of a put: the pair it replaced, if asked for and there was one.
    Put(Option<KeyValue>),
    /// Of a delete.
    Delete(DeleteResult),
    /// Of a read.
    Range(RangeResult),
    /// Of a nested transaction.
    Txn(TxnResult),
}

/// What a transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether all compares held.
    pub succeeded: bool,
    /// One result for each operation of the branch that was taken.
    pub results: Vec<OpResult>,
}
