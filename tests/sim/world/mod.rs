//! What there is in a simulated world, and what is known about it from outside.

mod clock;
mod disk;
mod engine;
mod ledger;
mod member;
mod net;
mod trace;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quorate::env::Env;

pub use self::{
    clock::SimClock,
    disk::{Broken, Flip, Loss},
    ledger::{Entry as LedgerEntry, Ledger},
    member::{Member, client_addr, compare, host},
    net::SimNet,
    trace::{Trace, WireHash},
};

/// Milliseconds.
pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Simulated time since the beginning.
pub fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// Between a call and a fault that lasted, in what is covered.
pub const DURING: &str = " during ";

/// Everything that is shared by the members, the clients, the faults and the invariants of one simulation.
pub struct World {
    pub trace: Trace,
    pub ledger: Ledger,
    pub members: Vec<Arc<Member>>,
    coverage: Mutex<BTreeMap<String, u64>>,
    /// The faults that last now.
    faults: Mutex<BTreeSet<&'static str>>,
    dir: PathBuf,
}

impl World {
    /// `nodes` members that have never run. `keep_lines`: the trace is to be printed.
    pub fn new(seed: u64, nodes: u64, keep_lines: bool) -> Arc<World> {
        let trace = Trace::new(keep_lines);
        let dir = fresh_dir(seed);
        let ledger = Ledger::new(trace.clone());
        let members = (1..=nodes).map(|id| Member::new(id, nodes, seed, &dir)).collect();
        let world = Arc::new(World {
            trace,
            ledger,
            members,
            coverage: Mutex::default(),
            faults: Mutex::default(),
            dir,
        });
        for member in &world.members {
            member.enter(&world);
        }
        world
    }

    /// Counts something that happened: what a sweep must reach.
    pub fn cover(&self, cell: impl Into<String>) {
        let mut coverage = self.coverage.lock().unwrap_or_else(PoisonError::into_inner);
        *coverage.entry(cell.into()).or_default() += 1;
    }

    /// Counts what came of a call, and during which faults.
    pub fn cover_call(&self, kind: &str, outcome: &str) {
        let cell = format!("{kind} {outcome}");
        for fault in self.faults.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.cover(format!("{cell}{DURING}{fault}"));
        }
        self.cover(cell);
    }

    /// From now on these faults last.
    pub fn faults(&self, faults: impl Iterator<Item = &'static str>) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults.collect();
    }

    /// What happened how often.
    pub fn coverage(&self) -> BTreeMap<String, u64> {
        let mut coverage = self.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        coverage.insert("elections".to_owned(), self.ledger.elections() as u64);
        coverage
    }

    /// How many votes decide.
    pub fn quorum(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// A member, by its id.
    pub fn member(&self, id: u64) -> &Arc<Member> {
        &self.members[id as usize - 1]
    }

    /// The world of a client.
    pub fn client_env(&self) -> Env {
        Env::new(Arc::new(SimClock::default()), Arc::new(SimNet), Arc::new(quorate::env::draw))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Left behind it costs memory, no more.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A directory in memory, for identities and snapshots.
fn fresh_dir(seed: u64) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = base.join(format!("quorate-sim-{}-{seed}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory for snapshots");
    dir
}
