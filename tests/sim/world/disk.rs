//! A member's disk: what was not synced is lost in a crash. It outlives the host that runs on it.
//!
//! The Raft log's part is `log::Disk`, moved here: one sync at a time, which takes a while, more when the
//! disk is stalled. The engine's part is in `engine`. Identity and snapshots are real files, which are synced
//! before anything relies on them. A disk may fail, be full, and flip bits while its member is down.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quorate::{
    config::Config,
    log::{self, Driver, Failure, OpenError, RaftLog},
    storage::EngineHome,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    engine::{Health, SimHome},
    ms,
};

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

/// What a crash took of the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lost {
    /// Entries, votes and so on.
    pub pieces: usize,
    /// Of an append some entries are there, and some are not.
    pub torn: bool,
}

/// What of a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Writes of the log.
    Log(Failure),
    /// Writes of the engine.
    Engine,
}

/// Where a bit is flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flip {
    /// In a record of the log.
    Log,
    /// In the state.
    Engine,
    /// In the newest snapshot.
    Snapshot,
}

/// One member's disk.
pub struct SimDisk {
    log: log::Disk,
    health: Arc<Health>,
    home: Arc<SimHome>,
    state: Mutex<State>,
}

struct State {
    driver: Option<Driver>,
    stall: Duration,
    rng: SmallRng,
    broken: Option<Broken>,
    full: bool,
    log_flipped: bool,
    flipped: bool,
}

impl SimDisk {
    pub fn new(seed: u64) -> SimDisk {
        let health = Arc::<Health>::default();
        let state = State {
            driver: None,
            stall: Duration::ZERO,
            rng: SmallRng::seed_from_u64(seed),
            broken: None,
            full: false,
            log_flipped: false,
            flipped: false,
        };
        let home = Arc::new(SimHome::new(health.clone()));
        SimDisk { log: log::Disk::default(), health, home, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log's durable part.
    pub fn log(&self) -> &log::Disk {
        &self.log
    }

    /// Opens the log, as a host that starts does, which reads all of it.
    pub fn open_log(&self) -> io::Result<Arc<dyn RaftLog>> {
        if self.state().log_flipped {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a bit was flipped"));
        }
        let (log, driver) = self.log.open();
        self.state().driver = Some(driver);
        Ok(log)
    }

    /// The engine's home.
    pub fn home(&self) -> Arc<SimHome> {
        self.home.clone()
    }

    /// Each sync takes this much longer.
    pub fn stall(&self, by: Duration) {
        self.state().stall = by;
    }

    /// Writes fail from now on.
    pub fn break_down(&self, what: Broken) {
        self.state().broken = Some(what);
        match what {
            Broken::Log(how) => self.log.break_down(how),
            Broken::Engine => self.health.fail_engine(),
        }
    }

    /// No space is left; `hard`: nor what is kept in reserve.
    pub fn fill_up(&self, hard: bool) {
        self.state().full = true;
        if hard {
            self.break_down(Broken::Log(Failure::Full));
        }
    }

    /// Writes succeed again, for whoever starts here: a log that has failed is gone for good.
    pub fn mend(&self) {
        let mut state = self.state();
        (state.broken, state.full) = (None, false);
        self.log.mend();
        self.health.mend();
    }

    /// Flips a bit, while nobody runs here. False: there was nothing to flip it in.
    pub fn flip(&self, what: Flip, dir: &Path) -> bool {
        let flipped = match what {
            Flip::Engine => {
                self.home.damage();
                true
            }
            Flip::Log => {
                self.state().log_flipped = true;
                true
            }
            Flip::Snapshot => flip_in_newest(&dir.join("snapshots"), &mut self.state().rng),
        };
        self.state().flipped |= flipped;
        flipped
    }

    /// Since when the member must learn that its disk has failed.
    pub fn refused(&self) -> Option<Duration> {
        self.health.refused()
    }

    /// The log is given something whose end Raft waits for: an append or a vote. (Who waits for a sync alone
    /// leaves it to Raft to meet the same error.)
    pub fn log_is_used(&self) {
        if matches!(self.state().broken, Some(Broken::Log(_))) {
            self.health.refuse();
        }
    }

    /// Whether something that is written or synced here fails.
    pub fn is_broken(&self) -> bool {
        self.state().broken.is_some()
    }

    /// Whether a bit was ever flipped here.
    pub fn is_flipped(&self) -> bool {
        self.state().flipped
    }

    /// Whether a member may refuse to start here.
    pub fn is_unwell(&self) -> bool {
        let state = self.state();
        state.broken.is_some() || state.full || state.flipped
    }

    fn free_bytes(&self) -> u64 {
        if self.state().full { 0 } else { u64::MAX }
    }

    /// Power fails. Gives what of the log was lost.
    pub fn crash(&self, loss: Loss) -> Lost {
        let mut state = self.state();
        let State { driver, rng, .. } = &mut *state;
        let mut keep = |of: usize, takes_all: Loss| match loss {
            _ if of == 0 => 0,
            Loss::Some => rng.random_range(0..=of),
            loss if loss == Loss::All || loss == takes_all => 0,
            _ => of,
        };
        let mut lost = Lost::default();
        if let Some(driver) = driver.take() {
            let pieces = driver.pieces();
            let all = pieces.iter().sum();
            let kept = keep(all, Loss::Log);
            lost = Lost { pieces: all - kept, torn: is_inside(&pieces, kept) };
            // It only fails on a disk that broke down.
            let _ = driver.crash(kept);
        }
        self.home.crash(|of| keep(of, Loss::Engine));
        self.health.forget();
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

/// Whether the first `kept` pieces end inside of an operation.
fn is_inside(pieces: &[usize], kept: usize) -> bool {
    let mut whole = 0;
    for pieces in pieces {
        if whole >= kept {
            return whole > kept;
        }
        whole += pieces;
    }
    whole > kept
}

/// Flips a bit of the newest snapshot in a directory, if there is one.
fn flip_in_newest(dir: &Path, rng: &mut SmallRng) -> bool {
    let Ok(files) = fs::read_dir(dir) else { return false };
    let snapshots = files.filter_map(|file| Some(file.ok()?.path()));
    let newest = snapshots.filter(|path| path.extension().is_some_and(|found| found == "snapshot")).max();
    let Some((path, mut bytes)) = newest.and_then(|path| fs::read(&path).ok().map(|bytes| (path, bytes)))
    else {
        return false;
    };
    if bytes.is_empty() {
        return false;
    }
    let at = rng.random_range(0..bytes.len());
    bytes[at] ^= 1 << rng.random_range(0..8);
    fs::write(path, bytes).is_ok()
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
    fn log(&self, _: &Config, dir: &Path) -> Result<Arc<dyn RaftLog>, OpenError> {
        let refused = |source| OpenError::Log { kind: log::Kind::Memory, dir: dir.to_owned(), source };
        Ok((self.watch)(self.disk.open_log().map_err(refused)?))
    }

    fn home(&self, _: &Config, _: &Path) -> Arc<dyn EngineHome> {
        self.disk.home()
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.disk.free_bytes())
    }
}
