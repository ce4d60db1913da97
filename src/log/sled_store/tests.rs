//! What only this store can get wrong: pieces, cut packs, and a file that cannot be synced.

use std::sync::mpsc;

use super::{super::Vote, *};
use crate::log::{Completion, RaftLog};

fn record(index: u64, bytes: usize) -> Record {
    Record { at: Position { term: 1, index }, payload: vec![index as u8; bytes].into() }
}

fn wait(submit: impl FnOnce(Completion) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    submit(Box::new(move |result| sender.send(result).unwrap()))?;
    receiver.recv().unwrap()
}

/// sled would put them into `blobs/`, which it never syncs; also when only the page they lie on is large.
#[test]
fn nothing_lies_outside_the_file_that_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let mut records = Vec::new();
    for group in 0..40 {
        let sizes = [100, 40 << 10, 20 << 10, if group % 10 == 0 { 2 << 20 } else { 30 << 10 }];
        let next = records.len() as u64;
        let group: Vec<_> =
            sizes.into_iter().zip(next..).map(|(bytes, index)| record(index, bytes)).collect();
        records.extend_from_slice(&group);
        wait(|done| log.append(group, done)).unwrap();
    }
    log.close().unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(log.read(0..999, usize::MAX).unwrap(), records);
    let blobs = std::fs::read_dir(dir.path().join("blobs")).unwrap().count();
    assert_eq!(blobs, 0);
}

#[test]
fn truncation_cuts_a_pack() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    wait(|done| log.append((0..500).map(|i| record(i, 1000)).collect(), done)).unwrap();
    for keep in [333, 332, 100, 0] {
        log.truncate_after(Some(record(keep, 0).at)).unwrap();
        wait(|done| log.sync(done)).unwrap();
        assert_eq!(log.read(0..999, usize::MAX).unwrap().len() as u64, keep + 1);
    }
    wait(|done| log.append(vec![record(1, 5)], done)).unwrap();
    log.close().unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(log.read(0..999, usize::MAX).unwrap(), [record(0, 1000), record(1, 5)]);
}

#[test]
fn failed_sync_ends_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let db = open_db(dir.path()).unwrap();
    // It cannot be synced: EINVAL.
    let file = File::open("/dev/null").unwrap();
    let (store, state) = SledStore::recover(db, file).unwrap();
    let log = QueuedLog::threaded(Queue::new(Box::new(store), state, None)).unwrap();
    let error = wait(|done| log.append(vec![record(0, 10)], done)).unwrap_err();
    assert!(error.to_string().starts_with("the log has failed"), "{error}");
    let again = wait(|done| log.save_vote(Vote::default(), done)).unwrap_err();
    assert_eq!(again.to_string(), error.to_string(), "the first error is the last word");
    assert!(log.close().is_err());
}

#[test]
fn lost_pack_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    for index in 0..3 {
        wait(|done| log.append(vec![record(index, 10)], done)).unwrap();
    }
    log.close().unwrap();
    let db = open_db(dir.path()).unwrap();
    db.remove(key(1, 0)).unwrap();
    db.flush().unwrap();
    drop(db);
    let Err(error) = open(dir.path()) else { panic!("opened with a hole") };
    assert_eq!(error.to_string(), "entries 1 to 1 are missing");
}

#[test]
fn log_whose_former_self_lets_go_late_opens() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().close().unwrap();
    let path = dir.path().join("db");
    wait_for_release(&path, RELEASE_LOOKS).unwrap();
    let former = File::open(&path).unwrap();
    former.lock().unwrap();
    assert_eq!(wait_for_release(&path, 2).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let letting_go = thread::spawn(move || {
        thread::park_timeout(Duration::from_millis(100));
        drop(former);
    });
    open(dir.path()).unwrap().close().unwrap();
    letting_go.join().unwrap();
}
