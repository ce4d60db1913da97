//! All engines against the same transcript of calls, and the home's generations on a real disk.

use std::{fs, path::Path, sync::Arc};

use proptest::prelude::*;

use super::*;

fn engines() -> (tempfile::TempDir, Vec<Box<dyn Engine>>) {
    let dir = tempfile::tempdir().expect("a directory");
    let sled = |name| SledEngine::open(&dir.path().join(name), 8 << 20).expect("sled opens");
    let (alone, below) = (sled("alone"), sled("below"));
    let behind = Behind::new(Arc::new(below)).expect("a thread");
    (dir, vec![Box::new(MemoryEngine::new()), Box::new(alone), Box::new(behind)])
}

fn all(engine: &dyn Engine) -> Vec<Pair> {
    engine.scan(&[], &[0xff; 9]).collect::<Result<_, _>>().expect("a scan")
}

fn put(engine: &dyn Engine, key: &'static [u8], value: &'static [u8]) {
    let mut batch = Batch::default();
    batch.put(key, value);
    engine.write(&batch).expect("a write");
}

/// A key, and its value or deletion.
type RawOp = (Vec<u8>, Option<Vec<u8>>);

fn batches() -> impl Strategy<Value = Vec<Vec<RawOp>>> {
    let key = prop::collection::vec(0u8..4, 1..3);
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    prop::collection::vec(prop::collection::vec((key, value), 0..8), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn engines_agree(batches in batches(), probe in prop::collection::vec(0u8..5, 0..3)) {
        let (_dir, engines) = engines();
        for ops in &batches {
            let mut batch = Batch::default();
            for (key, value) in ops {
                match value {
                    Some(value) => batch.put(key.clone(), value.clone()),
                    None => batch.delete(key.clone()),
                }
            }
            engines.iter().for_each(|engine| engine.write(&batch).unwrap());
        }
        let part = |engine: &dyn Engine| engine.scan(&probe, &[3]).map(Result::unwrap).collect::<Vec<_>>();
        let memory = &*engines[0];
        for engine in &engines[1..] {
            prop_assert_eq!(all(memory), all(&**engine));
            prop_assert_eq!(memory.floor(&probe).unwrap(), engine.floor(&probe).unwrap());
            prop_assert_eq!(memory.get(&probe).unwrap(), engine.get(&probe).unwrap());
            prop_assert_eq!(part(memory), part(&**engine));
        }
    }
}

#[test]
fn later_operations_of_a_batch_override_earlier_ones() {
    let (_dir, engines) = engines();
    for engine in engines {
        let mut batch = Batch::default();
        batch.delete(&b"a"[..]);
        batch.put(&b"a"[..], &b"1"[..]);
        batch.put(&b"b"[..], &b"2"[..]);
        batch.delete(&b"b"[..]);
        engine.write(&batch).expect("a write");
        assert_eq!(all(&*engine), [("a".into(), "1".into())]);
    }
}

#[test]
fn memory_counts_its_bytes() {
    let engine = MemoryEngine::new();
    put(&engine, b"key", b"value");
    put(&engine, b"key", b"v");
    assert_eq!(engine.size(), 4);
}

#[test]
fn a_long_scan_of_memory_is_complete() {
    let engine = MemoryEngine::new();
    let mut batch = Batch::default();
    (0..1000u32).for_each(|n| batch.put(n.to_be_bytes().to_vec(), vec![1]));
    engine.write(&batch).expect("a write");
    assert_eq!(all(&engine).len(), 1000);
}

fn home(dir: &Path) -> DiskHome {
    DiskHome::new(dir.join("state"), 8 << 20)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("state")).expect("a directory");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let engine = home(dir.path()).open_current().unwrap();
    put(&*engine, b"a", b"1");
    engine.flush().unwrap();
    drop(engine);
    let engine = home(dir.path()).open_current().unwrap();
    assert_eq!(engine.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(names(dir.path()), ["00000001", "CURRENT"]);
}

#[test]
fn an_adopted_generation_replaces_the_former_once_its_readers_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let old = home.open_current().unwrap();
    put(&*old, b"a", b"old");
    let fresh = home.create_fresh().unwrap();
    put(&*fresh.engine, b"a", b"new");
    let new = home.adopt(fresh).unwrap();
    assert_eq!(old.get(b"a").unwrap().as_deref(), Some(&b"old"[..]), "a reader in flight");
    assert_eq!(names(dir.path()), ["00000001", "00000002", "CURRENT"]);
    drop(old);
    assert_eq!(names(dir.path()), ["00000002", "CURRENT"]);
    drop(new);
    let engine = home.open_current().unwrap();
    assert_eq!(engine.get(b"a").unwrap().as_deref(), Some(&b"new"[..]));
}

#[test]
fn a_generation_that_was_not_adopted_vanishes() {
    let dir = tempfile::tempdir().unwrap();
    let first = home(dir.path());
    drop(first.open_current().unwrap());
    drop(first.create_fresh().unwrap());
    assert_eq!(names(dir.path()), ["00000001", "CURRENT"]);
    // As a crash in the middle of an installation leaves it.
    fs::create_dir(dir.path().join("state/00000007")).unwrap();
    drop(home(dir.path()).open_current().unwrap());
    assert_eq!(names(dir.path()), ["00000001", "CURRENT"]);
}

#[test]
fn only_the_newest_fresh_generation_can_be_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let _current = home.open_current().unwrap();
    let first = home.create_fresh().unwrap();
    let second = home.create_fresh().unwrap();
    assert!(home.adopt(first).is_err());
    assert!(home.adopt(second).is_err(), "superseding is not undone");
}

/// Overwrites the database's file with bytes that are none.
fn destroy(dir: &Path) {
    let current = fs::read_to_string(dir.join("state/CURRENT")).unwrap();
    let file = dir.join("state").join(current.trim_end()).join("db");
    let length = fs::metadata(&file).unwrap().len() as usize;
    fs::write(file, vec![0xa5; length]).unwrap();
}

#[test]
fn damage_is_an_error_and_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let engine = home(dir.path()).open_current().unwrap();
        put(&*engine, b"a", b"1");
        engine.flush().unwrap();
        drop(engine);
        destroy(dir.path());
        let home = home(dir.path());
        let opened = home.open_current().and_then(|engine| engine.get(b"a"));
        assert!(!matches!(&opened, Ok(Some(_))), "round {round}: {opened:?}");
        assert!(home.set_aside().unwrap().is_some());
    }
    assert_eq!(names(dir.path()), ["damaged-00000002", "damaged-00000003"]);
    let engine = home(dir.path()).open_current().unwrap();
    assert_eq!(engine.get(b"a").unwrap(), None);
}

#[test]
fn a_damaged_current_file_is_an_error_and_can_be_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    drop(home(dir.path()).open_current().unwrap());
    fs::write(dir.path().join("state/CURRENT"), "what?").unwrap();
    let home = home(dir.path());
    let error = home.open_current().err().expect("an error");
    assert!(error.to_string().contains("CURRENT"), "{error}");
    home.set_aside().unwrap();
    assert!(home.open_current().is_ok());
}

#[test]
fn memory_outlives_its_users() {
    let home = MemoryHome::new();
    put(&*home.open_current().unwrap(), b"a", b"1");
    assert!(home.open_current().unwrap().get(b"a").unwrap().is_some());
    let fresh = home.create_fresh().unwrap();
    home.adopt(fresh).unwrap();
    assert_eq!(home.open_current().unwrap().get(b"a").unwrap(), None);
}
