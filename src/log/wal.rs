//! The default log: a write-ahead log in segments that are full of zeros before they are written to, so that
//! a sync has nothing to do but to write. One `fdatasync` per group (and one more where it goes on to the
//! next segment), on the queue's thread.
//!
//! ```text
//! 00000000000000000001.log   frames (`frame`), then zeros; each file twice the one before, up to 16 MiB
//! 00000000000000000002.log   made ready when the one before is half full, on a thread of its own
//! LOCK                       held while the log is open
//! ```
//!
//! A segment begins with the vote and the bounds that the log had by then; it is removed when a purge covers
//! it and that purge is on disk, the oldest first. What a crash may leave, and what is damage: `recover`.
//!
//! Deliberately absent: compression, and segments that are used again (a stale frame would have to be told
//! from a torn one). Not our own idea: `docs/adr/0011-own-log.md` says why it is our own code.

mod frame;
mod places;
mod recover;
mod segment;

use std::{
    collections::VecDeque,
    fs::{File, TryLockError},
    io, mem,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

pub(super) use self::segment::Sizes;
use self::{
    frame::{ENTRY_BYTES, SECTOR},
    places::{Place, Places},
    recover::{FIRST, Recovered},
    segment::Segment,
};
use super::{
    Backend, LogState, Op, Position, Record,
    queue::{Queue, QueuedLog},
};
use crate::error::panic_text;

/// Segments: small ones for a log that is small; then large enough that a new one is seldom needed, and small
/// enough to free space soon after a purge.
pub(super) const SIZES: Sizes = Sizes { first: 1 << 20, max: 16 << 20 };

/// A frame is closed when it has more: whoever reads one entry reads the frame.
const FRAME_BYTES_MAX: usize = 256 << 10;

/// Frames are written when there are so many bytes of them, and synced when their group is complete.
const WRITE_BYTES: usize = 1 << 20;

/// One process at a time.
const LOCK_FILE: &str = "LOCK";

/// Opens the log in `dir`, which exists.
pub(super) fn open(dir: &Path, sizes: Sizes) -> io::Result<QueuedLog> {
    let (wal, state, first) = open_wal(dir, sizes)?;
    QueuedLog::threaded(Queue::new(Box::new(wal), state, first))
}

/// What is below the queue, the log's state, and the index of the first entry, if there is one.
fn open_wal(dir: &Path, sizes: Sizes) -> io::Result<(Wal, LogState, Option<u64>)> {
    let lock = lock(dir)?;
    let Recovered { state, places, mut segments, next, .. } = recover::recover(dir)?;
    let first = places.first().map(|place| place.first.max(state.purged.map_or(0, |at| at.index + 1)));
    let found = segments.pop_back();
    let is_new = found.is_none();
    let current = found.map_or_else(|| Segment::create(dir, FIRST, sizes.first), Ok)?;
    let files = Files { dir: dir.to_owned(), sizes, older: segments, current, spare: None };
    let mut writer =
        Writer { files, unwritten: Vec::new(), open: Open::new(state), next, group: next, hint: None };
    if is_new {
        writer.begin_segment()?;
    }
    if state.purged.is_some() {
        // Left over by a crash. Before any purge nothing may go: the first file shows where the log begins.
        writer.files.remove_covered(&places);
    }
    let bytes = AtomicU64::new(writer.files.used());
    let wal = Wal { writer: Mutex::new(Some((writer, lock))), places: RwLock::new(places), bytes };
    Ok((wal, state, first))
}

fn lock(dir: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(dir.join(LOCK_FILE))?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, "another process has it open"),
        TryLockError::Error(error) => error,
    })?;
    Ok(file)
}

struct Wal {
    /// And the lock on the directory. `None` once closed.
    writer: Mutex<Option<(Writer, File)>>,
    places: RwLock<Places>,
    /// Bytes of all frames.
    bytes: AtomicU64,
}

