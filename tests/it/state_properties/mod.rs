//! What must hold of the state whatever the log says, however it is cut, and whatever goes on beside it.

mod concurrency;
mod damage;
mod model;

use std::sync::Arc;

use proptest::prelude::*;
use quorate::{
    state::{Applied, Command, Hashed, Operation, Outcome, Position, ReadError, StateMachine, StateReader},
    storage::{Engine, MemoryEngine},
    types::{KeyRange, KeyValue, Limits, Range, Revision},
};

use self::model::{Model, operation, range};

fn memory() -> Arc<dyn Engine> {
    Arc::new(MemoryEngine::new())
}

fn machine() -> StateMachine {
    StateMachine::open(memory()).expect("an empty store")
}

fn command(op: Operation) -> Command {
    op.into()
}

/// The entry that follows what is committed.
fn next(machine: &StateMachine) -> Position {
    Position { term: 1, index: machine.applied().map_or(0, |at| at.index + 1) }
}

/// Applies one command as a batch of its own.
fn apply(machine: &mut StateMachine, op: &Operation) -> Applied {
    let mut batch = machine.begin();
    let at = next(machine);
    let applied = machine.apply(&mut batch, at, &command(op.clone())).expect("applied");
    machine.commit(batch).expect("committed");
    applied
}

fn get_all(reader: &StateReader, revision: Revision) -> Vec<KeyValue> {
    let range = Range { revision, ..Range::new(KeyRange::all()) };
    reader.range(&range, &Limits::default()).expect("readable").0.kvs
}

/// All that can be read of a state: pairs and hash at every readable revision.
fn everything(machine: &StateMachine) -> Vec<(Vec<KeyValue>, Hashed)> {
    let reader = machine.reader();
    let view = reader.position();
    let at = |revision| (get_all(&reader, revision), reader.hash(revision).expect("readable"));
    (view.compact_revision..=view.revision).map(at).collect()
}

/// What happens beside the log.
#[derive(Clone, Debug)]
enum Beside {
    Nothing,
    Commit,
    Step(usize),
    Reopen,
    Snapshot,
}

fn beside() -> impl Strategy<Value = Beside> {
    prop_oneof![
        4 => Just(Beside::Nothing),
        4 => Just(Beside::Commit),
        4 => (1usize..300).prop_map(Beside::Step),
        1 => Just(Beside::Reopen),
        1 => Just(Beside::Snapshot),
    ]
}

/// Applies a log as it is cut by `beside`, which is repeated as needed.
fn run_cut(log: &[Operation], beside: &[Beside]) -> (StateMachine, Vec<Applied>) {
    let mut machine = machine();
    let mut batch = machine.begin();
    let mut answers = Vec::new();
    for (index, (op, beside)) in log.iter().zip(beside.iter().cycle()).enumerate() {
        let at = Position { term: 1, index: index as u64 };
        answers.push(machine.apply(&mut batch, at, &command(op.clone())).expect("applied"));
        match beside {
            Beside::Nothing => continue,
            Beside::Step(bytes) => {
                machine.compactor().step(*bytes).expect("a step");
                continue;
            }
            Beside::Commit => drop(machine.commit(batch).expect("committed")),
            Beside::Reopen => {
                machine.commit(batch).expect("committed");
                machine = StateMachine::open(machine.engine()).expect("opens");
            }
            Beside::Snapshot => {
                machine.commit(batch).expect("committed");
                machine = reloaded(&machine);
            }
        }
        batch = machine.begin();
    }
    machine.commit(batch).expect("committed");
    (machine, answers)
}

fn snapshot_of(machine: &StateMachine) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = machine.pin().write(&mut bytes).expect("written");
    assert_eq!(written, bytes.len() as u64);
    bytes
}

fn reloaded(machine: &StateMachine) -> StateMachine {
    StateMachine::load(memory(), &snapshot_of(machine)[..]).expect("loads")
}

fn compact_fully(machine: &StateMachine) {
    let compactor = machine.compactor();
    while compactor.step(500).expect("a step") != quorate::state::Step::Idle {}
}

