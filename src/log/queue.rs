//! The queue in front of every log store: what waits for the disk, and what becomes of it.
//!
//! Model: a call is checked against the view (`view.rs`), changes it, and queues an operation.
//! [`Queue::pump`] commits what queued up to the backend as one group: called by the thread of `writer.rs`,
//! or by a simulator that decides when a disk is done. The first failure ends the log: everything queued and
//! every later call gets it. A backend that panics (sled does, over some damage) has failed like one that
//! says so: else completions would vanish unfired, and a member that can write nothing would seem alive.
//!
//! Deliberately absent: a cache. Above this layer entries are kept decoded (`raft::log_store`).

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::{
    Backend, Completion, LogState, Op, Position, QUEUE_BYTES_MAX, RaftLog, Record, Stats, Vote, damaged,
    view::{Plan, View},
    writer,
};
use crate::error::panic_text;

/// Operations on their way to a backend.
pub(super) struct Queue {
    backend: Box<dyn Backend>,
    inner: Mutex<Inner>,
    /// Signalled when there is work, or the log ends.
    work: Condvar,
    /// Signalled when there is room again.
    room: Condvar,
    entries: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
}

struct Inner {
    view: View,
    items: VecDeque<Item>,
    /// Payload bytes that wait or are being committed.
    bytes: usize,
    /// Calls that wait for room.
    crowded: usize,
    /// Operations queued, ever.
    queued: u64,
    /// Operations taken to be committed, ever.
    taken: u64,
    end: Option<End>,
}

enum Item {
    Op(Op),
    Done(Completion),
}

/// What is committed together.
struct Group {
    ops: Vec<Op>,
    dones: Vec<Completion>,
    /// `Inner::taken` behind it.
    taken: u64,
}

/// Why no further work is accepted.
#[derive(Clone)]
enum End {
    Closed,
    Failed(io::ErrorKind, Arc<str>),
}

impl End {
    fn error(&self) -> io::Error {
        match self {
            End::Closed => io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed"),
            End::Failed(kind, text) => io::Error::new(*kind, format!("the log has failed: {text}")),
        }
    }
}

