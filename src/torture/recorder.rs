//! What clients do and see, as it happens: one clock for all, one history.

use std::{
    io,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    check::{
        History,
        format::jsonl,
        history::{About, Delivery, Fault, FinalState, Leadership, Nanos, Operation, nanos},
    },
    types::{Level, Revision},
};

/// Takes everything down, in memory and in a file.
pub struct Recorder {
    began: Instant,
    index: AtomicU64,
    process: AtomicU64,
    /// The highest revision that was acknowledged to anybody.
    acknowledged: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    history: History,
    file: jsonl::Writer<io::BufWriter<std::fs::File>>,
    /// The first error of the file; then nothing more is written to it.
    broken: Option<io::Error>,
    live: Live,
}

/// Troubles that are kept; those that follow are more of the same.
const TROUBLES_MAX: usize = 20;

/// What can be told while a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Operations by outcome.
    pub ok: u64,
    /// Those that were refused or not done.
    pub failed: u64,
    /// Those of which nobody knows.
    pub unknown: u64,
    /// Reads that are linearizable whatever clocks do, and were older than what had been acknowledged before:
    /// what can be told at once. The judge finds the rest.
    pub stale: u64,
    /// Faults that have ended, and those that were seen to have an effect.
    pub faults: u64,
    /// See `faults`.
    pub landed: u64,
    /// Members that ended though nobody ended them.
    pub deaths: Vec<String>,
    /// What went wrong with the run itself.
    pub troubles: Vec<String>,
    /// The last leader, and its term.
    pub leader: Option<(u64, u64)>,
}

impl Recorder {
    /// Begins now.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path, about: About) -> io::Result<Recorder> {
        let file = io::BufWriter::new(std::fs::File::create(path)?);
        let file = jsonl::Writer::new(file, &about)?;
        let history = History { about, ..History::default() };
        let inner = Inner { history, file, broken: None, live: Live::default() };
        Ok(Recorder {
            began: Instant::now(),
            index: AtomicU64::new(0),
            process: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            inner: Mutex::new(inner),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the run began.
    pub fn now(&self) -> Nanos {
        nanos(self.began.elapsed())
    }

    /// The same, as a duration.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A number for an operation that begins now.
    pub fn next_index(&self) -> u64 {
        self.index.fetch_add(1, Ordering::Relaxed)
    }

    /// A number for a process or a session, used once.
    pub fn next_process(&self) -> u64 {
        self.process.fetch_add(1, Ordering::Relaxed)
    }

    /// The highest revision that anybody has been told by now.
    pub fn acknowledged(&self) -> Revision {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// An operation has ended. `acknowledged` is what [`Recorder::acknowledged`] said before it was called.
    pub fn operation(&self, operation: Operation, acknowledged: Revision) {
        if operation.is_ok() {
            self.acknowledged.fetch_max(operation.revision(), Ordering::SeqCst);
        }
        let mut inner = self.inner();
        inner.live.count(&operation, acknowledged);
        inner.write(|file| file.operation(&operation));
        inner.history.operations.push(operation);
    }

    /// Something has arrived on a watch.
    pub fn delivery(&self, delivery: Delivery) {
        let mut inner = self.inner();
        inner.write(|file| file.delivery(&delivery));
        inner.history.deliveries.push(delivery);
    }

    /// A fault has ended.
    pub fn fault(&self, fault: Fault) {
        let mut inner = self.inner();
        inner.live.faults += 1;
        inner.live.landed += u64::from(fault.landed);
        inner.write(|file| file.fault(&fault));
        inner.history.faults.push(fault);
    }

    /// Somebody was seen to lead. The same as before is not taken down again.
    pub fn leader(&self, leader: u64, term: u64) {
        let at = self.now();
        let mut inner = self.inner();
        if inner.live.leader == Some((leader, term)) {
            return;
        }
        inner.live.leader = Some((leader, term));
        let led = Leadership { at, leader, term };
        inner.write(|file| file.leader(&led));
        inner.history.leaders.push(led);
    }

    /// What a member holds in the end.
    pub fn final_state(&self, state: FinalState) {
        let mut inner = self.inner();
        inner.write(|file| file.final_state(&state));
        inner.history.finals.push(state);
    }

    /// A member has ended though nobody ended it.
    pub fn death(&self, how: String) {
        self.inner().live.deaths.push(how);
    }

    /// Something went wrong with the run itself: whoever reads its outcome should know.
    pub fn trouble(&self, what: String) {
        let mut inner = self.inner();
        if inner.live.troubles.len() < TROUBLES_MAX {
            inner.live.troubles.push(what);
        }
    }

    /// How it stands.
    pub fn live(&self) -> Live {
        self.inner().live.clone()
    }

    /// Ends the file, and hands the history out, in the order that a reader of the file would find.
    ///
    /// # Errors
    /// If not everything could be written.
    pub fn finish(self) -> io::Result<History> {
        let inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = inner.broken {
            return Err(error);
        }
        inner.file.end()?;
        let mut history = inner.history;
        history.operations.sort_by_key(|operation| (operation.call, operation.index));
        history.deliveries.sort_by_key(|delivery| delivery.at);
        history.faults.sort_by_key(|fault| fault.from);
        Ok(history)
    }
}

impl Inner {
    fn write(
        &mut self,
        row: impl FnOnce(&mut jsonl::Writer<io::BufWriter<std::fs::File>>) -> io::Result<()>,
    ) {
        if self.broken.is_none() {
            self.broken = row(&mut self.file).err();
        }
    }
}

impl Live {
    fn count(&mut self, operation: &Operation, acknowledged: Revision) {
        if operation.is_unknown() {
            self.unknown += 1;
        } else if !operation.is_ok() {
            self.failed += 1;
        } else {
            self.ok += 1;
        }
        let recent = matches!(operation.level, Some(Level::Linearizable | Level::Log));
        self.stale += u64::from(recent && operation.is_ok() && operation.revision() < acknowledged);
    }
}
