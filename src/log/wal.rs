//! The default log: a write-ahead log in chunk files, by the crate `raft-log`. Every record has a CRC; a
//! chunk begins with a checkpoint of vote and bounds; one `fdatasync` per group; a chunk is unlinked when a
//! purge covers it and that purge is on disk.
//!
//! What this file adds: a checksum of each payload's length. Without it a length damaged in the middle of the
//! newest chunk reads as "end of file in a record", which is what a torn write at the tail looks like, and
//! everything behind it, acknowledged or not, would be cut off. With it only a real torn write is.
//!
//! Not detected: newest chunk files that somebody deleted. The state machine then is ahead of the log, which
//! the node notices.

use std::{
    io::{self, Read, Write},
    ops::Range,
    path::Path,
    sync::{Arc, PoisonError, RwLock, mpsc},
    time::Duration,
};

use bytes::Bytes;
use raft_log::{
    Config, RaftLog as ChunkLog, Types,
    api::raft_log_writer::RaftLogWriter,
    codeq::{Decode, Encode},
    types::Segment,
};

use super::{
    Backend, LogState, Op, Position, Record, Vote, damaged,
    queue::{Queue, QueuedLog},
};

/// Bytes of a chunk. A purge frees whole chunks, and the crate holds the payloads of the newest chunk in
/// memory: small enough for both, large enough that a new file (and a sync of the directory) is needed only
/// every 16 MiB.
pub(super) const CHUNK_BYTES: usize = 16 << 20;

/// No payload is longer: larger than the peers' message size.
const PAYLOAD_BYTES_MAX: u32 = 64 << 20;

/// Opens the log in `dir`, which exists.
pub(super) fn open(dir: &Path, chunk_bytes: usize) -> io::Result<QueuedLog> {
    let log = ChunkLog::<WalTypes>::open(Arc::new(config(dir, chunk_bytes)?))?;
    let state = LogState {
        vote: log.log_state().vote().map(|vote| vote.0),
        committed: log.log_state().committed().copied(),
        purged: log.log_state().purged().copied(),
        last: log.log_state().last().copied(),
    };
    let first = check_whole(&log, &state, dir)?;
    QueuedLog::threaded(Queue::new(Box::new(Wal { log: RwLock::new(Some(log)) }), state, first))
}

fn config(dir: &Path, chunk_bytes: usize) -> io::Result<Config> {
    let dir = dir
        .to_str()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the directory's name is not UTF-8"))?;
    let mut config = Config::new(dir);
    config.wal.chunk_max_size = Some(chunk_bytes);
    config.wal.read_buffer_size = Some(1 << 20);
    config.wal.truncate_incomplete_record = Some(true);
    // Our own writer forms the groups: the crate's worker need not wait for more.
    config.wal.flush_batch_wait = Some(Duration::ZERO);
    // Entries are kept decoded above; the crate keeps what it cannot yet read back from a finished chunk
    // anyway.
    config.log_cache_max_items = Some(1024);
    config.log_cache_capacity = Some(1 << 20);
    Ok(config)
}

/// Checks that no entry is missing, and finds the first. The crate checks that chunks and entries follow each
/// other; what is left are the oldest chunks.
fn check_whole(log: &ChunkLog<WalTypes>, state: &LogState, dir: &Path) -> io::Result<Option<u64>> {
    let Some(last) = state.last.filter(|_| !state.is_empty()) else { return Ok(None) };
    let entry = |from: u64| log.read(from, last.index + 1).next().transpose();
    let first = entry(0)?.map(|(at, _)| at.index);
    let expected = state.purged.map(|purged| purged.index + 1);
    let from_start = dir.join(raft_log::chunked_wal::Config::chunk_file_name(raft_log::ChunkId(0))).exists();
    let begins = expected.map_or(from_start, |expected| first == Some(expected));
    if !begins || entry(last.index)?.is_none_or(|(at, _)| at != last) {
        let expected = expected.unwrap_or(0);
        return Err(damaged(format!(
            "entries {expected} to {} are not all there: a chunk is missing",
            last.index
        )));
    }
    Ok(first)
}

struct Wal {
    /// `None` once closed.
    log: RwLock<Option<ChunkLog<WalTypes>>>,
}