impl Wal {
    fn writer(&self) -> MutexGuard<'_, Option<(Writer, File)>> {
        // After a panic the queue has failed, and nothing is written any more.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Wal {
    fn commit(&self, ops: &[Op], sync: bool) -> io::Result<()> {
        let mut guard = self.writer();
        let (writer, _) = guard.as_mut().ok_or_else(closed)?;
        writer.commit(ops, sync, &self.places)?;
        self.bytes.store(writer.files.used(), Ordering::Relaxed);
        Ok(())
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let (mut records, mut bytes, mut rest) = (Vec::new(), 0, range);
        while !rest.is_empty() {
            let places = self.places.read().unwrap_or_else(PoisonError::into_inner).of(&rest);
            let Some(last) = places.last().map(|place| place.last) else { break };
            for place in places {
                for record in place.read(&rest)? {
                    bytes += record.payload.len();
                    records.push(record);
                    if bytes >= bytes_max {
                        return Ok(records);
                    }
                }
            }
            rest.start = last.saturating_add(1);
        }
        Ok(records)
    }

    fn size(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn close(&self) -> io::Result<()> {
        drop(self.writer().take());
        Ok(())
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")
}

/// Turns operations into frames.
struct Writer {
    files: Files,
    /// Closed frames, for the current segment.
    unwritten: Vec<u8>,
    open: Open,
    /// The number of the next frame.
    next: u64,
    /// The number of the first frame that is not synced.
    group: u64,
    /// A committed position that rides with the next group.
    hint: Option<Position>,
}

/// The frame that operations are added to.
struct Open {
    body: Vec<u8>,
    /// Its first and last entry's index.
    entries: Option<(u64, u64)>,
    /// The log's state behind it,
    state: LogState,
    /// and before it.
    before: LogState,
}

impl Open {
    fn new(state: LogState) -> Open {
        Open { body: Vec::new(), entries: None, state, before: state }
    }

    fn add(&mut self, op: &Op) -> io::Result<()> {
        self.state.apply(op);
        frame::put_op(&mut self.body, op)
    }

    /// Whether an entry may be added: the entries of a frame follow each other.
    fn has_room_for(&self, record: &Record) -> bool {
        let bytes = self.body.len() + ENTRY_BYTES + record.payload.len();
        let follows = self.entries.is_none_or(|(_, last)| last.checked_add(1) == Some(record.at.index));
        follows && (self.body.is_empty() || bytes <= FRAME_BYTES_MAX)
    }

    fn add_entry(&mut self, record: &Record) -> io::Result<()> {
        let index = record.at.index;
        self.entries = Some((self.entries.map_or(index, |(first, _)| first), index));
        self.state.last = Some(record.at);
        frame::put_entry(&mut self.body, record)
    }
}

impl Writer {
    fn commit(&mut self, ops: &[Op], sync: bool, places: &RwLock<Places>) -> io::Result<()> {
        for op in ops {
            match op {
                Op::Append(records) => self.append(records, places)?,
                Op::Vote(_) => self.open.add(op)?,
                Op::Committed(at) => self.hint = Some(*at),
                Op::Truncate(_) | Op::Purge(_) => {
                    // First of a frame: what is before it has its place by then.
                    self.close_frame(places)?;
                    self.open.add(op)?;
                    write(places).apply(op);
                }
            }
        }
        if !sync {
            return Ok(());
        }
        if let Some(at) = self.hint.take() {
            self.open.add(&Op::Committed(at))?;
        }
        self.close_frame(places)?;
        self.sync()?;
        if ops.iter().any(|op| matches!(op, Op::Purge(_))) {
            self.files.remove_covered(&places.read().unwrap_or_else(PoisonError::into_inner));
        }
        self.files.prepare();
        Ok(())
    }

    fn append(&mut self, records: &[Record], places: &RwLock<Places>) -> io::Result<()> {
        for record in records {
            if !self.open.has_room_for(record) {
                self.close_frame(places)?;
            }
            self.open.add_entry(record)?;
        }
        Ok(())
    }

    /// Ends the open frame, in the next segment if there is no room in this one.
    fn close_frame(&mut self, places: &RwLock<Places>) -> io::Result<()> {
        if self.open.body.is_empty() {
            return Ok(());
        }
        let size = frame::size(self.open.body.len());
        if self.files.current.room() < self.unwritten.len() + size {
            self.sync()?;
            self.files.next(size)?;
            self.begin_segment()?;
        }
        let offset = self.files.current.used + self.unwritten.len();
        frame::write(&mut self.unwritten, self.next, self.group, &self.open.body)?;
        self.next += 1;
        if let Some((first, last)) = self.open.entries.take() {
            let Segment { number: segment, file, .. } = &self.files.current;
            let (segment, file, length) = (*segment, file.clone(), self.open.body.len());
            write(places).push(Place { first, last, segment, file, offset, length });
        }
        self.open.body.clear();
        self.open.before = self.open.state;
        if self.unwritten.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let body = frame::begin(self.files.current.number, &self.open.before);
        frame::write(&mut self.unwritten, self.next, self.group, &body)?;
        self.next += 1;
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.files.current.write(&self.unwritten)?;
        self.unwritten.clear();
        // Of one large entry; the usual frame needs less.
        self.unwritten.shrink_to(2 * WRITE_BYTES);
        self.open.body.shrink_to(WRITE_BYTES);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.group < self.next {
            self.write()?;
            self.files.current.sync()?;
            self.group = self.next;
        }
        Ok(())
    }
}

fn write(places: &RwLock<Places>) -> RwLockWriteGuard<'_, Places> {
    places.write().unwrap_or_else(PoisonError::into_inner)
}

/// The segments.
struct Files {
    dir: PathBuf,
    sizes: Sizes,
    /// Oldest first.
    older: VecDeque<Segment>,
    current: Segment,
    /// The next one, or whoever makes it.
    spare: Option<JoinHandle<io::Result<Segment>>>,
}

impl Files {
    /// Bytes of all frames that are written.
    fn used(&self) -> u64 {
        self.older.iter().chain([&self.current]).map(|segment| segment.used as u64).sum()
    }

