//! The naive store that the real one must agree with: a whole map for every revision. And random commands.

use std::{cmp::Ordering, collections::BTreeMap};

use proptest::prelude::*;
use quorate::{
    state::{Operation, Outcome, Refusal},
    types::{
        Compare, CompareTarget, Delete, DeleteResult, KeyRange, KeyValue, Op, OpResult, Operator, Put, Range,
        RangeResult, Revision, SortBy, Txn, TxnResult,
    },
};

type Map = BTreeMap<Vec<u8>, KeyValue>;

/// All maps, by revision.
pub struct Model {
    maps: BTreeMap<Revision, Map>,
    pub compact_revision: Revision,
}

impl Model {
    pub fn new() -> Model {
        Model { maps: [(1, Map::new())].into(), compact_revision: 1 }
    }

    pub fn revision(&self) -> Revision {
        *self.maps.last_key_value().expect("a map").0
    }

    /// Revisions that can be read.
    pub fn readable(&self) -> impl Iterator<Item = Revision> {
        self.compact_revision..=self.revision()
    }

    pub fn apply(&mut self, op: &Operation) -> Outcome {
        let revision = self.revision() + 1;
        let map = self.maps[&self.revision()].clone();
        let mut change = Change { map, revision, changed: false };
        let outcome = match op {
            Operation::Put(put) => Outcome::Put(change.put(put)),
            Operation::Delete(delete) => Outcome::Delete(change.delete(delete)),
            Operation::Txn(txn) => Outcome::Txn(change.txn(txn)),
            Operation::Compact(requested) => self.compact(*requested),
            Operation::Marker => Outcome::Marker,
            other => unreachable!("not modelled: {other:?}"),
        };
        if change.changed {
            self.maps.insert(revision, change.map);
        }
        outcome
    }

    fn compact(&mut self, requested: Revision) -> Outcome {
        let (current, compacted) = (self.revision(), self.compact_revision);
        if requested > current {
            return Outcome::Refused(Refusal::FutureRevision { requested, current });
        }
        if requested < compacted {
            return Outcome::Refused(Refusal::Compacted { requested, compacted });
        }
        self.compact_revision = requested;
        Outcome::Compact
    }

    pub fn range(&self, range: &Range) -> RangeResult {
        let revision = if range.revision == 0 { self.revision() } else { range.revision };
        select(&self.maps[&revision], range)
    }
}

/// One command under way.
struct Change {
    map: Map,
    revision: Revision,
    changed: bool,
}

impl Change {
    fn put(&mut self, put: &Put) -> Option<KeyValue> {
        self.changed = true;
        let old = self.map.get(&*put.key).cloned();
        let new = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision: old.as_ref().map_or(self.revision, |old| old.create_revision),
            mod_revision: self.revision,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            lease: put.lease,
        };
        self.map.insert(put.key.to_vec(), new);
        old.filter(|_| put.prev_kv)
    }

    fn delete(&mut self, delete: &Delete) -> DeleteResult {
        let doomed = matching(&self.map, &delete.keys);
        doomed.iter().for_each(|kv| drop(self.map.remove(&*kv.key)));
        self.changed |= !doomed.is_empty();
        let deleted = doomed.len() as u64;
        DeleteResult { deleted, prev_kvs: if delete.prev_kv { doomed } else { Vec::new() } }
    }

    fn txn(&mut self, txn: &Txn) -> TxnResult {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.then_ops } else { &txn.else_ops };
        let op = |op: &Op| match op {
            Op::Put(put) => OpResult::Put(self.put(put)),
            Op::Delete(delete) => OpResult::Delete(self.delete(delete)),
            Op::Range(range) => OpResult::Range(select(&self.map, range)),
            Op::Txn(txn) => OpResult::Txn(self.txn(txn)),
        };
        TxnResult { succeeded, results: ops.iter().map(op).collect() }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found = matching(&self.map, &compare.keys);
        let number = |stored: u64, operand: u64| compared(stored.cmp(&operand), compare.operator);
        let one = |kv: Option<&KeyValue>| match &compare.target {
            CompareTarget::Value(operand) => {
                kv.is_some_and(|kv| compared(kv.value.cmp(operand), compare.operator))
            }
            CompareTarget::Version(operand) => number(kv.map_or(0, |kv| kv.version), *operand),
            CompareTarget::CreateRevision(operand) => number(kv.map_or(0, |kv| kv.create_revision), *operand),
            CompareTarget::ModRevision(operand) => number(kv.map_or(0, |kv| kv.mod_revision), *operand),
            CompareTarget::Lease(operand) => number(kv.map_or(0, |kv| kv.lease), *operand),
        };
        if found.is_empty() { one(None) } else { found.iter().all(|kv| one(Some(kv))) }
    }
}

fn compared(order: Ordering, operator: Operator) -> bool {
    match operator {
        Operator::Equal => order == Ordering::Equal,
        Operator::NotEqual => order != Ordering::Equal,
        Operator::Greater => order == Ordering::Greater,
        Operator::Less => order == Ordering::Less,
    }
}

