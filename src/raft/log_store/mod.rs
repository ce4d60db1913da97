//! openraft's log storage over any [`RaftLog`].
//!
//! What this adds to the log below: entries are encoded and decoded here; recent ones stay decoded in a
//! cache; and it is known which of them are durable, because the state must never be ahead of the log on disk
//! (hazard H3), and a follower may answer an installed snapshot only when its log is durable (hazard S1).
//!
//! Reads of old entries go to the disk on the task that asks, at most [`READ_BYTES_MAX`] at a time.
//! Deliberately absent: retries and fall-backs. A read error or a hole is an error, never a short list, and
//! ends the member.

mod cache;
mod durable;
mod waiting;

use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, TryStreamExt, stream};
use openraft::{
    OptionalSend,
    storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage},
};
use tokio::{sync::oneshot, time::Instant};

use self::{cache::EntryCache, durable::Unsynced, waiting::Waiting};
use super::{
    codec::{self, CodecError},
    snapshots::SnapshotStore,
    types::{Entry, LogId, TypeConfig, Vote},
};
use crate::{
    log::{Completion, RaftLog, Stats},
    mutant::Mutant,
    stages::{Stage, Stages},
    types::NodeId,
};

/// Bytes of entries that one read returns: so much goes to a peer in one message, and is applied from disk at
/// once.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// The log as openraft wants it. Clones share it: one writes (openraft's core), the others read.
#[derive(Clone)]
pub struct LogStore {
    log: Arc<dyn RaftLog>,
    recent: Arc<Mutex<Recent>>,
    snapshots: Option<Arc<SnapshotStore>>,
    stages: Arc<Stages>,
}

/// What is known about the newest entries.
struct Recent {
    cache: EntryCache,
    unsynced: Unsynced,
    waiting: Waiting,
}

impl LogStore {
    /// A store over `log` that keeps about `cache_bytes` of recent entries decoded.
    pub fn new(log: Arc<dyn RaftLog>, cache_bytes: usize) -> Self {
        let (cache, unsynced) = (EntryCache::new(cache_bytes), Unsynced::new());
        let recent = Recent { cache, unsynced, waiting: Waiting::default() };
        LogStore { log, recent: Arc::new(Mutex::new(recent)), snapshots: None, stages: Arc::default() }
    }

    /// The same, which keeps its entries while `snapshots` is wanting: openraft purges up to a snapshot whose
    /// file turned out to be damaged, and does not know.
    pub fn beside(self, snapshots: Arc<SnapshotStore>) -> Self {
        LogStore { snapshots: Some(snapshots), ..self }
    }

    /// Whether `upto` may go. What lies beyond the last entry must, whatever else: a snapshot that was
    /// installed covers it, and the log goes on behind it.
    fn may_purge(&self, upto: LogId) -> bool {
        let wanting = self.snapshots.as_ref().is_some_and(|snapshots| snapshots.wanting());
        !wanting || self.log.state().last.is_none_or(|last| last.index < upto.index())
    }