impl Queue {
    /// A queue over a backend that holds `state`; `first` is the index of the first entry, if there is one.
    pub fn new(backend: Box<dyn Backend>, state: LogState, first: Option<u64>) -> Arc<Self> {
        let view = View::new(state, first);
        let inner =
            Inner { view, items: VecDeque::new(), bytes: 0, crowded: 0, queued: 0, taken: 0, end: None };
        Arc::new(Queue {
            backend,
            inner: Mutex::new(inner),
            work: Condvar::new(),
            room: Condvar::new(),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics between two changes that belong together: callbacks run outside the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations that wait for the disk.
    pub fn queued(&self) -> usize {
        self.lock().items.iter().filter(|item| matches!(item, Item::Op(_))).count()
    }

    /// The same, one by one: how many pieces each is to [`Self::crash`].
    pub fn pieces(&self) -> Vec<usize> {
        let pieces = |item: &Item| match item {
            Item::Op(Op::Append(records)) => Some(records.len()),
            Item::Op(_) => Some(1),
            Item::Done(_) => None,
        };
        self.lock().items.iter().filter_map(pieces).collect()
    }

    /// Sleeps until there is something to commit. False: the log has ended and nothing is left.
    pub fn wait_for_work(&self) -> bool {
        let mut inner = self.lock();
        while inner.end.is_none() && !inner.has_work() {
            inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        !inner.items.is_empty()
    }

    /// Commits the first `ops_max` operations that wait, as one group, then calls the completions behind
    /// them. Not to be called by two threads at a time.
    pub fn pump(&self, ops_max: usize) {
        let (group, end) = {
            let mut inner = self.lock();
            (inner.take(ops_max), inner.failure())
        };
        // A committed position alone is a hint, and not worth a sync.
        let sync = !group.dones.is_empty() || group.ops.iter().any(|op| !matches!(op, Op::Committed(_)));
        let result = match end {
            Some(end) => Err(end.error()),
            None => guarded(|| self.backend.commit(&group.ops, sync)),
        };
        if sync && result.is_ok() {
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }
        let outcome = self.settle(&group, result);
        for done in group.dones {
            done(outcome.as_ref().copied().map_err(End::error));
        }
    }

    /// Takes what became of a group into the view.
    fn settle(&self, group: &Group, result: io::Result<()>) -> Result<(), End> {
        let mut inner = self.lock();
        inner.bytes -= group.ops.iter().map(payload_bytes).sum::<usize>();
        if inner.crowded > 0 {
            self.room.notify_all();
        }
        match result {
            Ok(()) => {
                inner.view.settle(group.taken);
                Ok(())
            }
            Err(error) => Err(inner.fail(&error)),
        }
    }

    /// Ends the log at once: of the operations that wait, the first `keep` reach the disk (each entry counts
    /// as one), the rest never happened. Their completions and all further calls fail.
    pub fn crash(&self, keep: usize) -> io::Result<()> {
        let (group, end) = {
            let mut inner = self.lock();
            (inner.take(usize::MAX), inner.fail(&io::Error::new(io::ErrorKind::ConnectionAborted, "crashed")))
        };
        let survivors: Vec<Op> = group.ops.into_iter().flat_map(split).take(keep).collect();
        let result = guarded(|| self.backend.commit(&survivors, true));
        group.dones.into_iter().for_each(|done| done(Err(end.error())));
        result
    }

    /// Checks an operation, changes the view, and queues it with its completion, which gets the error if
    /// there is one.
    fn submit(&self, op: Option<Op>, done: Option<Completion>) -> io::Result<()> {
        let mut inner = self.lock();
        let bytes = op.as_ref().map_or(0, payload_bytes);
        while inner.end.is_none() && inner.bytes > 0 && inner.bytes + bytes > QUEUE_BYTES_MAX {
            inner.crowded += 1;
            inner = self.room.wait(inner).unwrap_or_else(PoisonError::into_inner);
            inner.crowded -= 1;
        }
        match inner.accept(op) {
            Ok(()) => {
                inner.items.extend(done.map(Item::Done));
                let has_work = inner.has_work();
                // Or who is woken would find the lock taken, and sleep again.
                drop(inner);
                if has_work {
                    self.work.notify_one();
                }
                Ok(())
            }
            Err(error) => {
                drop(inner);
                if let Some(done) = done {
                    done(Err(io::Error::new(error.kind(), error.to_string())));
                }
                Err(error)
            }
        }
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let plan = self.lock().plan(range.clone())?;
        let removals = plan.removals;
        let result = self.fetch(plan, bytes_max);
        let inner = self.lock();
        if inner.view.removals() == removals {
            return result;
        }
        // Entries were truncated or purged while the disk was read. Once more, holding everything still.
        let plan = inner.plan(range)?;
        self.fetch(plan, bytes_max)
    }

    fn fetch(&self, plan: Plan, bytes_max: usize) -> io::Result<Vec<Record>> {
        let Plan { stored, pending, .. } = plan;
        let mut records = match stored.is_empty() {
            true => Vec::new(),
            false => guarded(|| self.backend.read(stored.clone(), bytes_max))?,
        };
        let mut bytes: usize = records.iter().map(|record| record.payload.len()).sum();
        let mut next = stored.start;
        for record in &records {
            if record.at.index != next {
                return Err(damaged(format!("entry {next} is missing: {:?} lies in its place", record.at)));
            }
            next += 1;
        }
        if next < stored.end && (bytes < bytes_max || records.is_empty()) {
            return Err(damaged(format!("entry {next} is missing")));
        }
        for record in pending {
            if bytes >= bytes_max && !records.is_empty() {
                break;
            }
            bytes += record.payload.len();
            records.push(record);
        }
        Ok(records)
    }
}

impl Inner {
    /// Whether something waits that is worth waking the writer for: a committed position rides with the next
    /// group.
    fn has_work(&self) -> bool {
        self.items.iter().any(|item| !matches!(item, Item::Op(Op::Committed(_))))
    }

    fn failure(&self) -> Option<End> {
        self.end.clone().filter(|end| matches!(end, End::Failed(..)))
    }

    fn fail(&mut self, error: &io::Error) -> End {
        let first = self.failure();
        let end = first.unwrap_or_else(|| End::Failed(error.kind(), error.to_string().into()));
        self.end.insert(end).clone()
    }

    fn plan(&self, range: Range<u64>) -> io::Result<Plan> {
        match &self.end {
            Some(end) => Err(end.error()),
            None => self.view.plan(range),
        }
    }

    fn accept(&mut self, op: Option<Op>) -> io::Result<()> {
        if let Some(end) = &self.end {
            return Err(end.error());
        }
        if let Some(op) = op
            && self.view.check(&op)?
        {
            self.enqueue(op);
        }
        Ok(())
    }

    fn enqueue(&mut self, op: Op) {
        self.bytes += payload_bytes(&op);
        // Of two hints in a row only the later matters: without appends the queue does not grow.
        if let (Op::Committed(_), Some(Item::Op(last @ Op::Committed(_)))) = (&op, self.items.back_mut()) {
            self.view.apply(self.queued, &op);
            *last = op;
            return;
        }
        self.queued += 1;
        self.view.apply(self.queued, &op);
        self.items.push_back(Item::Op(op));
    }

    /// The first `ops_max` operations, and the completions up to the next operation.
    fn take(&mut self, ops_max: usize) -> Group {
        let mut group = Group { ops: Vec::new(), dones: Vec::new(), taken: self.taken };
        while let Some(item) = self.items.pop_front() {
            match item {
                Item::Done(done) => group.dones.push(done),
                Item::Op(op) if group.ops.len() < ops_max => group.ops.push(op),
                op => {
                    self.items.push_front(op);
                    break;
                }
            }
        }
        group.taken += group.ops.len() as u64;
        self.taken = group.taken;
        group
    }
}

/// A call of a backend; its panic becomes an error. What it held by then is in no known state: as after any
/// error of a write, nothing is written afterwards.
fn guarded<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        Err(io::Error::other(format!("the log store panicked: {}", panic_text(&*panic))))
    })
}

fn payload_bytes(op: &Op) -> usize {
    match op {
        Op::Append(records) => records.iter().map(|record| record.payload.len()).sum(),
        _ => 0,
    }
}

fn split(op: Op) -> Vec<Op> {
    match op {
        Op::Append(records) => records.into_iter().map(|record| Op::Append(vec![record])).collect(),
        op => vec![op],
    }
}

/// A log: a queue, and what drains it.
pub(super) struct QueuedLog {
    queue: Arc<Queue>,
    /// `None` if somebody else calls [`Queue::pump`], or after `close`.
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl QueuedLog {
    /// With a writer thread.
    pub fn threaded(queue: Arc<Queue>) -> io::Result<Self> {
        let writer = writer::start(Arc::clone(&queue))?;
        Ok(QueuedLog { queue, writer: Mutex::new(Some(writer)) })
    }

    /// Without: whoever else holds the queue pumps it, before it holds [`QUEUE_BYTES_MAX`].
    pub fn pumped(queue: Arc<Queue>) -> Self {
        QueuedLog { queue, writer: Mutex::new(None) }
    }

    /// Waits until the writer has ended; or, without one, does its work.
    fn drain(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match writer {
            // The last handle was dropped by a completion, on the writer's own thread, which ends after it.
            Some(writer) if writer.thread().id() == thread::current().id() => {}
            // If a completion panicked, it has said so.
            Some(writer) => drop(writer.join()),
            None => {
                if self.queue.wait_for_work() {
                    self.queue.pump(usize::MAX);
                }
            }
        }
    }
}

impl RaftLog for QueuedLog {
    fn state(&self) -> LogState {
        self.queue.lock().view.state()
    }

