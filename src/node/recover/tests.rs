use bytes::Bytes;

use super::*;
use crate::{
    log::{Disk, Record},
    state::{Command, Operation},
    storage::{Batch, Engine, Fresh, Key, MemoryHome},
    types::Put,
};

/// A state that has applied blank entries of term 1 up to `last`.
fn home_at(last: u64) -> MemoryHome {
    let home = MemoryHome::new();
    let engine = home.open_current().expect("an engine");
    let mut machine = StateMachine::open(engine).expect("an empty state");
    let mut batch = machine.begin();
    for index in 0..=last {
        machine.note(&mut batch, Position { term: 1, index }).expect("a blank entry");
    }
    machine.commit(batch).expect("a commit");
    home
}

/// A log of these terms, from entry 0 on, purged up to `purged`.
fn log_of(terms: &[u64], purged: Option<u64>) -> Arc<dyn RaftLog> {
    let log = Disk::default().open_threaded().expect("a log");
    let at = |index: u64| log::Position { term: terms[index as usize], index };
    let records = (0..terms.len() as u64).map(|index| Record { at: at(index), payload: Bytes::new() });
    log.append(records.collect(), Box::new(|_| ())).expect("entries");
    if let Some(index) = purged {
        log.purge(at(index)).expect("a purge");
    }
    log
}

/// Up to where the state is applied after recovery from no snapshot; `None`: it begins anew.
fn recovered(state_to: u64, log: &dyn RaftLog) -> Result<Option<u64>, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let snapshots = SnapshotStore::open(dir.path().join("snapshots")).expect("a directory");
    let machine = open_state(&home_at(state_to), &snapshots, log)?;
    Ok(machine.applied().map(|at| at.index))
}

#[test]
fn a_state_that_the_log_continues_is_kept() {
    assert_eq!(recovered(3, &*log_of(&[1, 1, 1, 1], None)), Ok(Some(3)), "they end together");
    assert_eq!(recovered(3, &*log_of(&[1, 1, 1, 1, 2, 2], None)), Ok(Some(3)), "the log goes on");
    assert_eq!(recovered(3, &*log_of(&[1, 1, 1, 1, 2], Some(3))), Ok(Some(3)), "the log begins right behind");
}

#[test]
fn a_state_that_the_log_contradicts_is_rebuilt() {
    assert_eq!(recovered(3, &*log_of(&[1, 1, 1, 2, 2], None)), Ok(None), "another entry 3");
    assert_eq!(recovered(3, &*log_of(&[1, 1, 1], None)), Ok(None), "ahead of the log (hazard H3)");
}

/// After a power cut: the engine has its newest part, and lacks one from its middle.
#[test]
fn a_state_that_lost_records_is_rebuilt() {
    let home = MemoryHome::new();
    let engine = home.open_current().expect("an engine");
    let mut machine = StateMachine::open(engine.clone()).expect("an empty state");
    for index in 0..3 {
        let mut batch = machine.begin();
        let put = Put { key: format!("k{index}").into(), ..Put::default() };
        let command = Command::from(Operation::Put(put));
        machine.apply(&mut batch, Position { term: 1, index }, &command).expect("a put");
        machine.commit(batch).expect("a commit");
    }
    let blocks: Vec<_> = engine.scan(&[], &Key::blocks_end()).map(|pair| pair.expect("a block").0).collect();
    let mut lost = Batch::default();
    lost.delete(blocks[1].clone());
    engine.write(&lost).expect("a write");

    let dir = tempfile::tempdir().expect("a directory");
    let snapshots = SnapshotStore::open(dir.path().join("snapshots")).expect("a directory");
    let machine = open_state(&home, &snapshots, &*log_of(&[1, 1, 1, 1], None)).expect("the log is whole");
    assert_eq!(machine.applied(), None, "it begins anew");
}

#[test]
fn what_cannot_be_rebuilt_is_refused_with_its_reason() {
    let refused = recovered(3, &*log_of(&[1, 1, 1, 2, 2], Some(1))).expect_err("no snapshot");
    assert!(refused.contains("no snapshot closes the gap"), "{refused}");
    let refused = recovered(1, &*log_of(&[1, 1, 1, 1, 1], Some(3))).expect_err("no snapshot");
    assert!(refused.contains("no snapshot closes the gap"), "{refused}");
}

