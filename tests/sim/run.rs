//! One seed, from the first step to the verdict.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, SystemTime},
};

use quorate::{env, error::panic_text, mutant};
use turmoil::Sim;

use crate::{
    invariants,
    nemesis::{CLIENTS, Nemesis, Scope},
    workload::{self, Clients, LIVENESS, Parts, Plan},
    world::{Member, WireHash, World, host, ms},
};

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    pub nodes: u64,
    /// Simulated time until everything is healed.
    pub seconds: u64,
    pub faults: bool,
    /// Faults that are left out, by name.
    pub without: &'static [String],
    pub parts: Parts,
    /// Clocks keep their bound.
    pub clocks: bool,
    pub mutant: Option<mutant::Mutant>,
    /// Keep the timeline.
    pub lines: bool,
    /// Hash the wire too.
    pub wire: bool,
    /// And print it, to standard error.
    pub dump_wire: bool,
    /// A panic ends the process, which tells what happened before.
    pub end_at_panic: bool,
}

impl Setup {
    /// The default simulation of a seed: every fourth one has five members.
    pub fn of(seed: u64) -> Setup {
        let nodes = if seed.is_multiple_of(4) { 5 } else { 3 };
        Setup {
            seed,
            nodes,
            seconds: 30,
            faults: true,
            without: &[],
            parts: Parts::ALL,
            clocks: true,
            mutant: None,
            lines: false,
            wire: false,
            dump_wire: false,
            end_at_panic: false,
        }
    }
}

/// What came of it.
pub struct Report {
    pub hash: u64,
    pub events: u64,
    pub wire: (u64, u64),
    pub violations: Vec<String>,
    pub lines: Vec<String>,
    pub coverage: BTreeMap<String, u64>,
    /// How long it simulated.
    pub simulated: Duration,
}

/// Runs a simulation to its end. One at a time in a process.
pub fn run(setup: &Setup) -> Report {
    let wire = WireHash::new(setup.dump_wire);
    let report = match setup.wire {
        true => tracing::subscriber::with_default(wire.clone(), || simulate(setup)),
        false => simulate(setup),
    };
    Report { wire: wire.get(), ..report }
}

thread_local! {
    /// What was said first by what panicked: the runtime, and what is dropped, panic after it.
    static FIRST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From here on the first panic of a simulation is known by what it said.
pub fn remember_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        FIRST_PANIC.with_borrow_mut(|first| {
            first.get_or_insert_with(|| panic.to_string());
        });
        tell(panic);
    }));
}

/// Does `work` on a thread that simulates, with a bug in or without.
pub fn simulating<T>(seed: u64, mutant: Option<mutant::Mutant>, work: impl FnOnce() -> T) -> T {
    FIRST_PANIC.take();
    mutant::choose(mutant);
    env::simulate(Some(seed));
    let done = work();
    env::simulate(None);
    mutant::choose(None);
    done
}

fn simulate(setup: &Setup) -> Report {
    simulating(setup.seed, setup.mutant, || random(setup))
}

/// A random workload under random faults.
fn random(setup: &Setup) -> Report {
    let world = World::new(setup.seed, setup.nodes, setup.lines);
    if setup.end_at_panic {
        world.trace.tell_at_panic();
    }
    let length = Duration::from_secs(setup.seconds);
    let plan = Plan { seed: setup.seed, length, parts: setup.parts, clocks: setup.clocks };
    let clients = Clients::new(world.clone(), plan);
    let mut sim = build(&world, setup.seed);
    sim.client(CLIENTS, workload::run(clients.clone()));
    let healed = length.saturating_sub(Duration::from_secs(2));
    let scope = Scope { ends: healed, without: setup.without.to_vec(), clocks: setup.clocks };
    let mut nemesis = Nemesis::new(world.clone(), setup.seed, scope);
    clients.history().healed = healed;
    let ended = drive(&mut sim, |sim| {
        if setup.faults {
            nemesis.tick(sim);
        }
    });
    judge(&clients, sim, ended)
}

/// Checks what happened, once the simulation has ended, or broke.
pub fn judge(clients: &Clients, sim: Sim<'static>, ended: Result<(), String>) -> Report {
    let (world, simulated) = (&clients.world, sim.elapsed());
    match ended {
        Ok(()) => invariants::check(clients),
        Err(why) => {
            world.trace.violation(why);
            // Dropping a runtime that panicked would panic again.
            std::mem::forget(sim);
        }
    }
    Report {
        hash: world.trace.hash(),
        events: world.trace.events(),
        wire: (0, 0),
        violations: world.trace.violations(),
        lines: world.trace.lines(),
        coverage: world.coverage(),
        simulated,
    }
}

/// The members' hosts, on their network.
pub fn build(world: &Arc<World>, seed: u64) -> Sim<'static> {
    align_task_ids();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .simulation_duration(Duration::from_secs(3600))
        .tick_duration(ms(4))
        .min_message_latency(ms(1))
        .max_message_latency(ms(10))
        .tcp_capacity(65_536)
        .enable_random_order()
        .build();
    for member in &world.members {
        let member: Arc<Member> = member.clone();
        sim.host(member.name(), move || host(member.clone()));
    }
    sim
}

/// Steps until the clients have ended. The error: something panicked, or there was no end.
pub fn drive(sim: &mut Sim<'static>, mut between: impl FnMut(&mut Sim<'static>)) -> Result<(), String> {
    let patience = Duration::from_secs(600) + LIVENESS;
    loop {
        match catch_unwind(AssertUnwindSafe(|| sim.step())) {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) if sim.elapsed() > patience => return Err("the simulation does not end".to_owned()),
            Ok(Ok(false)) => between(sim),
            Ok(Err(error)) => return Err(format!("a host failed: {error}")),
            Err(panic) => {
                let text = FIRST_PANIC.take().unwrap_or_else(|| panic_text(&*panic).to_owned());
                return Err(format!("a task panicked at {:?}: {text}", sim.elapsed()));
            }
        }
    }
}

/// At a crash tokio drops a runtime's tasks shard by shard, by ids that the process counts. Where each
/// simulation begins at the same shard, the order does not depend on what ran before.
fn align_task_ids() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        while tokio::spawn(async {}).id().to_string().parse::<u64>().is_ok_and(|id| !id.is_multiple_of(64)) {}
    });
}
