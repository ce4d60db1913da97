//! Leases and their keys, as a batch sees them: the same wherever it is cut, at a cost that follows what
//! changes.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::{
    state::{
        Applied, Command, Doomed, Expire, GrantLease, Operation, Outcome, Position, Refusal, StateMachine,
        Step,
    },
    types::{Delete, Guard, KeyRange, LeaseId, LockKey, LockMode, Op, Put, Revision, Txn},
};

fn grant(lease: LeaseId) -> Operation {
    let (leases_max, sessions_max) = (u64::MAX, u64::MAX);
    Operation::Grant(GrantLease { lease, ttl_ms: 1000, session: false, leases_max, sessions_max })
}

fn put(key: impl Into<String>, lease: LeaseId) -> Put {
    Put { key: key.into().into(), value: "v".into(), lease, prev_kv: false }
}

fn expire(leases: impl Iterator<Item = LeaseId>) -> Operation {
    let leases = leases.map(|lease| Doomed { lease, granted_at: 0 }).collect();
    Operation::Expire(Expire { leases, term: 1 })
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

/// The state, when all that happens beside the log has happened.
fn settled(mut store: Store) -> Store {
    while store.machine.compactor().step(1 << 20).expect("a step") == Step::More {}
    store.machine = StateMachine::open(store.machine.engine()).expect("it opens");
    store
}

/// The token that a refusal names, for whoever had held the lock `l` and does not any more.
fn named(store: &mut Store) -> Option<Revision> {
    let owner_key = LockKey { name: "l".into(), session: 7, mode: LockMode::Exclusive }.encode();
    let guards = vec![Guard { owner_key, fencing_token: 2 }];
    let command = Command { guards, ..Operation::Marker.into() };
    let at = Position { term: 1, index: store.index };
    store.index += 1;
    let mut batch = store.machine.begin();
    let applied = store.machine.apply(&mut batch, at, &command).expect("applied");
    store.machine.commit(batch).expect("committed");
    match applied.outcome {
        Outcome::Refused(Refusal::LockLost { current_token, .. }) => Some(current_token),
        _ => None,
    }
}

#[test]
fn a_refusal_names_the_holder_unless_too_many_keys_lie_below_the_locks_name() {
    let place = LockKey { name: "l".into(), session: 8, mode: LockMode::Exclusive }.encode();
    let data = |number: u64| Operation::Put(put(format!("l/0data/{number:04}"), 0));
    let mut ops = vec![Operation::Put(Put { key: place, value: "".into(), lease: 0, prev_kv: false })];
    ops.extend((1..1024).map(data));
    let more = [Operation::Delete(delete("l/0data/0001".to_owned())), data(1024)];
    for batch in [1, 2000] {
        let mut store = Store::new();
        store.apply(&ops, batch);
        assert_eq!(named(&mut store), Some(2), "1024 keys are looked through");
        store.apply(&more, batch);
        assert_eq!(named(&mut store), Some(0), "one that was deleted counts as long as it is remembered");
        let mut store = settled(store);
        assert_eq!(named(&mut store), Some(0), "whatever else a member has done");
        store.apply(&[Operation::Compact(1026), Operation::Compact(1027)], batch);
        assert_eq!(named(&mut store), Some(2), "once it is compacted it does not, if dropped or not");
        let mut store = settled(store);
        assert_eq!(named(&mut store), Some(2));
        store.apply(&[data(1025)], batch);
        assert_eq!(named(&mut store), Some(0));
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
