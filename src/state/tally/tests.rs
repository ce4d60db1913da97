//! Records that vanish from the engine behind the state's back.

use std::sync::Arc;

use super::*;
use crate::{
    state::{Command, Compactor, Operation, Position, StateMachine, Step, codec, core::put_position},
    storage::{Batch, Engine, Key, MemoryEngine},
    types::Put,
};

/// Puts a key so large that it has a block of its own.
fn put(machine: &mut StateMachine, key: &str) {
    let mut batch = machine.begin();
    let at = Position { term: 1, index: machine.applied().map_or(0, |at| at.index + 1) };
    let put = Put { key: key.to_owned().into(), value: vec![7; 9000].into(), ..Put::default() };
    machine.apply(&mut batch, at, &Operation::Put(put).into()).unwrap();
    machine.commit(batch).unwrap();
}

fn compact(machine: &mut StateMachine, revision: u64) {
    let mut batch = machine.begin();
    let at = Position { term: 1, index: machine.applied().unwrap().index + 1 };
    let compact = Command::from(Operation::Compact(revision));
    machine.apply(&mut batch, at, &compact).unwrap();
    machine.commit(batch).unwrap();
}

fn finish(compactor: &Compactor) {
    while compactor.step(1).unwrap() != Step::Idle {}
}

fn blocks(engine: &dyn Engine) -> Vec<bytes::Bytes> {
    let all = engine.scan(&RecordId::default().key().encode(), &Key::blocks_end());
    all.map(|pair| pair.unwrap().0).collect()
}

/// Whether a state opens once its block at `place` is gone. It does with all of them.
fn misses(engine: &Arc<MemoryEngine>, place: usize) -> bool {
    assert!(StateMachine::open(engine.clone()).is_ok(), "control: it is whole");
    let key = blocks(&**engine)[place].clone();
    let kept = engine.get(&key).unwrap().unwrap();
    let mut lost = Batch::default();
    lost.delete(key.clone());
    engine.write(&lost).unwrap();
    let opened = StateMachine::open(engine.clone()).map(drop);
    let mut back = Batch::default();
    back.put(key, kept);
    engine.write(&back).unwrap();
    match opened {
        Ok(()) => false,
        Err(error) => error.to_string().contains("records"),
    }
}

fn filled() -> (Arc<MemoryEngine>, StateMachine) {
    let engine = Arc::new(MemoryEngine::new());
    let mut machine = StateMachine::open(engine.clone()).unwrap();
    (0..9).for_each(|number| put(&mut machine, &format!("k{}", number % 4)));
    (engine, machine)
}

#[test]
fn a_state_that_lost_a_block_in_its_middle_does_not_open() {
    let (engine, _machine) = filled();
    assert_eq!(blocks(&*engine).len(), 9);
    for place in 0..9 {
        assert!(misses(&engine, place), "block {place} is not missed");
    }
}

#[test]
fn what_compaction_removes_is_not_missed_and_the_rest_is() {
    let (engine, mut machine) = filled();
    let compactor = machine.compactor();
    for round in 0..4 {
        let revision = machine.reader().position().revision;
        compact(&mut machine, revision);
        // In the middle of it, and done.
        compactor.step(1).unwrap();
        put(&mut machine, &format!("k{round}"));
        assert!(misses(&engine, 0));
        finish(&compactor);
        put(&mut machine, "again");
        let last = blocks(&*engine).len() - 1;
        assert!(misses(&engine, 0) && misses(&engine, last));
    }
}

#[test]
fn a_state_loaded_from_a_snapshot_is_counted() {
    let (_, machine) = filled();
    let mut bytes = Vec::new();
    machine.pin().write(&mut bytes).unwrap();
    let engine = Arc::new(MemoryEngine::new());
    StateMachine::load(engine.clone(), &bytes[..]).unwrap();
    assert!(misses(&engine, 4));
}

/// A state written before there was a tally: unknown, until the next commit.
#[test]
fn a_head_without_a_tally_opens_and_gets_one() {
    let (engine, machine) = filled();
    let view = machine.reader().position();
    let mut head = codec::unsealed(32);
    put_varint(&mut head, view.revision);
    put_varint(&mut head, view.compact_revision);
    put_position(&mut head, view.applied);
    let mut batch = Batch::default();
    batch.put(Key::Head.encode(), codec::seal(head, 1));
    engine.write(&batch).unwrap();
    assert!(!misses(&engine, 4), "nothing is known yet");

    let mut machine = StateMachine::open(engine.clone()).unwrap();
    compact(&mut machine, 3);
    finish(&machine.compactor());
    put(&mut machine, "next");
    assert!(misses(&engine, 4));
}
