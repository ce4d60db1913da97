//! What crashes and damage do to the files: a write that was cut short is cut off, all else is an error.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;

use super::{frame::HEAD_BYTES, *};
use crate::log::{Disk, Position, RaftLog, Vote};

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

fn read_all(log: &dyn RaftLog) -> Vec<Record> {
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

fn used_of(file: &Path) -> usize {
    fs::read(file).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Commits operations as one group, below the queue.
fn commit(dir: &TempDir, sizes: Sizes, ops: &[Op]) {
    let (wal, ..) = open_wal(dir.path(), sizes).unwrap();
    wal.commit(ops, true).unwrap();
    wal.close().unwrap();
}

fn read_all_of(dir: &TempDir, sizes: Sizes) -> Vec<Record> {
    let log = open(dir.path(), sizes).unwrap();
    let all = read_all(&log);
    log.close().unwrap();
    all
}

/// Begins a frame of its own, and, behind the last entry, changes nothing.
fn cut_behind(index: u64) -> Op {
    Op::Truncate(Some(record(index).at))
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

    /// Three entries, then what one commit of these operations writes.
    fn of_one_commit(sizes: Sizes, ops: &[Op]) -> LastGroup {
        let dir = written(3, sizes);
        let file = segments(&dir).remove(0);
        let before = fs::read(&file).unwrap();
        commit(&dir, sizes, ops);
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
    // A truncation begins a frame of its own.
    let ops = [Op::Append(vec![large(3)]), cut_behind(2), Op::Append(vec![large(3), large(4)])];
    let group = LastGroup::of_one_commit(ROOMY, &ops);
    let count = group.sectors().len();
    assert!(count > 6, "{count}");
    for kept in 0..(1_u32 << count) - 1 {
        let opened = group.crashed(|sector| kept & (1 << sector) != 0);
        let log = opened.unwrap_or_else(|error| panic!("sectors {kept:b} of {count}: {error}"));
        let left = read_all(&log);
        assert_eq!(left[..3], (0..3).map(record).collect::<Vec<_>>());
        assert!(left.len() < 5, "sectors {kept:b} of {count}, {} entries are left", left.len());
        log.close().unwrap();
    }
}

/// A commit that goes on in new segments, of which any sectors were lost in the newest one: those before were
/// synced.
#[test]
fn commit_over_several_segments_is_cut_off_in_the_newest() {
    let dir = written(3, SMALL);
    let before = segments(&dir).iter().filter(|file| used_of(file) > 0).count();
    let ops: Vec<Op> =
        (3..9).flat_map(|index| [Op::Append(vec![record(index)]), cut_behind(index)]).collect();
    commit(&dir, SMALL, &ops);
    let files: Vec<_> = segments(&dir).into_iter().filter(|file| used_of(file) > 0).collect();
    assert!(files.len() > before + 1, "{files:?}");
    let (newest, whole) = (files.last().unwrap(), fs::read(files.last().unwrap()).unwrap());
    let count = used(&whole).div_ceil(SECTOR);
    let all = read_all_of(&dir, SMALL);
    for kept in 0..1_u32 << count {
        let mut bytes = whole.clone();
        for lost in (0..count).filter(|sector| kept & (1 << sector) == 0) {
            bytes[lost * SECTOR..(lost + 1) * SECTOR].fill(0);
        }
        segments(&dir)
            .into_iter()
            .filter(|file| file > newest)
            .for_each(|file| fs::remove_file(file).unwrap());
        fs::write(newest, bytes).unwrap();
        let left = read_all_of(&dir, SMALL);
        assert!(all.starts_with(&left) && left.len() >= 3, "sectors {kept:b}: {} entries", left.len());
        // What was there before: the cut may have removed the file, or made zeros of it.
        fs::write(newest, &whole).unwrap();
    }
    segments(&dir).into_iter().filter(|file| file > newest).for_each(|file| fs::remove_file(file).unwrap());
    assert_eq!(read_all_of(&dir, SMALL), all);
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

/// The numbers of its frames are far from 0: what is behind must be known for this log's all the same.
#[test]
fn oldest_segment_that_lost_its_beginning_is_an_error() {
    let dir = written(60, SMALL);
    let log = open(dir.path(), SMALL).unwrap();
    log.purge(record(59).at).unwrap();
    wait(|done| log.sync(done));
    log.close().unwrap();
    let left: Vec<_> = segments(&dir).into_iter().filter(|file| used_of(file) > 0).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let whole = fs::read(&left[0]).unwrap();
    for lost in [SECTOR, whole.len()] {
        let mut bytes = whole.clone();
        bytes[..lost].fill(0);
        fs::write(&left[0], bytes).unwrap();
        let error = error_of(open(dir.path(), SMALL), "the log would be empty");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }
    fs::write(&left[0], whole).unwrap();
    assert_eq!(open(dir.path(), SMALL).unwrap().state().vote, Some(VOTE));
}

/// A log that never forgot anything begins with its first segment, whatever that holds.
#[test]
fn first_segment_without_an_entry_stays_until_a_purge() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), SMALL).unwrap();
    for term in 1..9 {
        wait(|done| log.save_vote(Vote { term, ..VOTE }, done));
    }
    log.close().unwrap();
    for expected in 0..3 {
        let log = open(dir.path(), SMALL).unwrap();
        assert_eq!(read_all(&log), (0..expected).map(record).collect::<Vec<_>>());
        append(&log, [record(expected)]);
        log.close().unwrap();
    }
    let log = open(dir.path(), SMALL).unwrap();
    wait(|done| log.append((3..9).map(record).collect(), done));
    log.truncate_after(None).unwrap();
    append(&log, [record(0)]);
    log.close().unwrap();
    for _ in 0..2 {
        assert_eq!(read_all_of(&dir, SMALL), [record(0)]);
    }
}

#[test]
fn file_in_the_way_of_the_next_segment_is_an_error_and_stays() {
    let dir = written(1, ROOMY);
    let (wal, ..) = open_wal(dir.path(), SMALL).unwrap();
    let taken = dir.path().join(format!("{:020}.log", 2));
    fs::write(&taken, "whose?").unwrap();
    let fill = |index| wal.commit(&[Op::Append(vec![large(index)])], true);
    let error = (1..40).find_map(|index| fill(index).err()).expect("no second segment can be made");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
    wal.close().unwrap();
    assert_eq!(fs::read(&taken).unwrap(), b"whose?");
}

/// Everything that a log can be asked for, over small segments, beside a log in memory.
#[test]
fn random_operations_leave_what_a_log_in_memory_has() {
    for seed in 0..12 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        let mut term = 1;
        for _ in 0..6 {
            let (log, model) = (open(dir.path(), SMALL).unwrap(), disk.open_threaded().unwrap());
            assert_eq!(log.state(), model.state(), "seed {seed}");
            assert_eq!(read_all(&log), read_all(&*model), "seed {seed}");
            for _ in 0..40 {
                step(&mut rng, &mut term, &[&log, &*model]);
            }
            assert_eq!(read_all(&log), read_all(&*model), "seed {seed}");
            log.close().unwrap();
            model.close().unwrap();
        }
    }
}

