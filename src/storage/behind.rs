//! An engine behind a queue in memory: a write returns once readers see it, and reaches the engine below
//! later, with what came after it.
//!
//! Apply then never waits for the engine, and pays its cost once for many batches: the head, which every
//! batch rewrites, is written once for all of them. (sled alone took 0.5 ms and a dozen wake-ups of its
//! threads for a batch of one put: docs/performance.md.) What is lost when the process dies is a suffix of
//! the batches, as with the engine below, which is no durability boundary either (see the module above).
//!
//! Model: batches are gathered in the *open* layer; a layer that is full is closed and waits in the queue;
//! the writer takes the oldest and writes it as one batch. A read looks into the layers, newest first, and
//! then below. A layer leaves the queue after it is written, so that a reader finds each pair in one of both.
//!
//! Layers hold no deletions: a batch with one waits until all before it are written, and is written at once.
//! Compaction deletes, beside apply; apply itself where the journal of leases and sessions is rewritten, once
//! in a megabyte of it.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;

use super::{Batch, Engine, EngineError, Pair};
use crate::error::panic_text;

/// Bytes of a layer when it is closed. The engine below writes it in one go, and lets nobody read meanwhile:
/// some 500 µs.
const LAYER_BYTES: usize = 256 << 10;
/// Bytes that wait at most; a write that would exceed it waits until there is room.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// How long an open layer waits for more.
const PATIENCE: Duration = Duration::from_millis(100);

/// See the module.
pub struct Behind {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    below: Arc<dyn Engine>,
    layers: RwLock<Layers>,
    /// Held by whoever writes below: order is that of the queue.
    writing: Mutex<()>,
    wake: Mutex<Wake>,
    /// Signalled when the writer has something to do, and when there is room again.
    changed: Condvar,
}

/// What the writer and those who wait for it tell each other.
#[derive(Default)]
struct Wake {
    /// Bytes in all layers.
    bytes: usize,
    /// A layer waits that is full.
    full: bool,
    stop: bool,
    failed: Option<Failure>,
}

#[derive(Default)]
struct Layers {
    open: Layer,
    closed: VecDeque<Arc<Layer>>,
}

#[derive(Default)]
struct Layer {
    pairs: BTreeMap<Bytes, Bytes>,
    /// As they came: what was overwritten counts until the layer is written.
    bytes: usize,
}

/// Why nothing is written any more.
#[derive(Clone)]
enum Failure {
    Io { what: String, code: Option<i32>, kind: io::ErrorKind, text: String },
    Damaged(String),
}

impl Failure {
    fn of(error: &EngineError) -> Failure {
        match error {
            EngineError::Io { what, error } => Failure::Io {
                what: what.clone(),
                code: error.raw_os_error(),
                kind: error.kind(),
                text: error.to_string(),
            },
            EngineError::Damaged(why) => Failure::Damaged(why.clone()),
        }
    }

    fn error(&self) -> EngineError {
        match self.clone() {
            Failure::Io { what, code: Some(code), .. } => {
                EngineError::Io { what, error: io::Error::from_raw_os_error(code) }
            }
            Failure::Io { what, kind, text, .. } => {
                EngineError::Io { what, error: io::Error::new(kind, text) }
            }
            Failure::Damaged(why) => EngineError::Damaged(why),
        }
    }
}

impl Layers {
    /// All of them, newest first.
    fn newest_first(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.open).chain(self.closed.iter().rev().map(|layer| &**layer))
    }

    fn close_open(&mut self) {
        if !self.open.pairs.is_empty() {
            self.closed.push_back(Arc::new(std::mem::take(&mut self.open)));
        }
    }
}

impl Behind {
    /// In front of `below`, which nobody else writes to.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub fn new(below: Arc<dyn Engine>) -> Result<Behind, EngineError> {
        let shared = Arc::new(Shared {
            below,
            layers: RwLock::default(),
            writing: Mutex::default(),
            wake: Mutex::default(),
            changed: Condvar::new(),
        });
        let at = shared.clone();
        let writer = thread::Builder::new().name("state-writer".into()).spawn(move || at.run());
        let failed = |error| EngineError::Io { what: "start the state's writer".into(), error };
        Ok(Behind { writer: Some(writer.map_err(failed)?), shared })
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.shared.wake().stop = true;
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            // Its panic has said all there is to say.
            drop(writer.join());
        }
    }
}