impl Wal {
    /// Writes the operations and hands them to the crate's worker. The receiver gets what became of the sync.
    fn write(&self, ops: &[Op], sync: bool) -> io::Result<mpsc::Receiver<io::Result<()>>> {
        let mut guard = self.log.write().unwrap_or_else(PoisonError::into_inner);
        let log = guard.as_mut().ok_or_else(closed)?;
        for op in ops {
            write_op(log, op)?;
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        log.flush(sync, Some(sender)).map_err(|error| cause(log, error))?;
        Ok(receiver)
    }
}

fn write_op(log: &mut ChunkLog<WalTypes>, op: &Op) -> io::Result<()> {
    match op {
        Op::Append(records) => {
            log.append(records.iter().map(|record| (record.at, Payload(record.payload.clone()))))
        }
        Op::Vote(vote) => log.save_vote(WalVote(*vote)),
        Op::Committed(at) => log.commit(*at),
        Op::Truncate(last) => {
            let state = log.log_state();
            let next = WalTypes::next_log_index(last.as_ref().or(state.purged()));
            log.truncate(next)
        }
        Op::Purge(upto) => purge(log, *upto),
    }
    .map(drop)
    .map_err(|error| cause(log, error))
}

/// Purges, also a tail of a later term. The crate compares terms first: it would go on from that tail's end,
/// and refuse the entry behind `upto`.
fn purge(log: &mut ChunkLog<WalTypes>, upto: Position) -> io::Result<Segment> {
    let state = log.log_state();
    if state.last().is_some_and(|last| last.index <= upto.index && *last > upto) {
        let keep = state.committed().max(state.purged());
        let next = WalTypes::next_log_index(keep);
        log.truncate(next)?;
    }
    log.purge(upto)
}

/// Why the crate's worker ended, if it did: a call only says that it is gone.
fn cause(log: &ChunkLog<WalTypes>, error: io::Error) -> io::Error {
    log.wait_worker_idle().err().unwrap_or(error)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")
}

impl Backend for Wal {
    fn commit(&self, ops: &[Op], sync: bool) -> io::Result<()> {
        let written = self.write(ops, sync)?;
        written.recv().map_err(|_| io::Error::other("the log's worker ended before the sync"))?
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let guard = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let log = guard.as_ref().ok_or_else(closed)?;
        let mut records = Vec::new();
        let mut bytes = 0;
        for entry in log.read(range.start, range.end) {
            let (at, payload) = entry?;
            bytes += payload.0.len();
            records.push(Record { at, payload: payload.0 });
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(records)
    }

    fn size(&self) -> u64 {
        let guard = self.log.read().unwrap_or_else(PoisonError::into_inner);
        guard.as_ref().map_or(0, ChunkLog::on_disk_size)
    }

    fn close(&self) -> io::Result<()> {
        // Dropping it ends its worker and releases the lock on the directory.
        drop(self.log.write().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct WalTypes;

impl Types for WalTypes {
    type LogId = Position;
    type LogPayload = Payload;
    type Vote = WalVote;
    type Callback = mpsc::SyncSender<io::Result<()>>;
    type UserData = u8;

    fn log_index(at: &Position) -> u64 {
        at.index
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.0.len() as u64
    }
}

#[derive(Clone, Debug)]
struct Payload(Bytes);

/// Length, CRC of the length, bytes. The CRC of the whole record is the crate's.
impl Encode for Payload {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "payload is too long");
        let length = u32::try_from(self.0.len()).map_err(too_long)?.to_be_bytes();
        w.write_all(&length)?;
        w.write_all(&crc32fast::hash(&length).to_be_bytes())?;
        w.write_all(&self.0)?;
        Ok(8 + self.0.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let length = read_u32(&mut r)?;
        if read_u32(&mut r)? != crc32fast::hash(&length.to_be_bytes()) || length > PAYLOAD_BYTES_MAX {
            return Err(damaged("the length of an entry is damaged".into()));
        }
        let mut bytes = vec![0; length as usize];
        r.read_exact(&mut bytes)?;
        Ok(Payload(bytes.into()))
    }
}

impl Encode for Position {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        Ok(self.term.encode(&mut w)? + self.index.encode(&mut w)?)
    }
}

impl Decode for Position {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        Ok(Position { term: u64::decode(&mut r)?, index: u64::decode(&mut r)? })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WalVote(Vote);

/// The crate refuses a smaller vote. A vote for another node in the same term is not smaller: a follower may
/// have voted for one candidate and then hear from another that won.
impl PartialOrd for WalVote {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let rank = |vote: &WalVote| (vote.0.term, vote.0.committed);
        Some(rank(self).cmp(&rank(other)))
    }
}

impl Encode for WalVote {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let Vote { term, node_id, committed } = self.0;
        Ok(term.encode(&mut w)? + node_id.encode(&mut w)? + committed.encode(&mut w)?)
    }
}

impl Decode for WalVote {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let (term, node_id) = (u64::decode(&mut r)?, u64::decode(&mut r)?);
        Ok(WalVote(Vote { term, node_id, committed: bool::decode(&mut r)? }))
    }
}

fn read_u32(mut r: impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    r.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
