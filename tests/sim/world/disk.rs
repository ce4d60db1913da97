//! A member's disk: what was not synced is lost in a crash. It outlives the host that runs on it.
//!
//! The Raft log's part is `log::Disk`, moved here: one sync at a time, which takes a while, more when the
//! disk is stalled. The engine's part keeps what was flushed, and of what was written since a prefix.
//! Identity and snapshots are real files, which are synced before anything relies on them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use quorate::{
    config::Config,
    log::{self, Driver, OpenError, RaftLog},
    storage::{Batch, Engine, EngineError, EngineHome, Fresh, MemoryEngine, MemoryHome, Pair},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::ms;

/// The longest sync of a disk that is well, in milliseconds.
const SYNC_MAX: u64 = 4;

/// Between two looks for something to sync.
const LOOK: Duration = Duration::from_millis(4);

/// What a crash takes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Some of it.
    Some,
    /// All of it.
    All,
    /// All of the log's, nothing of the engine's: what order has the kernel?
    Log,
    /// All of the engine's, nothing of the log's.
    Engine,
}

/// One member's disk.
pub struct SimDisk {
    log: log::Disk,
    home: Arc<SimHome>,
    state: Mutex<State>,
}

struct State {
    driver: Option<Driver>,
    stall: Duration,
    rng: SmallRng,
}

impl SimDisk {
    pub fn new(seed: u64) -> SimDisk {
        let state = State { driver: None, stall: Duration::ZERO, rng: SmallRng::seed_from_u64(seed) };
        SimDisk { log: log::Disk::default(), home: Arc::default(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log's durable part.
    pub fn log(&self) -> &log::Disk {
        &self.log
    }

    /// Opens the log, as a host that starts does.
    pub fn open_log(&self) -> Arc<dyn RaftLog> {
        let (log, driver) = self.log.open();
        self.state().driver = Some(driver);
        log
    }

    /// The engine's home.
    pub fn home(&self) -> Arc<SimHome> {
        self.home.clone()
    }

    /// Each sync takes this much longer.
    pub fn stall(&self, by: Duration) {
        self.state().stall = by;
    }

    /// Power fails. Gives how many operations of the log were lost.
    pub fn crash(&self, loss: Loss) -> usize {
        let mut state = self.state();
        let State { driver, rng, .. } = &mut *state;
        let mut keep = |of: usize, takes_all: Loss| match loss {
            _ if of == 0 => 0,
            Loss::Some => rng.random_range(0..=of),
            loss if loss == Loss::All || loss == takes_all => 0,
            _ => of,
        };
        let mut lost = 0;
        if let Some(driver) = driver.take() {
            let queued = driver.queued();
            let kept = keep(queued, Loss::Log);
            lost = queued - kept;
            // It only fails on a disk that broke down.
            let _ = driver.crash(kept);
        }
        self.home.crash(|of| keep(of, Loss::Engine));
        lost
    }

    /// Syncs, for as long as the host lives.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let (queued, takes) = {
                let mut state = self.state();
                let queued = state.driver.as_ref().map_or(0, Driver::queued);
                let takes = ms(state.rng.random_range(0..=SYNC_MAX)) + state.stall;
                (queued, takes)
            };
            if queued > 0 && !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            let driver = self.state().driver.clone();
            if let Some(driver) = driver {
                driver.pump(queued);
            }
        }
    }
}

/// The home of the engine: the generation that is current, whatever happens to the host.
#[derive(Default)]
pub struct SimHome {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    current: Option<Arc<SimEngine>>,
    fresh: Option<Arc<SimEngine>>,
}

impl SimHome {
    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn crash(&self, keep: impl FnMut(usize) -> usize) {
        let mut generations = self.generations();
        generations.current = generations.current.take().map(|engine| Arc::new(engine.crashed(keep)));
        generations.fresh = None;
    }
}

impl EngineHome for SimHome {
    fn open_current(&self) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(self.generations().current.get_or_insert_default().clone())
    }

    fn create_fresh(&self) -> Result<Fresh, EngineError> {
        let engine = self.generations().fresh.insert(Arc::default()).clone();
        let mut fresh = MemoryHome::new().create_fresh()?;
        fresh.engine = engine;
        Ok(fresh)
    }

    fn adopt(&self, _fresh: Fresh) -> Result<Arc<dyn Engine>, EngineError> {
        let mut generations = self.generations();
        let adopted = generations.fresh.take().ok_or_else(|| EngineError::Damaged("not fresh".to_owned()))?;
        generations.current = Some(adopted.clone());
        Ok(adopted)
    }

    fn set_aside(&self) -> Result<Option<PathBuf>, EngineError> {
        self.generations().current = None;
        Ok(None)
    }
}

/// An engine that remembers what of it would survive.
#[derive(Default)]
pub struct SimEngine {
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
        self.durable().pending.push(batch.clone());
        self.view.write(batch)
    }

    fn flush(&self) -> Result<(), EngineError> {
        let mut durable = self.durable();
        let all = durable.pending.len();
        durable.settle(all);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.view.size()
    }
}

/// A member's stores, on its disk; `watch` sees its log.
pub struct SimStores<W> {
    pub disk: Arc<SimDisk>,
    pub watch: W,
}

impl<W> quorate::node::Stores for SimStores<W>
where
    W: Fn(Arc<dyn RaftLog>) -> Arc<dyn RaftLog> + Send + Sync + 'static,
{
    fn log(&self, _: &Config, _: &Path) -> Result<Arc<dyn RaftLog>, OpenError> {
        Ok((self.watch)(self.disk.open_log()))
    }

    fn home(&self, _: &Config, _: &Path) -> Arc<dyn EngineHome> {
        self.disk.home()
    }
}