impl Shared {
    fn layers(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn layers_mut(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) -> MutexGuard<'_, Wake> {
        self.wake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, wake: MutexGuard<'a, Wake>, most: Option<Duration>) -> MutexGuard<'a, Wake> {
        match most {
            None => self.changed.wait(wake).unwrap_or_else(PoisonError::into_inner),
            Some(most) => self.changed.wait_timeout(wake, most).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// The writer: until it is told to stop, and everything is below.
    fn run(&self) {
        loop {
            let stop = {
                let mut wake = self.wake();
                while wake.bytes == 0 && !wake.stop {
                    wake = self.wait(wake, None);
                }
                if !wake.full && !wake.stop {
                    wake = self.wait(wake, Some(PATIENCE));
                }
                wake.stop
            };
            // A failure is kept, for the next to write; so is a panic.
            match catch_unwind(AssertUnwindSafe(|| self.drain())) {
                Ok(Ok(())) if !stop => {}
                Ok(_) => return,
                Err(panic) => return self.fail(&EngineError::Damaged(panic_text(&*panic).to_owned())),
            }
        }
    }

    /// Writes all that waits now.
    fn drain(&self) -> Result<(), EngineError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.drain_writing()
    }

    /// The same, for who holds `writing`.
    fn drain_writing(&self) -> Result<(), EngineError> {
        self.check()?;
        let waiting = {
            let mut layers = self.layers_mut();
            layers.close_open();
            layers.closed.len()
        };
        for _ in 0..waiting {
            let Some(layer) = self.layers().closed.front().cloned() else { break };
            let mut batch = Batch::default();
            layer.pairs.iter().for_each(|(key, value)| batch.put(key.clone(), value.clone()));
            self.write_below(&batch)?;
            self.forget_oldest();
        }
        Ok(())
    }

    /// A failure is the last word: nothing is written behind it.
    fn write_below(&self, batch: &Batch) -> Result<(), EngineError> {
        self.below.write(batch).inspect_err(|error| self.fail(error))
    }

    fn fail(&self, error: &EngineError) {
        tracing::error!(%error, "the state cannot be written");
        self.wake().failed = Some(Failure::of(error));
        self.changed.notify_all();
    }

    fn check(&self) -> Result<(), EngineError> {
        self.wake().failed.as_ref().map_or(Ok(()), |failure| Err(failure.error()))
    }

    /// The oldest layer is written.
    fn forget_oldest(&self) {
        let mut wake = self.wake();
        let mut layers = self.layers_mut();
        wake.bytes -= layers.closed.pop_front().map_or(0, |layer| layer.bytes);
        wake.full = !layers.closed.is_empty();
        self.changed.notify_all();
    }

    /// Waits for room, and takes it. True: nothing else waits.
    fn take_room(&self, bytes: usize) -> Result<bool, EngineError> {
        let mut wake = self.wake();
        loop {
            match &wake.failed {
                Some(failure) => return Err(failure.error()),
                None if wake.bytes > 0 && wake.bytes + bytes > WAITING_BYTES_MAX => {
                    wake = self.wait(wake, None);
                }
                None => break,
            }
        }
        wake.bytes += bytes;
        Ok(wake.bytes == bytes)
    }

    fn write_at_once(&self, batch: &Batch) -> Result<(), EngineError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.drain_writing()?;
        self.write_below(batch)
    }
}

fn size_of(batch: &Batch) -> Option<usize> {
    let size = |(key, value): &(Bytes, Option<Bytes>)| Some(key.len() + value.as_ref()?.len());
    batch.ops().iter().map(size).sum()
}

impl Engine for Behind {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let waiting = self.shared.layers().newest_first().find_map(|layer| layer.pairs.get(key).cloned());
        waiting.map_or_else(|| self.shared.below.get(key), |value| Ok(Some(value)))
    }

    fn floor(&self, key: &[u8]) -> Result<Option<Pair>, EngineError> {
        let mut best: Option<Pair> = None;
        for layer in self.shared.layers().newest_first() {
            let at_or_below = (Bound::Unbounded, Bound::Included(key));
            let found = layer.pairs.range::<[u8], _>(at_or_below).next_back();
            if let Some((key, value)) = found
                && best.as_ref().is_none_or(|best| *key > best.0)
            {
                best = Some((key.clone(), value.clone()));
            }
        }
        if best.as_ref().is_some_and(|best| best.0 == key) {
            return Ok(best);
        }
        let below = self.shared.below.floor(key)?;
        let newer = |below: &Pair| best.as_ref().is_none_or(|best| below.0 > best.0);
        Ok(below.filter(newer).or(best))
    }

    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> Box<dyn Iterator<Item = Result<Pair, EngineError>> + 'a> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        let mut waiting = BTreeMap::new();
        for layer in self.shared.layers().newest_first() {
            let pairs = layer.pairs.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
            pairs.for_each(|(key, value)| _ = waiting.entry(key.clone()).or_insert_with(|| value.clone()));
        }
        let below = self.shared.below.scan(from, to).peekable();
        Box::new(Merged { waiting: waiting.into_iter().peekable(), below })
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        let Some(bytes) = size_of(batch) else { return self.shared.write_at_once(batch) };
        let first = self.shared.take_room(bytes)?;
        let full = {
            let mut layers = self.shared.layers_mut();
            layers.open.bytes += bytes;
            for (key, value) in batch.ops() {
                layers.open.pairs.extend(value.clone().map(|value| (key.clone(), value)));
            }
            let full = layers.open.bytes >= LAYER_BYTES;
            if full {
                layers.close_open();
            }
            full
        };
        let mut wake = self.shared.wake();
        wake.full |= full;
        if full || first {
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.shared.wake().bytes < WAITING_BYTES_MAX / 2
    }

    fn make_room(&self) -> Result<(), EngineError> {
        self.shared.drain()
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.shared.drain()?;
        self.shared.below.flush()
    }

    fn size(&self) -> u64 {
        self.shared.below.size()
    }
}

/// What waits and what lies below, in order of the keys. Of a key that is in both, what waits is newer.
struct Merged<W: Iterator<Item = Pair>, B: Iterator<Item = Result<Pair, EngineError>>> {
    waiting: std::iter::Peekable<W>,
    below: std::iter::Peekable<B>,
}

impl<W, B> Iterator for Merged<W, B>
where
    W: Iterator<Item = Pair>,
    B: Iterator<Item = Result<Pair, EngineError>>,
{
    type Item = Result<Pair, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some((waiting, _)) = self.waiting.peek() else { return self.below.next() };
        match self.below.peek() {
            Some(Err(_)) => self.below.next(),
            Some(Ok((below, _))) if below < waiting => self.below.next(),
            Some(Ok((below, _))) if below == waiting => {
                self.below.next();
                self.waiting.next().map(Ok)
            }
            _ => self.waiting.next().map(Ok),
        }
    }
}

#[cfg(test)]
mod tests;