    /// Waits until the entry `id`, which is in the log, is on this member's disk. Apply must not be ahead of
    /// it.
    pub async fn wait_durable(&self, id: LogId) -> io::Result<()> {
        let wait = {
            let mut recent = self.recent();
            if self.log.state().last.is_none_or(|last| last.index < id.index()) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{id} is not in the log")));
            }
            recent.unsynced.wait_for(id.index())
        };
        match wait {
            Some(wait) => wait.done().await,
            None => Ok(()),
        }
    }

    /// Waits until all that was written before is on this member's disk.
    pub async fn barrier(&self) -> io::Result<()> {
        completed(|done| self.log.sync(done)).await
    }

    /// The last term that this member has voted in, if that vote is for `candidate`. A vote counts from when
    /// it is written down, which is before it is told to anybody.
    pub fn term_of_vote_for(&self, candidate: NodeId) -> Option<u64> {
        let vote = self.log.state().vote?;
        (vote.node_id == candidate).then_some(vote.term)
    }

    /// Bytes of the log on disk.
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// Where this member's time goes.
    pub fn stages(&self) -> &Arc<Stages> {
        &self.stages
    }

    /// The entries up to `index` are committed, and are applied now.
    pub fn committed(&self, index: u64) {
        self.recent().waiting.committed(index, |waited| self.stages.record(Stage::Commit, waited));
    }

    /// What the log has done since it was opened.
    pub fn stats(&self) -> Stats {
        self.log.stats()
    }

    /// Syncs and closes the log. Blocks: for the end of a shutdown.
    pub fn close(&self) -> io::Result<()> {
        self.log.close()
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries of `range` up to the last one, stopping after `bytes_max` but not before one.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if let Some(entries) = self.recent().cache.read(&range, bytes_max) {
            return Ok(entries);
        }
        let records = self.log.read(range, bytes_max)?;
        records.into_iter().map(codec::from_record).collect::<Result<_, _>>().map_err(undecodable)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let purged = self.log.state().purged;
        let mut range = plain(&range);
        // Entries that are purged may be asked for here, and are left out.
        range.start = range.start.max(purged.map_or(0, |purged| purged.index + 1));
        if range.is_empty() { Ok(Vec::new()) } else { self.read(range, usize::MAX) }
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        let entries = self.read(start..end, READ_BYTES_MAX)?;
        match entries.first() {
            Some(entry) if entry.log_id.index() == start => Ok(entries),
            _ => Err(missing(start)),
        }
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let reader = self.clone();
        let chunks = stream::try_unfold(plain(&range), move |range| {
            let next = next_chunk(&reader, range);
            async move { next }
        });
        Box::pin(chunks.map_ok(|entries| stream::iter(entries.into_iter().map(Ok))).try_flatten())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.state().vote.map(Into::into))
    }
}

/// Reads the next entries of a range that is applied; `None` at its end. The range may reach beyond the last
/// entry, but must begin inside the log.
fn next_chunk(reader: &LogStore, range: Range<u64>) -> io::Result<Option<(Vec<Entry>, Range<u64>)>> {
    if range.is_empty() {
        return Ok(None);
    }
    let entries = reader.read(range.clone(), READ_BYTES_MAX)?;
    let Some(last) = entries.last() else { return Ok(None) };
    let rest = last.log_id.index() + 1..range.end;
    Ok(Some((entries, rest)))
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.log.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(Into::into),
            last_log_id: state.last.map(Into::into),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        if Mutant::VoteNotPersisted.is_on() {
            return self.log.save_vote((*vote).into(), Box::new(drop));
        }
        completed(|done| self.log.save_vote((*vote).into(), done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        committed.map_or(Ok(()), |at| self.log.save_committed(at.into()))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        if Mutant::ShownUnrecovered.is_on() {
            return Ok(None);
        }
        Ok(self.log.state().committed.map(Into::into))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let mut callback = Some(callback);
        if Mutant::AcknowledgedBeforeDurable.is_on()
            && let Some(callback) = callback.take()
        {
            callback.io_completed(Ok(()));
        }
        let (began, stages) = (Instant::now(), self.stages.clone());
        let done = move |result: io::Result<()>| {
            if result.is_ok() {
                stages.record(Stage::LogSync, began.elapsed());
            }
            if let Some(callback) = callback {
                callback.io_completed(result);
            }
        };
        let Some(first) = entries.first().map(|entry| entry.log_id.index()) else {
            return self.log.sync(Box::new(done));
        };
        let records = entries.iter().map(codec::to_record).collect();
        let last = first + entries.len() as u64 - 1;
        let mut recent = self.recent();
        let done = recent.unsynced.append(first, done);
        self.log.append(records, done)?;
        recent.cache.append(entries);
        recent.waiting.append(last, began);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let mut recent = self.recent();
        self.log.truncate_after(last.map(Into::into))?;
        let last = last.map(|last| last.index());
        recent.cache.truncate_after(last);
        recent.unsynced.truncate_after(last);
        recent.waiting.truncate_after(last);
        Ok(())
    }

    /// A purge that must not be is left to the next one, which covers it.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        if !self.may_purge(upto) {
            return Ok(());
        }
        let mut recent = self.recent();
        self.log.purge(upto.into())?;
        recent.cache.purge(upto.index());
        recent.waiting.purge(upto.index());
        Ok(())
    }
}

/// Submits something to the log and waits for its completion.
async fn completed(submit: impl FnOnce(Completion) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    // Nobody may be waiting any more: then nobody wants to know.
    submit(Box::new(move |result| drop(sender.send(result))))?;
    receiver.await.map_err(|_| io::Error::other("the log ended before the sync"))?
}

fn plain(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn missing(index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("entry {index} is not in the log"))
}

fn undecodable(error: CodecError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
