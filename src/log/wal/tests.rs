//! What crashes and damage do to the files: a write that was cut short is cut off, everything else is an error.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use tempfile::TempDir;

use super::{frame::HEAD_BYTES, *};
use crate::log::{Position, RaftLog, Vote};

const SMALL: Sizes = Sizes { first: 4 * SECTOR, max: 4 * SECTOR };
const ROOMY: Sizes = Sizes { first: 64 * SECTOR, max: 64 * SECTOR };

const VOTE: Vote = Vote { term: 1, node_id: 2, committed: true };

fn record(index: u64) -> Record {
    Record { at: Position { term: 1, index }, payload: format!("payload of entry {index:04}").into() }
}

/// One that takes some sectors, none of which is all zeros.
fn large(index: u64) -> Record {
    let byte = |at: usize| (at % 251) as u8;
    Record { payload: (1..1500).map(byte).collect::<Vec<_>>().into(), ..record(index) }
}

fn wait(submit: impl FnOnce(crate::log::Completion) -> io::Result<()>) {
    let (sender, receiver) = mpsc::channel();
    submit(Box::new(move |result| sender.send(result).unwrap())).unwrap();
    receiver.recv().unwrap().unwrap();
}

fn append(log: &QueuedLog, records: impl IntoIterator<Item = Record>) {
    wait(|done| log.append(records.into_iter().collect(), done));
}

/// A log of `entries` entries, each a group of its own, closed.
fn written(entries: u64, sizes: Sizes) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), sizes).unwrap();
    wait(|done| log.save_vote(VOTE, done));
    (0..entries).for_each(|index| append(&log, [record(index)]));
    log.close().unwrap();
    dir
}

fn segments(dir: &TempDir) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    files
}

fn read_all(log: &QueuedLog) -> Vec<Record> {
    let start = log.state().purged.map_or(0, |purged| purged.index + 1);
    log.read(start..u64::MAX, usize::MAX).unwrap()
}

fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

fn error_of(opened: io::Result<QueuedLog>, why: &str) -> io::Error {
    match opened {
        Ok(log) => panic!("{why}: opened with {:?}", log.state()),
        Err(error) => error,
    }
}

