//! A log in memory, with the crash semantics of a disk: everything takes effect for readers at once, and
//! survives a crash only once it was synced.
//!
//! For tests, for the simulator (which owns the [`Disk`] of each member, decides through a [`Driver`] when a
//! sync is done, and crashes members), and for `--log-store memory`.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Backend, LogState, Op, Position, RaftLog, Record,
    queue::{Queue, QueuedLog},
};

/// What a simulated disk durably holds. It outlives the logs that are opened on it; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    image: Arc<Mutex<Image>>,
}

#[derive(Debug, Default)]
struct Image {
    state: LogState,
    entries: BTreeMap<u64, Record>,
    broken: Option<Failure>,
}

/// What a disk that broke down does with what is written. It says that it failed, whatever it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is lost.
    Dead,
    /// It is there all the same.
    Doubtful,
    /// There is no space for it.
    Full,
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Failure::Dead | Failure::Doubtful => io::Error::other("the disk broke down"),
            Failure::Full => rustix::io::Errno::NOSPC.into(),
        }
    }
}

impl Disk {
    /// Opens the log on this disk, one log at a time. Nothing becomes durable but by the driver, which must
    /// pump before [`super::QUEUE_BYTES_MAX`] wait: then an append would block.
    pub fn open(&self) -> (Arc<dyn RaftLog>, Driver) {
        let queue = self.queue();
        (Arc::new(QueuedLog::pumped(Arc::clone(&queue))), Driver { queue })
    }

    /// Opens the log on this disk, with a thread that makes everything durable at once.
    pub fn open_threaded(&self) -> io::Result<Arc<dyn RaftLog>> {
        Ok(Arc::new(QueuedLog::threaded(self.queue())?))
    }

    /// Whether the entry at `at` is there durably, or was purged, which only what is committed is.
    pub fn holds(&self, at: Position) -> bool {
        let image = self.lock();
        let purged = image.state.purged.is_some_and(|purged| purged.index >= at.index);
        purged || image.entries.get(&at.index).is_some_and(|record| record.at == at)
    }

    /// From now on every write fails.
    pub fn break_down(&self, how: Failure) {
        self.lock().broken = Some(how);
    }

    /// Writes succeed again: for the next log that is opened here.
    pub fn mend(&self) {
        self.lock().broken = None;
    }

    fn queue(&self) -> Arc<Queue> {
        let image = self.lock();
        let first = image.entries.keys().next().copied();
        Queue::new(Box::new(self.clone()), image.state, first)
    }

    fn lock(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves the simulated disk of one open log.
#[derive(Clone)]
pub struct Driver {
    queue: Arc<Queue>,
}

impl Driver {
    /// Operations that wait to be synced.
    pub fn queued(&self) -> usize {
        self.queue.queued()
    }

    /// The same, one by one: how many pieces each is to [`Self::crash`], an append as many as it has entries.
    pub fn pieces(&self) -> Vec<usize> {
        self.queue.pieces()
    }

    /// Syncs the first `ops` operations that wait and calls the completions behind them. With the number that
    /// waited when a slow sync began, what came in meanwhile waits for the next one.
    pub fn pump(&self, ops: usize) {
        self.queue.pump(ops);
    }

    /// Power fails. Of the operations that wait, the first `keep` made it to the disk (each entry of an
    /// append counts as one). The log is of no further use; open the disk again.
    pub fn crash(&self, keep: usize) -> io::Result<()> {
        self.queue.crash(keep)
    }
}

impl Image {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(records) => {
                self.entries.extend(records.iter().map(|record| (record.at.index, record.clone())));
            }
            Op::Truncate(last) => drop(self.entries.split_off(&last.map_or(0, |last| last.index + 1))),
            Op::Purge(upto) => self.entries = self.entries.split_off(&upto.index.saturating_add(1)),
            Op::Vote(_) | Op::Committed(_) => {}
        }
        self.state.apply(op);
    }
}

impl Backend for Disk {
    fn commit(&self, ops: &[Op], _sync: bool) -> io::Result<()> {
        let mut image = self.lock();
        let broken = image.broken;
        if broken.is_none_or(|how| how == Failure::Doubtful) {
            ops.iter().for_each(|op| image.apply(op));
        }
        broken.map_or(Ok(()), |how| Err(how.error()))
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let image = self.lock();
        let mut bytes = 0;
        let fits = |record: &&Record| {
            let fits = bytes < bytes_max || bytes == 0;
            bytes += record.payload.len();
            fits
        };
        Ok(image.entries.range(range).map(|(_, record)| record).take_while(fits).cloned().collect())
    }

    fn size(&self) -> u64 {
        self.lock().entries.values().map(|record| record.payload.len() as u64).sum()
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}
