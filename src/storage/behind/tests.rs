//! The queue against an engine that takes its time, fails, or is a map.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::storage::MemoryEngine;

/// A map that can be told to keep a writer waiting, or to fail.
#[derive(Default)]
struct Trial {
    map: MemoryEngine,
    held: AtomicBool,
    full: AtomicBool,
    /// After so many batches it is full; 0: never.
    full_after: AtomicUsize,
    batches: AtomicUsize,
}

impl Engine for Trial {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.map.get(key)
    }

    fn floor(&self, key: &[u8]) -> Result<Option<Pair>, EngineError> {
        self.map.floor(key)
    }

    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> Box<dyn Iterator<Item = Result<Pair, EngineError>> + 'a> {
        self.map.scan(from, to)
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        while self.held.load(Ordering::SeqCst) {
            thread::park_timeout(Duration::from_millis(1));
        }
        let full_after = self.full_after.load(Ordering::SeqCst);
        let spent = full_after > 0 && self.batches.load(Ordering::SeqCst) >= full_after;
        if spent || self.full.load(Ordering::SeqCst) {
            let error = io::Error::from_raw_os_error(28);
            return Err(EngineError::Io { what: "write the state".into(), error });
        }
        self.batches.fetch_add(1, Ordering::SeqCst);
        self.map.write(batch)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.map.flush()
    }

    fn size(&self) -> u64 {
        self.map.size()
    }
}

fn behind() -> (Arc<Trial>, Behind) {
    let below = Arc::new(Trial::default());
    (below.clone(), Behind::new(below).expect("a thread"))
}

fn put(engine: &dyn Engine, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), EngineError> {
    let mut batch = Batch::default();
    batch.put(key, value);
    engine.write(&batch)
}

fn all(engine: &dyn Engine) -> Vec<Pair> {
    engine.scan(&[], &[0xff; 9]).collect::<Result<_, _>>().expect("a scan")
}

#[test]
fn what_waits_is_read_and_comes_below_as_one_batch() {
    let (below, engine) = behind();
    for value in 0..100u8 {
        put(&engine, &b"head"[..], vec![value]).expect("a write");
    }
    assert_eq!(engine.get(b"head").expect("a read").as_deref(), Some(&[99][..]));
    engine.flush().expect("a flush");
    assert_eq!(all(&below.map), [("head".into(), vec![99].into())]);
    assert!(below.batches.load(Ordering::SeqCst) < 10, "one, or a few if this test was held up");
}

#[test]
fn it_comes_below_without_being_asked() {
    let (below, engine) = behind();
    put(&engine, &b"a"[..], &b"1"[..]).expect("a write");
    while below.map.get(b"a").expect("a read").is_none() {
        thread::park_timeout(Duration::from_millis(1));
    }
    assert_eq!(all(&engine).len(), 1);
}

#[test]
fn readers_see_what_a_slow_engine_has_not_taken_and_a_writer_waits_for_room() {
    let (below, engine) = behind();
    below.held.store(true, Ordering::SeqCst);
    let value = vec![7; 1 << 20];
    let written = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for key in 0..20u8 {
                put(&engine, vec![key], value.clone()).expect("a write");
                written.fetch_add(1, Ordering::SeqCst);
            }
        });
        while written.load(Ordering::SeqCst) < 7 {
            thread::park_timeout(Duration::from_millis(1));
        }
        thread::park_timeout(Duration::from_millis(50));
        assert!(written.load(Ordering::SeqCst) < 9, "8 MiB wait, and no more");
        assert_eq!(engine.floor(&[6, 0]).expect("a read").expect("a pair").0, vec![6]);
        assert!(below.map.get(&[6]).expect("a read").is_none());
        below.held.store(false, Ordering::SeqCst);
    });
    assert_eq!(all(&engine).len(), 20);
}

#[test]
fn a_failure_below_fails_all_that_follows_and_says_what_it_was() {
    let (below, engine) = behind();
    put(&engine, &b"a"[..], &b"1"[..]).expect("a write");
    engine.flush().expect("a flush");
    below.full.store(true, Ordering::SeqCst);
    put(&engine, &b"b"[..], &b"2"[..]).expect("it waits");
    let errors = [engine.flush().expect_err("full"), put(&engine, &b"c"[..], &b"3"[..]).expect_err("full")];
    below.full.store(false, Ordering::SeqCst);
    let later = engine.flush().expect_err("nothing is written behind a failure");
    for error in errors.into_iter().chain([later]) {
        let EngineError::Io { error, .. } = error else { panic!("{error}") };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    drop(engine);
    assert_eq!(all(&below.map).len(), 1);
}

#[test]
fn what_waits_comes_below_when_the_last_user_goes() {
    let (below, engine) = behind();
    put(&engine, &b"a"[..], &b"1"[..]).expect("a write");
    drop(engine);
    assert_eq!(all(&below.map).len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, Option<u8>)>),
    Flush,
}

fn batch(ops: &[(u8, Option<u8>)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in ops {
        match value {
            Some(value) => batch.put(vec![*key], vec![*value]),
            None => batch.delete(vec![*key]),
        }
    }
    batch
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = prop::collection::vec((0u8..16, prop::option::weighted(0.9, any::<u8>())), 0..6);
    let step = prop_oneof![5 => write.prop_map(Step::Write), 1 => Just(Step::Flush)];
    prop::collection::vec(step, 0..40)
}

proptest! {
    /// Whatever is below when the process dies is what some first batches left.
    #[test]
    fn a_prefix_of_the_batches_is_below(steps in steps(), full_after in 1usize..6) {
        let (below, engine) = behind();
        below.full_after.store(full_after, Ordering::SeqCst);
        let model = MemoryEngine::new();
        let mut states = vec![all(&model)];
        for step in &steps {
            let written = match step {
                Step::Flush => engine.flush(),
                Step::Write(ops) => {
                    let batch = batch(ops);
                    model.write(&batch).unwrap();
                    states.push(all(&model));
                    engine.write(&batch)
                }
            };
            prop_assert!(states.contains(&all(&below.map)));
            if written.is_err() {
                break;
            }
        }
        drop(engine);
        prop_assert!(states.contains(&all(&below.map)));
    }

    /// After every step each read is what a map's would be.
    #[test]
    fn it_reads_like_a_map(steps in steps()) {
        let (model, (below, engine)) = (MemoryEngine::new(), behind());
        for step in steps {
            match step {
                Step::Flush => {
                    engine.flush().unwrap();
                    prop_assert_eq!(all(&model), all(&below.map));
                }
                Step::Write(ops) => {
                    let batch = batch(&ops);
                    model.write(&batch).unwrap();
                    engine.write(&batch).unwrap();
                }
            }
            prop_assert_eq!(all(&model), all(&engine));
            for key in 0..16u8 {
                prop_assert_eq!(model.get(&[key]).unwrap(), engine.get(&[key]).unwrap());
                prop_assert_eq!(model.floor(&[key]).unwrap(), engine.floor(&[key]).unwrap());
            }
        }
    }
}