    fn append(&self, records: Vec<Record>, done: Completion) -> io::Result<()> {
        let entries = records.len() as u64;
        let op = Op::Append(records);
        let bytes = payload_bytes(&op) as u64;
        self.queue.submit(Some(op), Some(done))?;
        self.queue.entries.fetch_add(entries, Ordering::Relaxed);
        self.queue.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn save_vote(&self, vote: Vote, done: Completion) -> io::Result<()> {
        self.queue.submit(Some(Op::Vote(vote)), Some(done))
    }

    fn save_committed(&self, at: Position) -> io::Result<()> {
        self.queue.submit(Some(Op::Committed(at)), None)
    }

    fn truncate_after(&self, last: Option<Position>) -> io::Result<()> {
        self.queue.submit(Some(Op::Truncate(last)), None)
    }

    fn purge(&self, upto: Position) -> io::Result<()> {
        self.queue.submit(Some(Op::Purge(upto)), None)
    }

    fn sync(&self, done: Completion) -> io::Result<()> {
        self.queue.submit(None, Some(done))
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        self.queue.read(range, bytes_max)
    }

    fn size(&self) -> u64 {
        self.queue.backend.size()
    }

    fn stats(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            entries: load(&self.queue.entries),
            bytes: load(&self.queue.bytes),
            syncs: load(&self.queue.syncs),
        }
    }

    fn close(&self) -> io::Result<()> {
        {
            let mut inner = self.queue.lock();
            if let Some(end) = &inner.end {
                return if let End::Failed(..) = end { Err(end.error()) } else { Ok(()) };
            }
            // Behind everything else, so that the last group is synced whatever it holds.
            inner.items.push_back(Item::Done(Box::new(|_| ())));
            inner.end = Some(End::Closed);
        }
        self.queue.work.notify_all();
        self.queue.room.notify_all();
        self.drain();
        let failure = self.queue.lock().failure();
        let closed = guarded(|| self.queue.backend.close());
        failure.map_or(closed, |end| Err(end.error()))
    }
}

impl Drop for QueuedLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the Raft log did not close cleanly");
        }
    }
}

#[cfg(test)]
mod tests;
