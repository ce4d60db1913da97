//! The Raft log in sled (`--log-store sled`), in a database of its own. Slower than `wal`, and kept for
//! comparison.
//!
//! What makes it durable: sled's `flush` only starts writing back (`sync_file_range` on Linux), so a
//! `sync_data` of our own handle of its file follows. What exceeds a quarter of a segment goes to `blobs/`,
//! to files that nobody syncs; and it is a whole page, of up to about 27 records, that is measured. So
//! segments are large, and a pack is cut into pieces of which a page of them fits. sled's cost is per record,
//! so the entries of a group are packed into one.
//!
//! ```text
//! "c" | "p" | "v"                  committed and purged position, vote: 16 or 17 bytes, big endian
//! "e" first:u64 piece:u16          a pack that begins with entry `first`, cut into pieces
//! pack = crc32:u32 { term:u64 index:u64 length:u32 payload }*
//! ```
//!
//! A purge deletes packs that it covers whole. Deliberately absent: shrinking the file, which sled cannot.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::Range,
    path::Path,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
    time::Duration,
};

use super::{
    Backend, LogState, Op, Position, Record, damaged,
    pack::{self, Reader},
    queue::{Queue, QueuedLog},
};

/// Bytes of sled's segments. A quarter of it bounds a page: 27 pieces, and as much again to spare.
const SEGMENT_BYTES: usize = 8 << 20;
/// Bytes of a piece.
const PIECE_BYTES: usize = 32 << 10;
/// A pack of several entries is not longer, so that it is one piece, and a read of one entry need not decode
/// much.
const PACK_BYTES: usize = 31 << 10;
/// sled's page cache. Recent entries are kept decoded above.
const CACHE_BYTES: u64 = 16 << 20;

/// Between two looks at whether a former user has let go of the database.
const RELEASE_LOOK: Duration = Duration::from_millis(5);
/// So many looks before it is refused.
const RELEASE_LOOKS: u32 = 1000;

/// Opens the log in `dir`, which exists.
pub(super) fn open(dir: &Path) -> io::Result<QueuedLog> {
    let db = open_db(dir)?;
    // A handle of our own on the file that sled writes.
    let file = File::open(dir.join("db"))?;
    let (store, state) = SledStore::recover(db, file)?;
    let first = store.packs().keys().next().copied();
    let first = first.map(|first| first.max(state.purged.map_or(0, |purged| purged.index + 1)));
    QueuedLog::threaded(Queue::new(Box::new(store), state, first))
}

fn open_db(dir: &Path) -> io::Result<sled::Db> {
    wait_for_release(&dir.join("db"), RELEASE_LOOKS)?;
    config(dir).open().map_err(io_error)
}

fn config(dir: &Path) -> sled::Config {
    let config = sled::Config::new().path(dir).flush_every_ms(None);
    config.cache_capacity(CACHE_BYTES).segment_size(SEGMENT_BYTES)
}