fn matching(map: &Map, keys: &KeyRange) -> Vec<KeyValue> {
    map.values().filter(|kv| keys.contains(&kv.key)).cloned().collect()
}

/// Filter, sort, cut: as the documentation says it.
fn select(map: &Map, range: &Range) -> RangeResult {
    let within = |revision, min, max| revision >= min && (max == 0 || revision <= max);
    let mut kvs = matching(map, &range.keys);
    kvs.retain(|kv| {
        within(kv.mod_revision, range.min_mod_revision, range.max_mod_revision)
            && within(kv.create_revision, range.min_create_revision, range.max_create_revision)
    });
    kvs.sort_by(|a, b| {
        let order = match range.sort_by {
            SortBy::Key => a.key.cmp(&b.key),
            SortBy::Version => a.version.cmp(&b.version),
            SortBy::CreateRevision => a.create_revision.cmp(&b.create_revision),
            SortBy::ModRevision => a.mod_revision.cmp(&b.mod_revision),
            SortBy::Value => a.value.cmp(&b.value),
        };
        let order = if range.descending { order.reverse() } else { order };
        order.then(a.key.cmp(&b.key))
    });
    let count = kvs.len() as u64;
    if range.limit > 0 {
        kvs.truncate(range.limit as usize);
    }
    if range.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Default::default());
    }
    if range.count_only {
        return RangeResult { count, ..RangeResult::default() };
    }
    RangeResult { more: count > kvs.len() as u64, kvs, count }
}

/// Few keys, so that they meet; one is a prefix of others, one is above all.
fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "b/1", "b/2", "c", "\u{7f}"])
}

fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "1", "2", "22", "a longer value"])
}

fn keys() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        4 => key().prop_map(KeyRange::key),
        1 => key().prop_map(KeyRange::prefix),
        1 => Just(KeyRange::all()),
        1 => (key(), prop::option::of(key())).prop_map(|(start, end)| {
            KeyRange::interval(start, end.map(Into::into))
        }),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    let build = |(key, value, prev_kv): (&'static str, &'static str, bool)| Put {
        key: key.into(),
        value: value.into(),
        lease: 0,
        prev_kv,
    };
    (key(), value(), any::<bool>()).prop_map(build)
}

fn delete() -> impl Strategy<Value = Delete> {
    (keys(), any::<bool>()).prop_map(|(keys, prev_kv)| Delete { keys, prev_kv })
}

/// A read of the newest revision.
pub fn range() -> impl Strategy<Value = Range> {
    let sort_by = prop::sample::select(vec![
        SortBy::Key,
        SortBy::Version,
        SortBy::CreateRevision,
        SortBy::ModRevision,
        SortBy::Value,
    ]);
    let bound = || prop_oneof![3 => Just(0u64), 1 => 1u64..20];
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
    let filters = (bound(), bound(), bound(), bound());
    (keys(), 0u64..4, sort_by, flags, filters).prop_map(|(keys, limit, sort_by, flags, filters)| {
        let (descending, keys_only, count_only) = flags;
        let (min_mod_revision, max_mod_revision, min_create_revision, max_create_revision) = filters;
        Range {
            limit,
            sort_by,
            descending,
            keys_only,
            count_only,
            min_mod_revision,
            max_mod_revision,
            min_create_revision,
            max_create_revision,
            ..Range::new(keys)
        }
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let operator =
        prop::sample::select(vec![Operator::Equal, Operator::NotEqual, Operator::Greater, Operator::Less]);
    let target = prop_oneof![
        value().prop_map(|value| CompareTarget::Value(value.into())),
        (0u64..4).prop_map(CompareTarget::Version),
        (0u64..20).prop_map(CompareTarget::CreateRevision),
        (0u64..20).prop_map(CompareTarget::ModRevision),
        (0u64..2).prop_map(CompareTarget::Lease),
    ];
    (keys(), operator, target).prop_map(|(keys, operator, target)| Compare { keys, operator, target })
}

/// Also transactions that validation refuses: apply must be right about them all the same.
fn txn() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        3 => put().prop_map(Op::Put),
        2 => delete().prop_map(Op::Delete),
        2 => range().prop_map(Op::Range),
    ];
    let op = leaf.prop_recursive(2, 8, 3, |op| txn_of(op).prop_map(Op::Txn));
    txn_of(op)
}

fn txn_of(op: impl Strategy<Value = Op> + Clone) -> impl Strategy<Value = Txn> {
    let compares = prop::collection::vec(compare(), 0..3);
    let ops = || prop::collection::vec(op.clone(), 0..4);
    (compares, ops(), ops()).prop_map(|(compares, then_ops, else_ops)| Txn { compares, then_ops, else_ops })
}

pub fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => put().prop_map(Operation::Put),
        3 => delete().prop_map(Operation::Delete),
        3 => txn().prop_map(Operation::Txn),
        1 => (0u64..30).prop_map(Operation::Compact),
        1 => Just(Operation::Marker),
    ]
}
