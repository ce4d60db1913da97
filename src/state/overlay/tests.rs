//! Leases and their keys, as a batch sees them: the same wherever it is cut, at a cost that follows what
//! changes.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::{
    state::{Applied, Command, Expire, GrantLease, Operation, Position, StateMachine},
    types::{Delete, KeyRange, LeaseId, Op, Put, Txn},
};

fn grant(lease: LeaseId) -> Operation {
    let (leases_max, sessions_max) = (u64::MAX, u64::MAX);
    Operation::Grant(GrantLease { lease, ttl_ms: 1000, session: false, leases_max, sessions_max })
}

fn put(key: impl Into<String>, lease: LeaseId) -> Put {
    Put { key: key.into().into(), value: "v".into(), lease, prev_kv: false }
}

fn expire(leases: impl Iterator<Item = LeaseId>) -> Operation {
    Operation::Expire(Expire { leases: leases.collect(), term: 1 })
}

/// A state, fed with one log.
struct Store {
    machine: StateMachine,
    index: u64,
}

impl Store {
    fn new() -> Store {
        Store { machine: StateMachine::in_memory(), index: 0 }
    }

    /// Applies operations in batches of so many.
    fn apply(&mut self, ops: &[Operation], batch: usize) -> Vec<Applied> {
        let mut answers = Vec::new();
        for ops in ops.chunks(batch) {
            let mut batch = self.machine.begin();
            for op in ops {
                let at = Position { term: 1, index: self.index };
                self.index += 1;
                let applied = self.machine.apply(&mut batch, at, &Command::from(op.clone()));
                answers.push(applied.expect("applied"));
            }
            self.machine.commit(batch).expect("committed");
        }
        answers
    }

    /// All that can be seen of keys and leases.
    fn seen(&self) -> (u128, u128, Vec<(LeaseId, usize)>) {
        let reader = self.machine.reader();
        let leases = reader.leases(0, usize::MAX).0;
        let keys = |lease| {
            let (keys, count) = reader.keys_of_lease(lease, usize::MAX);
            assert_eq!((keys.len(), reader.keys_of_lease(lease, 0).1), (count, count), "they are counted");
            assert_eq!(reader.keys_of_lease(lease, 1).0, keys[..count.min(1)]);
            (lease, count)
        };
        let leases = leases.iter().map(|lease| keys(lease.lease)).collect();
        (reader.hash(0).expect("readable").hash, reader.leases_hash().0, leases)
    }
}

/// What a follower that was away gets in one batch.
#[test]
#[expect(clippy::disallowed_methods, reason = "it measures, with one run against the other")]
fn the_ends_of_a_hundred_thousand_leases_in_one_batch_cost_about_what_they_cost_one_by_one() {
    const ENDS: u64 = 400;
    const LEASES: u64 = 256;
    let all = 1..=ENDS * LEASES;
    let grants: Vec<_> = all.clone().map(grant).collect();
    let puts: Vec<_> =
        all.map(|lease| Operation::Put(put(format!("{lease:06}"), lease % (ENDS * LEASES) + 1))).collect();
    let ends: Vec<_> = (0..ENDS).map(|end| expire(end * LEASES + 1..=(end + 1) * LEASES)).collect();
    let run = |batch: usize| {
        let mut store = Store::new();
        store.apply(&grants, 10_000);
        store.apply(&puts, 10_000);
        let began = Instant::now();
        let answers = store.apply(&ends, batch);
        (answers, store.seen(), began.elapsed())
    };
    let (one_by_one, expected, each) = run(1);
    let (at_once, seen, together) = run(ends.len());
    assert_eq!(at_once, one_by_one);
    assert_eq!(seen, expected);
    assert_eq!(seen.2, []);
    assert!(together < each * 5 + Duration::from_secs(1), "{together:?} at once, {each:?} one by one");
}

fn lease() -> impl Strategy<Value = LeaseId> {
    1..4_u64
}

fn key() -> impl Strategy<Value = String> {
    "[a-d]"
}

fn delete(key: String) -> Delete {
    Delete { keys: KeyRange::key(key), prev_kv: false }
}

/// A transaction that writes, and in the end may be refused, for a lease that does not exist.
fn txn() -> impl Strategy<Value = Operation> {
    let op = prop_oneof![
        4 => (key(), 0..4_u64).prop_map(|(key, lease)| Op::Put(put(key, lease))),
        1 => key().prop_map(|key| Op::Delete(delete(key))),
        1 => key().prop_map(|key| Op::Put(put(key, 99))),
    ];
    proptest::collection::vec(op, 1..4)
        .prop_map(|then_ops| Operation::Txn(Txn { then_ops, ..Txn::default() }))
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => lease().prop_map(grant),
        4 => (key(), 0..4_u64).prop_map(|(key, lease)| Operation::Put(put(key, lease))),
        1 => key().prop_map(|key| Operation::Delete(delete(key))),
        3 => txn(),
        1 => lease().prop_map(Operation::Revoke),
        1 => lease().prop_map(|lease| expire(lease..lease + 2)),
    ]
}

proptest! {
    #[test]
    fn where_a_log_is_cut_changes_no_end_of_a_lease(
        ops in proptest::collection::vec(operation(), 1..40),
        batch in 2..40_usize,
    ) {
        let (mut cut, mut uncut) = (Store::new(), Store::new());
        prop_assert_eq!(cut.apply(&ops, 1), uncut.apply(&ops, batch));
        prop_assert_eq!(cut.seen(), uncut.seen());
    }
}
