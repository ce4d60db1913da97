//! What clients do, each drawn from the seed, and what they saw of it. They use the Rust client as any
//! program would.

mod history;
mod kv;
mod leases;
mod locks;
mod registers;
mod watches;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quorate::client::{Client, ClientBuilder};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

pub use self::history::{Call, History, Leased, Op, Outcome, Token, Watched};
pub use self::locks::{COUNTER, counted};
use crate::world::{World, client_addr, ms, now};

/// How long a cluster may take, once healed, until everything works.
pub const LIVENESS: Duration = Duration::from_secs(40);

/// How long a lease that was left may last on: its time, the look of a leader that was elected just then
/// and gave it its time again, and the commit. Leases here live two seconds at most.
const LEASES_END: Duration = Duration::from_secs(8);

/// Of each kind: clients at a time.
const KV_CLIENTS: u64 = 4;
const LOCK_CLIENTS: u64 = 2;
const REGISTER_CLIENTS: u64 = 3;

/// How a simulation's clients behave.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Until when they make new requests.
    pub length: Duration,
    /// What clients do.
    pub parts: Parts,
    /// Whether members' clocks keep the bound on which leases, certificates and holders rest.
    pub clocks: bool,
}

/// The parts of a workload.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    pub kv: bool,
    pub locks: bool,
    pub leases: bool,
    pub watches: bool,
    pub registers: bool,
}

impl Parts {
    pub const ALL: Parts = Parts { kv: true, locks: true, leases: true, watches: true, registers: true };
}

/// What all clients share.
pub struct Clients {
    pub world: Arc<World>,
    pub plan: Plan,
    history: Mutex<History>,
}

impl Clients {
    pub fn new(world: Arc<World>, plan: Plan) -> Arc<Clients> {
        Arc::new(Clients { world, plan, history: Mutex::default() })
    }

    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether clients go on.
    pub fn goes_on(&self) -> bool {
        now() < self.plan.length
    }

    /// A client, with sessions or without.
    pub fn client(&self, sessions: bool) -> Client {
        let endpoints = self.world.members.iter().map(|member| client_addr(member.id));
        ClientBuilder::new(endpoints)
            .timeout(ms(2000))
            .connect_timeout(ms(300))
            .sessions(sessions)
            .env(self.world.client_env())
            .build()
            .expect("endpoints are sound")
    }

    /// Randomness of one worker.
    pub fn rng(&self, worker: u64) -> SmallRng {
        SmallRng::seed_from_u64(self.plan.seed ^ (worker << 40) ^ 0x5eed)
    }
}

/// All clients, on one host; ends when all have found the healed cluster in order.
pub async fn run(clients: Arc<Clients>) -> turmoil::Result {
    let mut workers = Vec::new();
    let Parts { kv, locks, leases, watches, registers } = clients.plan.parts;
    for number in (1..=KV_CLIENTS).filter(|_| kv) {
        workers.push(tokio::spawn(kv::work(clients.clone(), number)));
    }
    for number in (1..=LOCK_CLIENTS).filter(|_| locks) {
        workers.push(tokio::spawn(locks::work(clients.clone(), number)));
    }
    for number in (1..=REGISTER_CLIENTS).filter(|_| registers) {
        workers.push(tokio::spawn(registers::work(clients.clone(), number)));
    }
    if leases {
        workers.push(tokio::spawn(leases::work(clients.clone())));
    }
    if watches {
        workers.push(tokio::spawn(watches::work(clients.clone(), "k/", true)));
        workers.push(tokio::spawn(watches::work(clients.clone(), "", false)));
    }
    for worker in workers {
        worker.await?;
    }
    finish(&clients).await;
    Ok(())
}

/// Everything works again: a write, a linearizable read, and equal states everywhere.
pub async fn finish(clients: &Clients) {
    let client = clients.client(false);
    let deadline = now().max(clients.plan.length) + LIVENESS;
    tokio::time::sleep(LEASES_END).await;
    let index = loop {
        match kv::final_write(&client).await {
            Ok(index) => break index,
            Err(error) if now() > deadline => {
                return clients
                    .world
                    .trace
                    .violation(format!("liveness: no write succeeds after healing: {error}"));
            }
            Err(_) => tokio::time::sleep(ms(100)).await,
        }
    };
    loop {
        match unsettled(&clients.world, index).await {
            None => break,
            Some(why) if now() > deadline => {
                return clients.world.trace.violation(format!("liveness: {why} so long after healing"));
            }
            Some(_) => tokio::time::sleep(ms(50)).await,
        }
    }
    clients.world.trace.event("clients", "found everything in order");
}

/// Why the members have not all applied the same, up to `index` at least, if so. States that are compared at
/// the same place must be equal.
async fn unsettled(world: &World, index: u64) -> Option<String> {
    let mut applied = Vec::new();
    for member in world.members.iter().filter(|member| !member.is_gone()) {
        let Some(node) = member.node() else { return Some(format!("n{} is down", member.id)) };
        applied.push(crate::world::compare(world, member.id, &node).await.unwrap_or(0));
    }
    let equal = applied.iter().all(|at| *at >= index && Some(at) == applied.first());
    if equal { None } else { Some(format!("the members are at {applied:?} of {index}")) }
}

/// A pause between two requests.
async fn pause(rng: &mut SmallRng, least: u64, most: u64) {
    tokio::time::sleep(ms(rng.random_range(least..most))).await;
}