/// Waits until the lock on sled's file is free. sled holds it a little longer than its `Db`: jobs of its
/// thread pool that are still under way hold the file too. A log that was closed must open again at once.
fn wait_for_release(path: &Path, looks: u32) -> io::Result<()> {
    let Ok(file) = File::open(path) else { return Ok(()) };
    for _ in 0..looks {
        if file.try_lock().is_ok() {
            return file.unlock();
        }
        thread::park_timeout(RELEASE_LOOK);
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{} is in use", path.display())))
}

struct SledStore {
    /// `None` once closed.
    db: RwLock<Option<sled::Db>>,
    file: File,
    /// All packs, by their first entry.
    packs: RwLock<BTreeMap<u64, Pack>>,
}

#[derive(Clone, Copy, Debug)]
struct Pack {
    last: u64,
    pieces: u16,
}

impl SledStore {
    fn recover(db: sled::Db, file: File) -> io::Result<(Self, LogState)> {
        let mut state = LogState {
            vote: get(&db, b"v", Reader::vote)?,
            committed: get(&db, b"c", Reader::position)?,
            purged: get(&db, b"p", Reader::position)?,
            last: None,
        };
        let (packs, last) = scan(&db)?;
        if let (Some(purged), Some(first)) = (state.purged, packs.keys().next())
            && *first > purged.index + 1
        {
            return Err(damaged(format!("entries {} to {} are missing", purged.index + 1, first - 1)));
        }
        state.last = last.or(state.purged);
        Ok((SledStore { db: RwLock::new(Some(db)), file, packs: RwLock::new(packs) }, state))
    }

    fn packs(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Pack>> {
        self.packs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn packs_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<u64, Pack>> {
        self.packs.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_db<T>(&self, work: impl FnOnce(&sled::Db) -> io::Result<T>) -> io::Result<T> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        work(db.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed"))?)
    }

    /// Writes what is gathered, as one atomic batch.
    fn write(&self, db: &sled::Db, gathered: &mut Gathered) -> io::Result<()> {
        let Gathered { mut batch, run } = std::mem::take(gathered);
        let mut packs = Vec::new();
        for records in pack::split(&run, PACK_BYTES) {
            packs.extend(put_pack(&mut batch, records)?);
        }
        db.apply_batch(batch).map_err(io_error)?;
        self.packs_mut().extend(packs);
        Ok(())
    }

    /// Cuts the pack that holds entry `next`, and deletes those behind it. Readers wait: they must not meet a
    /// pack whose pieces are being replaced.
    fn truncate(&self, db: &sled::Db, next: u64) -> io::Result<()> {
        let mut packs = self.packs_mut();
        let mut batch = sled::Batch::default();
        let mut kept = Vec::new();
        let mut removed = Vec::new();
        for (first, pack) in packs.iter().rev().take_while(|(_, pack)| pack.last >= next) {
            removed.push(*first);
            remove_pack(&mut batch, *first, *pack);
            if *first < next {
                kept = read_pack(db, *first, *pack)?;
                kept.retain(|record| record.at.index < next);
            }
        }
        let rewritten = put_pack(&mut batch, &kept)?;
        db.apply_batch(batch).map_err(io_error)?;
        removed.iter().for_each(|first| {
            packs.remove(first);
        });
        packs.extend(rewritten);
        Ok(())
    }

    /// Deletes the packs that end at or before `upto`.
    fn purge(&self, db: &sled::Db, upto: Position) -> io::Result<()> {
        let mut packs = self.packs_mut();
        let mut batch = sled::Batch::default();
        batch.insert(b"p", pack::position(upto).to_vec());
        for (first, pack) in packs.iter().take_while(|(_, pack)| pack.last <= upto.index) {
            remove_pack(&mut batch, *first, *pack);
        }
        db.apply_batch(batch).map_err(io_error)?;
        packs.retain(|_, pack| pack.last > upto.index);
        Ok(())
    }
}

/// What will be written at once.
#[derive(Default)]
struct Gathered {
    batch: sled::Batch,
    run: Vec<Record>,
}

impl Backend for SledStore {
    fn commit(&self, ops: &[Op], sync: bool) -> io::Result<()> {
        self.with_db(|db| {
            let mut gathered = Gathered::default();
            for op in ops {
                match op {
                    Op::Append(records) => gathered.run.extend_from_slice(records),
                    Op::Vote(vote) => gathered.batch.insert(b"v", pack::vote(*vote).to_vec()),
                    Op::Committed(at) => gathered.batch.insert(b"c", pack::position(*at).to_vec()),
                    Op::Truncate(last) => {
                        self.write(db, &mut gathered)?;
                        self.truncate(db, last.map_or(0, |last| last.index + 1))?;
                    }
                    Op::Purge(upto) => {
                        self.write(db, &mut gathered)?;
                        self.purge(db, *upto)?;
                    }
                }
            }
            self.write(db, &mut gathered)?;
            if sync {
                db.flush().map_err(io_error)?;
                self.file.sync_data()?;
            }
            Ok(())
        })
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let packs = self.packs();
        let start = packs.range(..=range.start).next_back().map_or(range.start, |(first, _)| *first);
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for (first, pack) in packs.range(start..range.end) {
            for record in self.with_db(|db| read_pack(db, *first, *pack))? {
                let wanted = range.contains(&record.at.index);
                if wanted && (bytes < bytes_max || records.is_empty()) {
                    bytes += record.payload.len();
                    records.push(record);
                }
            }
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(records)
    }

    fn size(&self) -> u64 {
        self.with_db(|db| db.size_on_disk().map_err(io_error)).unwrap_or(0)
    }

    fn close(&self) -> io::Result<()> {
        drop(self.db.write().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }
}

fn key(first: u64, piece: u16) -> [u8; 11] {
    let mut key = [b'e'; 11];
    key[1..9].copy_from_slice(&first.to_be_bytes());
    key[9..].copy_from_slice(&piece.to_be_bytes());
    key
}

/// Adds a pack to a batch; none for no records.
fn put_pack(batch: &mut sled::Batch, records: &[Record]) -> io::Result<Option<(u64, Pack)>> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(None) };
    let bytes = pack::encode(records)?;
    let mut pieces = 0;
    for piece in bytes.chunks(PIECE_BYTES) {
        batch.insert(&key(first.at.index, pieces), piece);
        let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "entry is too long");
        pieces = pieces.checked_add(1).ok_or_else(too_long)?;
    }
    Ok(Some((first.at.index, Pack { last: last.at.index, pieces })))
}

fn remove_pack(batch: &mut sled::Batch, first: u64, pack: Pack) {
    (0..pack.pieces).for_each(|piece| batch.remove(&key(first, piece)));
}

fn read_pack(db: &sled::Db, first: u64, pack: Pack) -> io::Result<Vec<Record>> {
    let mut bytes = Vec::new();
    for piece in 0..pack.pieces {
        let missing = || damaged(format!("piece {piece} of entry {first} is missing"));
        bytes.extend_from_slice(&db.get(key(first, piece)).map_err(io_error)?.ok_or_else(missing)?);
    }
    pack::decode(bytes.into())
}

fn get<T>(db: &sled::Db, key: &[u8], read: fn(&mut Reader) -> io::Result<T>) -> io::Result<Option<T>> {
    let value = db.get(key).map_err(io_error)?;
    value.map(|value| read(&mut Reader::new(value.to_vec().into()))).transpose()
}

/// Reads every pack once: finds them, and checks that they are whole and follow each other.
fn scan(db: &sled::Db) -> io::Result<(BTreeMap<u64, Pack>, Option<Position>)> {
    let mut packs = BTreeMap::new();
    for item in db.scan_prefix(b"e").keys() {
        let (first, piece) = parse_key(&item.map_err(io_error)?)?;
        let pack = packs.entry(first).or_insert(Pack { last: first, pieces: 0 });
        if piece != pack.pieces {
            return Err(damaged(format!("piece {} of entry {first} is missing", pack.pieces)));
        }
        pack.pieces += 1;
    }
    let mut last: Option<Position> = None;
    for (first, pack) in &mut packs {
        let records = read_pack(db, *first, *pack)?;
        for (index, record) in (*first..).zip(&records) {
            if record.at.index != index {
                return Err(damaged(format!("entry {index} is missing: {:?} lies in its place", record.at)));
            }
        }
        if let Some(last) = last.filter(|last| last.index + 1 != *first) {
            return Err(damaged(format!("entries {} to {} are missing", last.index + 1, first - 1)));
        }
        let end = records.last().ok_or_else(|| damaged(format!("the pack of entry {first} is empty")))?;
        pack.last = end.at.index;
        last = Some(end.at);
    }
    Ok((packs, last))
}

fn parse_key(key: &[u8]) -> io::Result<(u64, u16)> {
    let wrong = |_| damaged(format!("key {key:?} is not an entry's"));
    let first = key.get(1..9).unwrap_or_default().try_into().map_err(wrong)?;
    let piece = key.get(9..).unwrap_or_default().try_into().map_err(wrong)?;
    Ok((u64::from_be_bytes(first), u16::from_be_bytes(piece)))
}

fn io_error(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        sled::Error::Corruption { .. } => damaged(error.to_string()),
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;
