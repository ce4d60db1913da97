//! One writer, many readers, a compactor and a snapshot builder at once.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use bytes::Bytes;

use quorate::{
    state::{Compactor, Operation, PageQuery, ReadError, StateMachine, StateReader, Step, snapshot},
    storage::{Batch, Engine, EngineError, MemoryEngine, Pair},
    types::{KeyRange, KeyValue, Limits, Op, Put, Range, Txn},
};

use super::{apply, machine, memory, snapshot_of};

const KEYS: u64 = 40;
const ROUNDS: u64 = 400;

/// Ends the other threads, also when this one fails.
struct DoneWhenDropped<'a>(&'a AtomicBool);

impl Drop for DoneWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One transaction that gives every key the same value.
fn write_all(round: u64) -> Operation {
    let put = |key: u64| Put {
        key: format!("key/{key:04}").into(),
        value: format!("{round:032}").into(),
        ..Put::default()
    };
    Operation::Txn(Txn { then_ops: (0..KEYS).map(put).map(Op::Put).collect(), ..Txn::default() })
}

fn assert_whole(kvs: &[KeyValue]) {
    assert!(kvs.is_empty() || kvs.len() as u64 == KEYS, "{} keys", kvs.len());
    assert!(kvs.iter().all(|kv| kv.value == kvs[0].value && kv.mod_revision == kvs[0].mod_revision));
}

/// Reads as long as there is writing. Every answer is of one revision, and none goes back.
fn read(reader: &StateReader, done: &AtomicBool) {
    let keys = KeyRange::all();
    let mut newest = 0;
    while !done.load(Ordering::SeqCst) {
        let (result, view) = reader.range(&Range::new(keys.clone()), &Limits::default()).expect("the newest");
        assert_whole(&result.kvs);
        assert!(result.kvs.is_empty() || result.kvs[0].mod_revision == view.revision);
        assert!(view.revision >= newest, "{} after {newest}", view.revision);
        newest = view.revision;
        scan(reader, &keys);
    }
}

/// A scan in small pages: whole, or compacted on the way.
fn scan(reader: &StateReader, keys: &KeyRange) {
    let mut query = PageQuery { keys, revision: 0, after: None, bytes_max: 400, keys_only: false };
    let mut kvs = Vec::new();
    loop {
        let page = match reader.scan_page(&query) {
            Ok(page) => page,
            Err(ReadError::Compacted { .. }) => return,
            Err(error) => panic!("{error}"),
        };
        kvs.extend(page.kvs);
        query.revision = page.revision;
        query.after = page.next;
        if query.after.is_none() {
            return assert_whole(&kvs);
        }
    }
}

fn compact(compactor: &Compactor, done: &AtomicBool) {
    while !done.load(Ordering::SeqCst) {
        if compactor.step(5_000).expect("a step") != Step::More {
            thread::yield_now();
        }
    }
}

fn write(machine: &mut StateMachine) {
    for round in 0..ROUNDS {
        let revision = apply(machine, &write_all(round)).revision;
        if round % 7 == 0 {
            apply(machine, &Operation::Compact(revision - 1));
        }
    }
}

#[test]
fn readers_and_compaction_beside_apply() {
    let mut machine = machine();
    let done = AtomicBool::new(false);
    let (reader, compactor) = (machine.reader(), machine.compactor());
    thread::scope(|scope| {
        scope.spawn(|| read(&reader, &done));
        scope.spawn(|| compact(&compactor, &done));
        let _done = DoneWhenDropped(&done);
        write(&mut machine);
    });
    let reopened = StateMachine::open(machine.engine()).expect("opens");
    assert_eq!(super::everything(&reopened), super::everything(&machine));
}