    /// Goes on to the next segment, whose first frame and one of `size` have room in it.
    fn next(&mut self, size: usize) -> io::Result<()> {
        let needed = size + SECTOR;
        let spare = match self.take_spare()? {
            Some(spare) if spare.size < needed => {
                spare.remove(&self.dir)?;
                None
            }
            spare => spare,
        };
        let create = || {
            Segment::create(&self.dir, self.current.number + 1, self.sizes.behind(self.current.size, needed))
        };
        let next = spare.map_or_else(create, Ok)?;
        self.older.push_back(mem::replace(&mut self.current, next));
        Ok(())
    }

    /// Has the next segment made when this one is half full; if that cannot be, it is made when it is needed.
    fn prepare(&mut self) {
        if self.spare.is_some() || self.current.room() > self.current.size / 2 {
            return;
        }
        let (dir, number) = (self.dir.clone(), self.current.number + 1);
        let size = self.sizes.behind(self.current.size, 0);
        let make = move || Segment::create(&dir, number, size);
        self.spare = thread::Builder::new().name("raft-log-next".into()).spawn(make).ok();
    }

    /// The next segment, if it could be made; where not, say for lack of space, it is tried again when it is
    /// needed.
    fn take_spare(&mut self) -> io::Result<Option<Segment>> {
        let Some(maker) = self.spare.take() else { return Ok(None) };
        match maker.join() {
            Ok(Ok(segment)) => Ok(Some(segment)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "could not make a segment of the Raft log");
                Ok(None)
            }
            Err(panic) => Err(io::Error::other(panic_text(&*panic))),
        }
    }

    /// Removes the segments whose entries are all purged. What cannot be removed is left to the next purge.
    fn remove_covered(&mut self, places: &Places) {
        let needed = places.first().map_or(self.current.number, |place| place.segment);
        while let Some(covered) = self.older.front().filter(|segment| segment.number < needed) {
            if let Err(error) = covered.remove(&self.dir) {
                return tracing::warn!(segment = covered.name(), %error, "could not remove a purged segment");
            }
            self.older.pop_front();
        }
    }
}

impl Drop for Files {
    /// Whoever opens the directory next shall not meet a file that is being made.
    fn drop(&mut self) {
        let _ = self.take_spare();
    }
}

#[cfg(test)]
mod tests;
