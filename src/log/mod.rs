//! Raft log stores: one trait, three implementations (`wal`, `sled`, `memory`) that pass the same suite.
//!
//! This layer knows positions and opaque payloads, nothing of openraft. Every mutation takes effect for
//! readers at once and reaches the disk in call order; a [`Completion`] fires when all that was called before
//! it is durable.
//!
//! ```text
//! append, save_vote, …  ──> view.rs (what readers see) and queue.rs ──> completions, in order
//!                               │ writer.rs: takes all that queued up, commits it as one group
//!                               ▼
//!                           trait Backend: wal.rs, sled_store.rs, memory.rs: one write, one sync per group
//! ```
//!
//! The queue checks every call, so the backends need not; and it is where a failure becomes final: after the
//! first one, every call returns it. Deliberately absent: retrying a sync. What the kernel did with the pages
//! after a failed one is unknown (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).

mod memory;
mod open;
mod pack;
mod queue;
mod sled_store;
mod view;
mod wal;
mod writer;

use std::{io, ops::Range};

use bytes::Bytes;

pub use self::{
    memory::{Disk, Driver, Failure},
    open::{Kind, OpenError, open},
};

/// The position of an entry: term and index. Within one log, the order of positions is that of their indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The term of the leader that appended it.
    pub term: u64,
    /// Its index; the first entry of a log has index 0.
    pub index: u64,
}

/// One entry: its position, and what the layer above encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where.
    pub at: Position,
    /// What.
    pub payload: Bytes,
}

/// Whom a member has voted for. Losing it breaks election safety (Raft paper, section 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vote {
    /// In which term.
    pub term: u64,
    /// For whom.
    pub node_id: u64,
    /// Whether a quorum is known to have agreed.
    pub committed: bool,
}

/// What a log holds besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The last vote.
    pub vote: Option<Vote>,
    /// A position known to be committed: a hint for recovery, not synced on its own.
    pub committed: Option<Position>,
    /// The last entry that was purged.
    pub purged: Option<Position>,
    /// The last entry, or `purged` if there is none.
    pub last: Option<Position>,
}

/// What a log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries appended.
    pub entries: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Groups made durable: each was one sync.
    pub syncs: u64,
}

/// Called exactly once, from any thread, when everything called before is durable, or when it never will be:
/// an error is final, the log refuses all further work. Also called (with the error) if the method that took
/// it fails.
pub type Completion = Box<dyn FnOnce(io::Result<()>) + Send + 'static>;

/// A durable Raft log. All methods are short: those that wait for a disk take a [`Completion`].
pub trait RaftLog: Send + Sync + 'static {
    /// Vote, bounds and committed position, as written (durable or not).
    fn state(&self) -> LogState;

    /// Appends entries that follow the last one (an empty log may begin at any index). Readable when this
    /// returns; durable when `done` fires. Blocks while more than [`QUEUE_BYTES_MAX`] wait for the disk.
    fn append(&self, records: Vec<Record>, done: Completion) -> io::Result<()>;

    /// Replaces the vote. A vote of an earlier term, or one that takes a commitment back, is refused.
    fn save_vote(&self, vote: Vote, done: Completion) -> io::Result<()>;

    /// Notes what is committed; written with the next group, never synced for its own sake. It is a hint: one
    /// behind the present one or beyond the last entry is ignored.
    fn save_committed(&self, at: Position) -> io::Result<()>;

    /// Drops the entries behind `last` (all, for `None`).
    fn truncate_after(&self, last: Option<Position>) -> io::Result<()>;

    /// Forgets the entries up to and including `upto`, which may lie beyond the last one (after a snapshot),
    /// also if that one has a later term: it never was committed then.
    fn purge(&self, upto: Position) -> io::Result<()>;

    /// Fires when all that was called before is durable.
    fn sync(&self, done: Completion) -> io::Result<()>;

    /// The entries of `range` up to the last one, in order; stops after `bytes_max` of payload but returns at
    /// least one if there is one. A missing or damaged entry inside the log is an error, never a gap; so is a
    /// range that begins where the log is purged ([`io::ErrorKind::NotFound`]).
    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>>;

    /// Bytes that it takes on disk, without what is allocated in advance.
    fn size(&self) -> u64;

    /// Counters.
    fn stats(&self) -> Stats;

    /// Waits for what is queued, syncs, and ends the writer. All further calls fail. A second `close` does
    /// nothing.
    fn close(&self) -> io::Result<()>;
}

/// How many bytes of payload may wait for the disk. The next append waits for room, and with it openraft's
/// core: a disk that is slower than the arrivals shows as a slow leader, which admission control above
/// answers, not as memory.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// One mutation, on its way to the disk.
#[derive(Clone, Debug)]
enum Op {
    Append(Vec<Record>),
    Vote(Vote),
    Committed(Position),
    /// Keep up to this position, and nothing for `None`.
    Truncate(Option<Position>),
    Purge(Position),
}

impl LogState {
    /// What the state is after `op`, which has been checked.
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(records) => self.last = records.last().map(|record| record.at).or(self.last),
            Op::Vote(vote) => self.vote = Some(*vote),
            Op::Committed(at) => self.committed = Some(*at),
            Op::Truncate(last) => self.last = last.or(self.purged),
            Op::Purge(upto) => {
                self.purged = Some(*upto);
                self.last = self.last.filter(|last| last.index > upto.index).or(self.purged);
            }
        }
    }

    /// Whether the log holds no entry.
    fn is_empty(&self) -> bool {
        self.last == self.purged
    }
}

/// What keeps a log, below the queue. Called from one thread at a time, except `read` and `size`.
trait Backend: Send + Sync + 'static {
    /// Does the operations in order. What it returns from is readable, and durable if `sync`. An error is
    /// final, and so is a panic.
    fn commit(&self, ops: &[Op], sync: bool) -> io::Result<()>;

    /// The committed entries of `range`, all of which exist, from its start; stops after `bytes_max`, but not
    /// before one.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>>;

    /// Bytes on disk.
    fn size(&self) -> u64;

    /// Lets go of the files. Everything was committed before.
    fn close(&self) -> io::Result<()>;
}

/// Something stored is not what was written.
fn damaged(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