/// The bytes of a segment before a group was written, and after.
struct LastGroup {
    dir: TempDir,
    file: PathBuf,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl LastGroup {
    /// Three entries, then `group` as one.
    fn new(group: impl IntoIterator<Item = Record>) -> LastGroup {
        let dir = written(3, ROOMY);
        let file = segments(&dir).remove(0);
        let before = fs::read(&file).unwrap();
        let log = open(dir.path(), ROOMY).unwrap();
        append(&log, group);
        log.close().unwrap();
        let after = fs::read(&file).unwrap();
        LastGroup { dir, file, before, after }
    }

    fn sectors(&self) -> std::ops::Range<usize> {
        used(&self.before) / SECTOR..used(&self.after).div_ceil(SECTOR)
    }

    /// Opens the log as a crash left it: of the group's sectors only those of `kept` were written.
    fn crashed(&self, kept: impl Fn(usize) -> bool) -> io::Result<QueuedLog> {
        let mut bytes = self.before.clone();
        for sector in self.sectors().filter(|sector| kept(sector - self.sectors().start)) {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            bytes[range.clone()].copy_from_slice(&self.after[range]);
        }
        fs::write(&self.file, bytes).unwrap();
        segments(&self.dir).into_iter().skip(1).for_each(|file| fs::remove_file(file).unwrap());
        open(self.dir.path(), ROOMY)
    }
}

#[test]
fn write_cut_short_is_cut_off_whichever_of_its_sectors_are_there() {
    let group = LastGroup::new([large(3)]);
    let count = group.sectors().len();
    assert!(count >= 3, "{count}");
    for kept in 0..(1_u32 << count) - 1 {
        let log = group.crashed(|sector| kept & (1 << sector) != 0).unwrap();
        assert_eq!(read_all(&log), (0..3).map(record).collect::<Vec<_>>(), "sectors {kept:b}");
        assert_eq!(log.state().vote, Some(VOTE));
        append(&log, [record(3), record(4)]);
        log.close().unwrap();
        let log = open(group.dir.path(), ROOMY).unwrap();
        assert_eq!(read_all(&log), (0..5).map(record).collect::<Vec<_>>(), "appended behind the cut");
        log.close().unwrap();
    }
    assert_eq!(read_all(&group.crashed(|_| true).unwrap()).len(), 4, "all of it was written");
}

#[test]
fn group_of_two_frames_may_be_torn_in_either() {
    let dir = written(3, ROOMY);
    let file = segments(&dir).remove(0);
    let before = fs::read(&file).unwrap();
    let log = open(dir.path(), ROOMY).unwrap();
    {
        // Two frames before one sync: what a busy queue hands over.
        let (sender, receiver) = mpsc::channel();
        log.append(vec![large(3)], Box::new(|_| ())).unwrap();
        log.truncate_after(Some(record(2).at)).unwrap();
        log.append(vec![large(3), large(4)], Box::new(move |done| sender.send(done).unwrap())).unwrap();
        receiver.recv().unwrap().unwrap();
    }
    log.close().unwrap();
    let after = fs::read(&file).unwrap();
    let group = LastGroup { dir, file, before, after };
    let count = group.sectors().len();
    for lost in 0..count {
        let opened = group.crashed(|sector| sector != lost);
        let log = opened.unwrap_or_else(|error| panic!("sector {lost} of {count}: {error}"));
        let left = read_all(&log);
        assert_eq!(left[..3], (0..3).map(record).collect::<Vec<_>>());
        assert!(left.len() < 5, "sector {lost} of {count} was lost, {} entries are left", left.len());
        log.close().unwrap();
    }
}

#[test]
fn flipped_bit_is_an_error_wherever_it_is() {
    let group = LastGroup::new([large(3)]);
    let end = used(&group.after);
    // Every byte of the heads, and some of everything else.
    for at in (0..end).filter(|at| at % SECTOR < HEAD_BYTES || at % 13 == 0) {
        let mut bytes = group.after.clone();
        bytes[at] ^= 0x10;
        fs::write(&group.file, bytes).unwrap();
        segments(&group.dir).into_iter().skip(1).for_each(|file| fs::remove_file(file).unwrap());
        match open(group.dir.path(), ROOMY) {
            // Between a frame and the end of its sector nothing is lost.
            Ok(log) => assert_eq!(read_all(&log).len(), 4, "byte {at} of {end}"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}: {error}"),
        }
    }
}

#[test]
fn flipped_bit_behind_the_last_frame_does_no_harm() {
    let dir = written(4, ROOMY);
    let file = segments(&dir).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let log = open(dir.path(), ROOMY).unwrap();
    assert_eq!(read_all(&log).len(), 4);
    log.close().unwrap();
    assert_eq!(fs::read(&file).unwrap().last(), Some(&0), "it was made zero again");
}

#[test]
fn acknowledged_entry_whose_sector_is_lost_is_an_error_if_anything_was_synced_behind_it() {
    let dir = written(6, ROOMY);
    let file = segments(&dir).remove(0);
    let bytes = fs::read(&file).unwrap();
    let sectors = used(&bytes).div_ceil(SECTOR);
    for sector in 0..sectors - 1 {
        let mut bytes = bytes.clone();
        bytes[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
        fs::write(&file, bytes).unwrap();
        let error = error_of(open(dir.path(), ROOMY), "a hole");
        assert!(error.to_string().contains("is damaged at byte"), "{error}");
    }
}

#[test]
fn missing_segment_is_an_error() {
    let dir = written(20, SMALL);
    let files = segments(&dir);
    assert!(files.len() > 4, "{files:?}");
    let elsewhere = tempfile::tempdir().unwrap();
    for file in &files[..files.len() - 2] {
        let away = elsewhere.path().join("away");
        fs::rename(file, &away).unwrap();
        let error = error_of(open(dir.path(), SMALL), &format!("without {file:?}"));
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().contains("a segment is missing"), "{error}");
        fs::rename(&away, file).unwrap();
    }
    assert_eq!(read_all(&open(dir.path(), SMALL).unwrap()).len(), 20);
}

#[test]
fn missing_segment_behind_a_purge_is_an_error() {
    let dir = written(60, SMALL);
    let log = open(dir.path(), SMALL).unwrap();
    log.purge(record(20).at).unwrap();
    wait(|done| log.sync(done));
    log.close().unwrap();
    // The first file left holds entry 21; the purge is recorded in the last one.
    fs::remove_file(&segments(&dir)[0]).unwrap();
    let error = error_of(open(dir.path(), SMALL), "a hole");
    assert!(error.to_string().contains("a segment is missing"), "{error}");
}

#[test]
fn segment_of_another_log_is_an_error() {
    let (dir, other) = (written(20, SMALL), written(23, SMALL));
    fs::copy(&segments(&other)[2], &segments(&dir)[3]).unwrap();
    let error = error_of(open(dir.path(), SMALL), "a segment twice");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
}

#[test]
fn damage_in_an_old_segment_is_an_error() {
    let dir = written(20, SMALL);
    let file = segments(&dir).remove(1);
    let whole = fs::read(&file).unwrap();
    for at in [0, SECTOR / 2, SECTOR + 8, whole.len() - SECTOR] {
        let mut bytes = whole.clone();
        bytes[at..].iter_mut().take(60).for_each(|byte| *byte ^= 0x55);
        fs::write(&file, &bytes).unwrap();
        // The filler says nothing.
        if bytes[at] == 0xa5 ^ 0x55 {
            continue;
        }
        assert!(open(dir.path(), SMALL).is_err(), "byte {at}");
    }
    fs::write(&file, &whole[..whole.len() - SECTOR]).unwrap();
    assert!(open(dir.path(), SMALL).is_err(), "the file ends early");
}

#[test]
fn damage_after_opening_is_an_error_of_the_read() {
    let dir = written(4, ROOMY);
    let log = open(dir.path(), ROOMY).unwrap();
    let file = segments(&dir).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(4).position(|four| four == b"0002").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(log.read(0..2, usize::MAX).unwrap().len(), 2);
    assert_eq!(log.read(0..4, usize::MAX).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn log_of_a_later_format_is_refused() {
    let dir = written(1, ROOMY);
    let file = segments(&dir).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let mut body = frame::begin(FIRST, &LogState::default());
    body[4] = 9;
    let mut first = Vec::new();
    frame::write(&mut first, 0, 0, &body).unwrap();
    bytes[..first.len()].copy_from_slice(&first);
    fs::write(&file, bytes).unwrap();
    let error = error_of(open(dir.path(), ROOMY), "another format");
    assert!(error.to_string().contains("format 9"), "{error}");
}

#[test]
fn file_of_something_else_is_an_error() {
    let dir = written(1, ROOMY);
    fs::write(dir.path().join("r-00_000_000_000_000_000_000.wal"), "x").unwrap();
    let error = error_of(open(dir.path(), ROOMY), "a foreign file");
    assert!(error.to_string().contains("is not a file of this log"), "{error}");
}

#[test]
fn purge_frees_the_disk() {
    let dir = written(200, SMALL);
    let log = open(dir.path(), SMALL).unwrap();
    let (before, files) = (log.size(), segments(&dir).len());
    log.purge(record(150).at).unwrap();
    wait(|done| log.sync(done));
    assert!(segments(&dir).len() < files / 2, "at once");
    log.close().unwrap();
    let log = open(dir.path(), SMALL).unwrap();
    assert!(log.size() < before / 2, "{} of {before}", log.size());
    assert_eq!(read_all(&log)[0], record(151));
    assert_eq!(log.read(150..160, 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(log.state().vote, Some(VOTE), "its segment is gone");
}

#[test]
fn entry_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), SMALL).unwrap();
    let huge = |index| Record { payload: vec![index as u8; 40_000].into(), ..record(index) };
    let expected = [record(0), huge(1), huge(2), record(3), record(4)];
    append(&log, expected[..2].to_vec());
    expected[2..].iter().for_each(|record| append(&log, [record.clone()]));
    assert_eq!(read_all(&log), expected);
    log.close().unwrap();
    assert_eq!(read_all(&open(dir.path(), SMALL).unwrap()), expected);
}

/// A group that is larger than what is written at once, in one frame after the other, over several segments.
#[test]
fn large_group_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = Sizes { first: 1 << 20, max: 2 << 20 };
    let log = open(dir.path(), sizes).unwrap();
    let records: Vec<_> = (0..5000).map(large).collect();
    append(&log, records.clone());
    assert_eq!(log.read(0..5000, usize::MAX).unwrap(), records);
    assert_eq!(log.read(4321..4323, usize::MAX).unwrap(), records[4321..4323]);
    assert!(segments(&dir).len() > 4);
    log.close().unwrap();
    assert_eq!(read_all(&open(dir.path(), sizes).unwrap()), records);
}

#[test]
fn second_process_is_locked_out() {
    let dir = written(1, ROOMY);
    let _log = open(dir.path(), ROOMY).unwrap();
    assert_eq!(error_of(open(dir.path(), ROOMY), "twice").kind(), io::ErrorKind::WouldBlock);
}

/// Reads go on while segments come and go.
#[test]
fn reads_beside_writes_and_purges_see_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open(dir.path(), SMALL).unwrap());
    append(&log, [record(0)]);
    let reader = thread::spawn({
        let log = Arc::clone(&log);
        move || {
            let mut reads = 0;
            while log.state().last.is_some_and(|last| last.index < 600) {
                let start = log.state().purged.map_or(0, |purged| purged.index + 1);
                match log.read(start..u64::MAX, 4000) {
                    Ok(found) => found.iter().for_each(|found| assert_eq!(*found, record(found.at.index))),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}"),
                }
                reads += 1;
            }
            reads
        }
    });
    for index in 1..=600 {
        append(&log, [record(index)]);
        if index % 7 == 0 {
            log.purge(record(index - 5).at).unwrap();
        }
    }
    assert!(reader.join().unwrap() > 0);
}