#[test]
fn a_snapshot_beside_apply_and_compaction_is_of_one_revision() {
    let mut machine = machine();
    let done = AtomicBool::new(false);
    let compactor = machine.compactor();
    thread::scope(|scope| {
        scope.spawn(|| compact(&compactor, &done));
        let _done = DoneWhenDropped(&done);
        for round in 0..20 {
            apply(&mut machine, &write_all(round));
            let hashed = machine.reader().hash(0).expect("readable");
            let pinned = machine.pin();
            let building = scope.spawn(move || {
                let mut bytes = Vec::new();
                pinned.write(&mut bytes).expect("written");
                bytes
            });
            write_some(&mut machine, round);
            let bytes = building.join().expect("no panic");
            let loaded = StateMachine::load(memory(), &bytes[..]).expect("loads");
            let found = loaded.reader().hash(0).expect("readable");
            assert_eq!((found.hash, found.revision), (hashed.hash, hashed.revision));
        }
    });
}

fn write_some(machine: &mut StateMachine, round: u64) {
    for more in 0..10 {
        let revision = apply(machine, &write_all(1000 * round + more)).revision;
        apply(machine, &Operation::Compact(revision));
    }
}

#[test]
fn readers_see_a_replaced_state_at_once() {
    let (mut machine, mut other) = (machine(), machine());
    apply(&mut machine, &write_all(1));
    (0..3).for_each(|round| drop(apply(&mut other, &write_all(round))));
    let reader = machine.reader();
    let compactor = machine.compactor();
    let pinned = machine.pin();
    machine.replace(super::reloaded(&other));
    assert_eq!(reader.position().revision, 4);
    assert_eq!(super::get_all(&reader, 0), super::get_all(&other.reader(), 0));
    assert_eq!(compactor.step(1).expect("a step"), Step::Idle, "the pin is on the former state");
    apply(&mut machine, &write_all(9));
    assert_eq!(reader.position().revision, 5);
    let mut former = Vec::new();
    pinned.write(&mut former).expect("the former state can still be written");
    assert_eq!(snapshot::read_header(&former[..]).expect("a header").revision, 2);
    assert_eq!(snapshot::read_header(&snapshot_of(&machine)[..]).expect("a header").revision, 5);
}

type Meddling = Box<dyn FnOnce() + Send>;

/// An engine in which something happens between the moment when a read has found its keys in the index, and
/// the moment when it looks up the first record.
#[derive(Default)]
struct MeddledEngine {
    memory: MemoryEngine,
    meddle: Mutex<Option<Meddling>>,
}

impl Engine for MeddledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.memory.get(key)
    }

    fn floor(&self, key: &[u8]) -> Result<Option<Pair>, EngineError> {
        let meddle = self.meddle.lock().unwrap().take();
        if let Some(meddle) = meddle {
            meddle();
        }
        self.memory.floor(key)
    }

    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> Box<dyn Iterator<Item = Result<Pair, EngineError>> + 'a> {
        self.memory.scan(from, to)
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        self.memory.write(batch)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.memory.flush()
    }

    fn size(&self) -> u64 {
        self.memory.size()
    }
}

/// A reader of a state with two revisions, which is overwritten and compacted under its first read.
fn meddled_reader() -> StateReader {
    let engine = Arc::new(MeddledEngine::default());
    let mut machine = StateMachine::open(engine.clone()).expect("opens");
    apply(&mut machine, &write_all(0));
    // What was written lately would be read from memory.
    let mut machine = StateMachine::open(engine.clone()).expect("opens again");
    let reader = machine.reader();
    let meddle = move || {
        let revision = apply(&mut machine, &write_all(1)).revision;
        apply(&mut machine, &Operation::Compact(revision));
        super::compact_fully(&machine);
    };
    *engine.meddle.lock().unwrap() = Some(Box::new(meddle));
    reader
}

#[test]
fn a_revision_compacted_under_a_read_is_refused_and_not_damage() {
    let reader = meddled_reader();
    let old = Range { revision: 2, ..Range::new(KeyRange::all()) };
    let refused = reader.range(&old, &Limits::default()).unwrap_err();
    assert!(matches!(refused, ReadError::Compacted { requested: 2, compacted: 3 }), "{refused}");
}

#[test]
fn a_read_of_the_newest_that_is_compacted_under_it_starts_again() {
    let (result, view) =
        meddled_reader().range(&Range::new(KeyRange::all()), &Limits::default()).expect("the newest");
    assert_eq!((view.revision, result.kvs[0].mod_revision), (3, 3));
    assert_whole(&result.kvs);
}
