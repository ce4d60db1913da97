//! The engine of a member's state on its simulated disk: what was flushed survives a crash, and of what was
//! written since a prefix. It may fail, and it may be damaged while nobody looks.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quorate::storage::{Batch, Engine, EngineError, EngineHome, Fresh, MemoryEngine, MemoryHome, Pair};

use super::now;

/// Whether an engine works, and since when a member must learn that its disk does not.
#[derive(Default)]
pub struct Health {
    engine_fails: AtomicBool,
    refused: Mutex<Option<Duration>>,
}

impl Health {
    fn since(&self) -> MutexGuard<'_, Option<Duration>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes of the engine fail from now on.
    pub fn fail_engine(&self) {
        self.engine_fails.store(true, Ordering::Relaxed);
    }

    /// A write was refused.
    pub fn refuse(&self) {
        self.since().get_or_insert(now());
    }

    /// Since when the member knows that its disk failed.
    pub fn refused(&self) -> Option<Duration> {
        *self.since()
    }

    /// All is well again.
    pub fn mend(&self) {
        self.engine_fails.store(false, Ordering::Relaxed);
        self.forget();
    }

    /// Who starts here now has yet to find out.
    pub fn forget(&self) {
        *self.since() = None;
    }

    fn check(&self) -> Result<(), EngineError> {
        if !self.engine_fails.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.refuse();
        Err(EngineError::Io { what: "write the state".to_owned(), error: io::Error::other("a broken disk") })
    }
}

/// The home of the engine: the generation that is current, whatever happens to the host.
#[derive(Default)]
pub struct SimHome {
    health: Arc<Health>,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    current: Option<Arc<SimEngine>>,
    fresh: Option<Arc<SimEngine>>,
    damaged: bool,
    set_aside: u64,
}

impl SimHome {
    pub fn new(health: Arc<Health>) -> SimHome {
        SimHome { health, generations: Mutex::default() }
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Power fails: of so many batches that were not flushed, `keep` says how many survive.
    pub fn crash(&self, keep: impl FnMut(usize) -> usize) {
        let mut generations = self.generations();
        generations.current = generations.current.take().map(|engine| Arc::new(engine.crashed(keep)));
        generations.fresh = None;
    }

    /// What is there cannot be read any more.
    pub fn damage(&self) {
        self.generations().damaged = true;
    }

    /// How often a state was set aside.
    pub fn set_aside_count(&self) -> u64 {
        self.generations().set_aside
    }

    fn engine(&self) -> Arc<SimEngine> {
        Arc::new(SimEngine { health: self.health.clone(), ..SimEngine::default() })
    }
}

impl EngineHome for SimHome {
    fn open_current(&self) -> Result<Arc<dyn Engine>, EngineError> {
        let empty = self.engine();
        let mut generations = self.generations();
        if generations.damaged {
            return Err(EngineError::Damaged("a bit was flipped".to_owned()));
        }
        Ok(generations.current.get_or_insert(empty).clone())
    }

    fn create_fresh(&self) -> Result<Fresh, EngineError> {
        let mut fresh = MemoryHome::new().create_fresh()?;
        fresh.engine = self.generations().fresh.insert(self.engine()).clone();
        Ok(fresh)
    }

    fn adopt(&self, _fresh: Fresh) -> Result<Arc<dyn Engine>, EngineError> {
        let mut generations = self.generations();
        let adopted = generations.fresh.take().ok_or_else(|| EngineError::Damaged("not fresh".to_owned()))?;
        generations.current = Some(adopted.clone());
        Ok(adopted)
    }

    fn set_aside(&self) -> Result<Option<PathBuf>, EngineError> {
        let mut generations = self.generations();
        (generations.current, generations.damaged) = (None, false);
        generations.set_aside += 1;
        Ok(None)
    }
}

/// An engine that remembers what of it would survive.
#[derive(Default)]
struct SimEngine {
    health: Arc<Health>,
    view: MemoryEngine,
    durable: Mutex<Durable>,
}

#[derive(Default)]
struct Durable {
    pairs: BTreeMap<Bytes, Bytes>,
    /// Written since the last flush.
    pending: Vec<Batch>,
}

impl Durable {
    fn settle(&mut self, batches: usize) {
        for batch in self.pending.drain(..batches) {
            for (key, value) in batch.ops() {
                match value {
                    Some(value) => self.pairs.insert(key.clone(), value.clone()),
                    None => self.pairs.remove(key),
                };
            }
        }
    }
}

impl SimEngine {
    fn durable(&self) -> MutexGuard<'_, Durable> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there after a crash.
    fn crashed(&self, mut keep: impl FnMut(usize) -> usize) -> SimEngine {
        let mut durable = self.durable();
        let kept = keep(durable.pending.len());
        durable.settle(kept);
        let pairs = durable.pairs.clone();
        let mut all = Batch::default();
        pairs.iter().for_each(|(key, value)| all.put(key.clone(), value.clone()));
        let survivor = SimEngine {
            health: self.health.clone(),
            view: MemoryEngine::new(),
            durable: Mutex::new(Durable { pairs, pending: Vec::new() }),
        };
        survivor.view.write(&all).expect("memory does not fail");
        survivor
    }
}

impl Engine for SimEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.view.get(key)
    }

    fn floor(&self, key: &[u8]) -> Result<Option<Pair>, EngineError> {
        self.view.floor(key)
    }

    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> Box<dyn Iterator<Item = Result<Pair, EngineError>> + 'a> {
        self.view.scan(from, to)
    }

    fn write(&self, batch: &Batch) -> Result<(), EngineError> {
        self.health.check()?;
        self.durable().pending.push(batch.clone());
        self.view.write(batch)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.health.check()?;
        let mut durable = self.durable();
        let all = durable.pending.len();
        durable.settle(all);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.view.size()
    }
}