/// Does the same to all logs, which must agree on whether it can be done.
fn step(rng: &mut SmallRng, term: &mut u64, logs: &[&dyn RaftLog]) {
    let LogState { last, purged, .. } = logs[0].state();
    let next = last.map_or(0, |last| last.index + 1);
    let somewhere = rng.random_range(purged.map_or(0, |purged| purged.index)..=next + 1);
    let at = Position { term: rng.random_range(1..=*term), index: somewhere };
    let records: Vec<Record> = (next..next + rng.random_range(1..5))
        .map(|index| Record {
            at: Position { term: *term, index },
            payload: vec![7; rng.random_range(0..700)].into(),
        })
        .collect();
    let what = rng.random_range(0..12);
    let done = |log: &&dyn RaftLog| match what {
        0..6 => log.append(records.clone(), Box::new(drop)).is_ok(),
        6 => log.truncate_after(Some(at)).is_ok(),
        7 => log.purge(at).is_ok(),
        8 => log.save_committed(Position { index: somewhere.saturating_sub(3), ..at }).is_ok(),
        9 => {
            log.save_vote(Vote { term: *term, node_id: somewhere, committed: false }, Box::new(drop)).is_ok()
        }
        10 => log.truncate_after(None).is_ok(),
        _ => log.sync(Box::new(drop)).is_ok(),
    };
    let answers: Vec<bool> = logs.iter().map(done).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{what} at {at:?}: {answers:?}");
    if what == 11 {
        *term += 1;
    }
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