fn log() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn answers_and_history_are_those_of_the_model(
        log in log(),
        queries in prop::collection::vec(range(), 8),
    ) {
        let (mut machine, mut model) = (machine(), Model::new());
        for op in &log {
            let (expected, applied) = (model.apply(op), apply(&mut machine, op));
            prop_assert_eq!(applied.outcome, expected, "{:?}", op);
            prop_assert_eq!(applied.revision, model.revision());
        }
        compact_fully(&machine);
        let reader = machine.reader();
        for revision in model.readable() {
            for query in &queries {
                let query = Range { revision, ..query.clone() };
                let (result, view) = reader.range(&query, &Limits::default()).expect("readable");
                prop_assert_eq!(result, model.range(&query), "{:?}", query);
                prop_assert_eq!(view.revision, model.revision());
            }
        }
        prop_assert_eq!(reader.position().keys, get_all(&reader, 0).len() as u64);
        if model.compact_revision > 1 {
            let below = Range { revision: model.compact_revision - 1, ..queries[0].clone() };
            let refused = reader.range(&below, &Limits::default());
            let compacted = matches!(refused, Err(ReadError::Compacted { .. }));
            prop_assert!(compacted);
        }
    }

    #[test]
    fn the_cut_of_the_log_changes_nothing(log in log(), cut in prop::collection::vec(beside(), 1..12)) {
        let (one_by_one, expected) = run_cut(&log, &[Beside::Commit]);
        let (machine, answers) = run_cut(&log, &cut);
        prop_assert_eq!(answers, expected);
        prop_assert_eq!(machine.reader().position(), one_by_one.reader().position());
        prop_assert_eq!(everything(&machine), everything(&one_by_one));
        compact_fully(&machine);
        prop_assert_eq!(everything(&machine), everything(&one_by_one));
    }

    #[test]
    fn a_loaded_snapshot_answers_and_goes_on_as_the_original(log in log(), later in log()) {
        let (mut original, _) = run_cut(&log, &[Beside::Commit, Beside::Step(100)]);
        let mut loaded = reloaded(&original);
        prop_assert_eq!(loaded.applied(), original.applied());
        prop_assert_eq!(everything(&loaded), everything(&original));
        for op in &later {
            prop_assert_eq!(apply(&mut loaded, op), apply(&mut original, op));
        }
        compact_fully(&loaded);
        prop_assert_eq!(everything(&loaded), everything(&original));
    }

    #[test]
    fn compaction_leaves_no_more_than_is_visible(log in log()) {
        let (mut machine, _) = run_cut(&log, &[Beside::Commit, Beside::Step(100)]);
        // What happened at the very compact revision stays, be it the end of a key: here it is this put.
        let last = quorate::types::Put { key: "last".into(), ..Default::default() };
        apply(&mut machine, &Operation::Put(last));
        let revision = machine.reader().position().revision;
        apply(&mut machine, &Operation::Compact(revision));
        compact_fully(&machine);
        let summary = quorate::state::snapshot::verify(&snapshot_of(&machine)[..]).expect("whole");
        prop_assert_eq!(summary.records, machine.reader().position().keys);
    }
}

#[test]
fn a_hole_in_the_log_is_refused() {
    let mut machine = machine();
    apply(&mut machine, &Operation::Marker);
    for (term, index) in [(1, 0), (1, 2), (0, 1)] {
        let mut batch = machine.begin();
        let error = machine.note(&mut batch, Position { term, index }).unwrap_err();
        assert!(error.to_string().starts_with("log hole"), "{error}");
    }
    let mut first = StateMachine::open(memory()).expect("opens");
    let mut batch = first.begin();
    assert!(first.note(&mut batch, Position { term: 1, index: 5 }).is_err(), "a log begins with 0");
}

#[test]
fn a_batch_that_was_overtaken_is_refused() {
    let mut machine = machine();
    let mut stale = machine.begin();
    let at = next(&machine);
    machine.note(&mut stale, at).expect("noted");
    apply(&mut machine, &Operation::Marker);
    let error = machine.commit(stale).unwrap_err();
    assert!(error.to_string().contains("a batch that began at None"), "{error}");
}

#[test]
fn an_answer_with_too_many_deleted_pairs_is_refused_and_changes_nothing() {
    let mut machine = machine();
    let value = vec![7; 1 << 20];
    for key in ["a", "b", "c", "d"] {
        let put = quorate::types::Put { key: key.into(), value: value.clone().into(), ..Default::default() };
        apply(&mut machine, &Operation::Put(put));
    }
    let delete = |prev_kv| Operation::Delete(quorate::types::Delete { keys: KeyRange::all(), prev_kv });
    let refused = apply(&mut machine, &delete(true));
    assert!(matches!(refused.outcome, Outcome::Refused(_)), "{:?}", refused.outcome);
    assert_eq!((refused.revision, machine.reader().position().keys), (5, 4));
    let read = quorate::types::Op::Range(Range::new(KeyRange::all()));
    let read = quorate::types::Txn { then_ops: vec![read.clone(), read], ..Default::default() };
    let Outcome::Txn(answer) = apply(&mut machine, &Operation::Txn(read)).outcome else { panic!() };
    let shapes: Vec<_> = answer.results.iter().map(shape).collect();
    assert_eq!(shapes, [(2, 4, true), (0, 4, true)], "the answer is one budget, and says where it was cut");
    assert_eq!(apply(&mut machine, &delete(false)).revision, 6);
}

fn shape(result: &quorate::types::OpResult) -> (usize, u64, bool) {
    match result {
        quorate::types::OpResult::Range(range) => (range.kvs.len(), range.count, range.more),
        _ => panic!("not a range"),
    }
}