/// A snapshot of a state that has applied blank entries of term 1 up to `last`, with one bit flipped at `at`.
fn damaged_snapshot(dir: &std::path::Path, last: u64, at: usize) -> SnapshotStore {
    let snapshots = SnapshotStore::open(dir.join("snapshots")).expect("a directory");
    let state = home_at(last).open_current().expect("an engine");
    let mut bytes = Vec::new();
    StateMachine::open(state).expect("a state").pin().write(&mut bytes).expect("a snapshot");
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 1;
    let path = snapshots.unfinished();
    std::fs::write(&path, bytes).expect("a file");
    snapshots.publish(&path, log::Position { term: 1, index: last }).expect("a snapshot");
    snapshots
}

/// Magic, the format, the header, and the footer.
const PLACES: [usize; 4] = [1, 8, 25, usize::MAX];

#[test]
fn a_damaged_snapshot_that_nobody_needs_is_set_aside() {
    for (place, state_to, snapshot_to) in PLACES.into_iter().flat_map(|at| [(at, 3, 2), (at, 1, 2)]) {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshots = damaged_snapshot(dir.path(), snapshot_to, place);
        let log = log_of(&[1, 1, 1, 1], Some(1));
        let machine = open_state(&home_at(state_to), &snapshots, &*log).expect("state and log suffice");
        assert_eq!(machine.applied().map(|at| at.index), Some(state_to));
        // The body of one that the state is past is looked at later.
        let unread = place == usize::MAX && state_to > snapshot_to;
        assert_eq!(snapshots.wanting(), !unread, "{place}: state {state_to}, snapshot {snapshot_to}");
    }
}

#[test]
fn a_damaged_snapshot_is_not_missed_where_the_log_is_whole() {
    for place in PLACES {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshots = damaged_snapshot(dir.path(), 2, place);
        let (contradicted, log) = (home_at(3), log_of(&[1, 1, 1, 2, 2], None));
        let machine = open_state(&contradicted, &snapshots, &*log).expect("the log suffices");
        assert_eq!(machine.applied(), None, "it begins anew");
        assert!(snapshots.wanting());
    }
}

#[test]
fn a_damaged_snapshot_that_is_needed_is_refused_and_stays() {
    for place in PLACES {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshots = damaged_snapshot(dir.path(), 2, place);
        let (contradicted, log) = (home_at(3), log_of(&[1, 1, 1, 2, 2], Some(1)));
        let refused = open_state(&contradicted, &snapshots, &*log).err().expect("its data is needed");
        assert!(refused.contains("cannot be rebuilt") && refused.contains(".snapshot: "), "{refused}");
        assert!(snapshots.newest().expect("a directory").is_some(), "left as it is");
    }
}

/// A home on a disk that refuses; it notes whether anybody called the state damaged.
#[derive(Default)]
struct Refusing(std::sync::atomic::AtomicBool);

impl EngineHome for Refusing {
    fn open_current(&self) -> Result<Arc<dyn Engine>, EngineError> {
        let error = std::io::ErrorKind::StorageFull.into();
        Err(EngineError::Io { what: "open the state".to_owned(), error })
    }

    fn create_fresh(&self) -> Result<Fresh, EngineError> {
        Err(EngineError::Damaged("not asked for".to_owned()))
    }

    fn adopt(&self, fresh: Fresh) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(fresh.engine)
    }

    fn set_aside(&self) -> Result<Option<std::path::PathBuf>, EngineError> {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        Ok(None)
    }
}

#[test]
fn a_full_disk_does_not_make_the_state_a_damaged_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let snapshots = SnapshotStore::open(dir.path().join("snapshots")).expect("a directory");
    let home = Refusing::default();
    let refused = open_state(&home, &snapshots, &*log_of(&[1, 1], None)).err().expect("no space");
    assert!(refused.starts_with("cannot open the state: "), "{refused}");
    assert!(!home.0.load(std::sync::atomic::Ordering::SeqCst), "a good state was set aside");
}
