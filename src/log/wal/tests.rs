//! What damage to the files does: a torn tail is cut off, everything else is an error.

use std::{fs, path::PathBuf, sync::mpsc};

use tempfile::TempDir;

use super::*;
use crate::log::RaftLog;

const SMALL_CHUNK: usize = 600;

fn record(index: u64) -> Record {
    Record { at: Position { term: 1, index }, payload: format!("payload of entry {index:04}").into() }
}

fn wait(submit: impl FnOnce(crate::log::Completion) -> io::Result<()>) {
    let (sender, receiver) = mpsc::channel();
    submit(Box::new(move |result| sender.send(result).unwrap())).unwrap();
    receiver.recv().unwrap().unwrap();
}

/// A log of `entries` entries, closed.
fn written(entries: u64, chunk_bytes: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), chunk_bytes).unwrap();
    wait(|done| log.save_vote(Vote { term: 1, node_id: 2, committed: true }, done));
    for index in 0..entries {
        wait(|done| log.append(vec![record(index)], done));
    }
    log.close().unwrap();
    dir
}

fn chunks(dir: &TempDir) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wal"));
    files.sort();
    files
}

fn read_all(log: &QueuedLog) -> Vec<Record> {
    log.read(0..u64::MAX, usize::MAX).unwrap()
}

#[test]
fn torn_tail_is_cut_off_at_every_byte() {
    let entries = 5;
    let dir = written(entries, CHUNK_BYTES);
    let file = chunks(&dir).remove(0);
    let whole = fs::read(&file).unwrap();
    // type, position, length, its CRC, payload, CRC of the record (padded to 8 bytes by the crate).
    let size = whole.len() - fs::read(chunks(&written(entries - 1, CHUNK_BYTES)).remove(0)).unwrap().len();
    for cut in 1..=size {
        fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        let log = open(dir.path(), CHUNK_BYTES).unwrap();
        assert_eq!(read_all(&log), (0..entries - 1).map(record).collect::<Vec<_>>(), "{cut} bytes cut off");
        assert_eq!(log.state().vote, Some(Vote { term: 1, node_id: 2, committed: true }));
        wait(|done| log.append(vec![record(entries - 1)], done));
        log.close().unwrap();
        let log = open(dir.path(), CHUNK_BYTES).unwrap();
        assert_eq!(read_all(&log).len() as u64, entries, "appended behind the cut");
        log.close().unwrap();
        chunks(&dir).into_iter().skip(1).for_each(|file| fs::remove_file(file).unwrap());
    }
}

#[test]
fn tail_of_zeros_is_cut_off() {
    let dir = written(3, CHUNK_BYTES);
    let file = chunks(&dir).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend([0; 5000]);
    fs::write(&file, bytes).unwrap();
    assert_eq!(read_all(&open(dir.path(), CHUNK_BYTES).unwrap()).len(), 3);
}

#[test]
fn flipped_bit_in_an_entry_is_an_error_wherever_it_is() {
    let dir = written(4, CHUNK_BYTES);
    let file = chunks(&dir).remove(0);
    let whole = fs::read(&file).unwrap();
    let begin = whole.len() - fs::read(chunks(&written(0, CHUNK_BYTES)).remove(0)).unwrap().len();
    for at in whole.len() - begin..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, bytes).unwrap();
        match open(dir.path(), CHUNK_BYTES) {
            Ok(log) => panic!("byte {at} of {} flipped, opened with {:?}", whole.len(), log.state()),
            Err(error) => assert_ne!(error.kind(), io::ErrorKind::NotFound, "byte {at}: {error}"),
        }
    }
}

#[test]
fn missing_chunk_is_an_error() {
    let dir = written(60, SMALL_CHUNK);
    let files = chunks(&dir);
    assert!(files.len() > 4, "{files:?}");
    for file in &files[..files.len() - 1] {
        let away = file.with_extension("away");
        fs::rename(file, &away).unwrap();
        let Err(error) = open(dir.path(), SMALL_CHUNK) else { panic!("opened without {file:?}") };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        fs::rename(&away, file).unwrap();
    }
    assert_eq!(read_all(&open(dir.path(), SMALL_CHUNK).unwrap()).len(), 60);
}

#[test]
fn missing_chunk_behind_a_purge_is_an_error() {
    let dir = written(60, SMALL_CHUNK);
    let log = open(dir.path(), SMALL_CHUNK).unwrap();
    log.purge(record(20).at).unwrap();
    wait(|done| log.sync(done));
    log.close().unwrap();
    // The first file left holds entry 21; the purge is recorded in the last one.
    fs::remove_file(&chunks(&dir)[0]).unwrap();
    let Err(error) = open(dir.path(), SMALL_CHUNK) else { panic!("opened with a hole") };
    assert!(error.to_string().contains("a chunk is missing"), "{error}");
}

#[test]
fn damage_in_an_old_chunk_is_an_error() {
    let dir = written(60, SMALL_CHUNK);
    let file = chunks(&dir).remove(1);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(open(dir.path(), SMALL_CHUNK).is_err());
}

#[test]
fn purge_frees_the_disk() {
    let dir = written(200, SMALL_CHUNK);
    let log = open(dir.path(), SMALL_CHUNK).unwrap();
    let (before, files) = (log.size(), chunks(&dir).len());
    log.purge(record(150).at).unwrap();
    wait(|done| log.sync(done));
    log.close().unwrap();
    let log = open(dir.path(), SMALL_CHUNK).unwrap();
    assert!(log.size() < before / 2, "{} of {before}", log.size());
    assert!(chunks(&dir).len() < files / 2);
    assert_eq!(read_first(&log, 151), record(151));
    assert_eq!(log.read(150..160, 1).unwrap_err().kind(), io::ErrorKind::NotFound);
}

fn read_first(log: &QueuedLog, index: u64) -> Record {
    log.read(index..index + 1, 1).unwrap().remove(0)
}

#[test]
fn second_process_is_locked_out() {
    let dir = written(1, CHUNK_BYTES);
    let _log = open(dir.path(), CHUNK_BYTES).unwrap();
    let Err(error) = open(dir.path(), CHUNK_BYTES) else { panic!("opened twice") };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
}
