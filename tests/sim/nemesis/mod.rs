//! What goes wrong: several faults at a time, each for a while, drawn from the seed.
//!
//! Faults of the network are a set: after every change each link is set to what the faults that are left
//! say of it, so that the end of one does not heal another. What finds the most is to crash the member
//! whose disk is slow, which has much to lose, and to start it again at once.

mod kind;
mod links;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use turmoil::Sim;

use self::{
    kind::{Kind, Part, draw},
    links::Links,
};
use crate::world::{Flip, Loss, World, ms};

/// Faults at once.
const AT_ONCE: usize = 3;

/// The host of all clients.
pub const CLIENTS: &str = "clients";

/// What may go wrong.
pub struct Scope {
    /// From then on everything is well.
    pub ends: Duration,
    /// Faults that are left out.
    pub without: Vec<String>,
    /// Clocks keep their bound.
    pub clocks: bool,
}

/// Something that is wrong for a while.
struct Fault {
    kind: Kind,
    ends: Duration,
}

/// Draws and ends faults.
pub struct Nemesis {
    world: Arc<World>,
    rng: SmallRng,
    scope: Scope,
    active: Vec<Fault>,
    links: Links,
    /// On whose disks a bit was flipped: never on a majority.
    flipped: BTreeSet<u64>,
    next: Duration,
    healed: bool,
}

impl Nemesis {
    /// Faults within `scope`.
    pub fn new(world: Arc<World>, seed: u64, scope: Scope) -> Nemesis {
        Nemesis {
            world,
            rng: SmallRng::seed_from_u64(seed ^ 0xfa17),
            scope,
            active: Vec::new(),
            links: Links::default(),
            flipped: BTreeSet::new(),
            next: Duration::from_secs(3),
            healed: false,
        }
    }

    /// Called between two steps of the simulation.
    pub fn tick(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        if self.healed {
            return;
        }
        if now >= self.scope.ends {
            self.end(sim, |_| true);
            self.healed = true;
            return self.note(sim, "everything is healed");
        }
        self.end(sim, |fault| fault.ends <= now);
        if now >= self.next {
            self.next = now + ms(self.rng.random_range(200..2500));
            if self.active.len() < AT_ONCE {
                self.begin(sim);
            }
        }
    }

    fn note(&self, sim: &Sim<'_>, what: &str) {
        self.world.trace.event_at(sim.elapsed(), "nemesis", what);
    }

    fn names(&self) -> Vec<String> {
        self.world.members.iter().map(|member| member.name()).collect()
    }

    fn begin(&mut self, sim: &mut Sim<'_>) {
        let names = self.names();
        let kind = draw(&mut self.rng, &names, self.scope.clocks);
        if !self.is_possible(&kind) {
            return;
        }
        let lasts = ms(self.rng.random_range(100..5000));
        self.world.cover(format!("fault {}", kind.name()));
        self.note(sim, &format!("{kind:?} for {lasts:?}"));
        self.strike(sim, &kind);
        self.active.push(Fault { kind, ends: sim.elapsed() + lasts });
        self.set_links(sim);
        self.tell();
    }

    /// Whether a fault is wanted, and no other is in its way.
    fn is_possible(&self, kind: &Kind) -> bool {
        if self.scope.without.iter().any(|without| without == kind.name()) {
            return false;
        }
        let lossy = self.active.iter().any(|fault| matches!(fault.kind, Kind::Loss));
        let network = self.active.iter().any(|fault| fault.kind.is_of_network());
        // turmoil repairs a lossy link by releasing it, which would undo the others.
        if (lossy && kind.is_of_network()) || (network && matches!(kind, Kind::Loss)) {
            return false;
        }
        if let Kind::Flipped { id, .. } = kind
            && !self.flipped.contains(id)
            && self.flipped.len() + 1 >= self.world.quorum()
        {
            return false;
        }
        kind.part().is_none_or(|part| self.active.iter().all(|fault| fault.kind.part() != Some(part)))
    }

    /// What a fault does at its beginning, besides to the network.
    fn strike(&mut self, sim: &mut Sim<'_>, kind: &Kind) {
        let now = sim.elapsed();
        match kind {
            Kind::Stalled { id, by } => self.world.member(*id).disk.stall(*by),
            Kind::Drifting { id, rate } => self.world.member(*id).clock.set_rate(*rate, now),
            Kind::Wild { id, rate, jump } => {
                let clock = &self.world.member(*id).clock;
                clock.jump(*jump);
                clock.set_rate(*rate, now);
            }
            Kind::Suspended { id } => self.world.member(*id).clock.fall_asleep(now),
            Kind::Failing { id, what } => self.world.member(*id).disk.break_down(*what),
            Kind::Full { id, hard } => self.world.member(*id).disk.fill_up(*hard),
            Kind::Flipped { id, what } => self.flip(sim, *id, *what),
            Kind::Transfer => self.world.members.iter().for_each(|member| member.hand_over()),
            Kind::Down { id } => match self.rng.random_range(0..4) {
                0 => self.world.member(*id).leave(),
                1 => (1..=self.world.members.len() as u64).for_each(|id| self.crash(sim, id, true)),
                2 => {
                    self.crash(sim, *id, true);
                }
                _ => self.crash(sim, *id, false),
            },
            Kind::Cut { .. } | Kind::Held { .. } | Kind::Latent { .. } | Kind::Loss => {}
        }
    }

    fn flip(&mut self, sim: &mut Sim<'_>, id: u64, what: Flip) {
        self.crash(sim, id, false);
        if self.world.member(id).flip(what) {
            self.flipped.insert(id);
        }
    }

    /// Ends those faults.
    fn end(&mut self, sim: &mut Sim<'_>, which: impl Fn(&Fault) -> bool) {
        let (ended, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.active).into_iter().partition(which);
        self.active = left;
        if ended.is_empty() {
            return;
        }
        for fault in &ended {
            self.note(sim, &format!("{} ends", fault.kind.name()));
            self.undo(sim, &fault.kind);
        }
        self.set_links(sim);
        self.tell();
    }

    /// What lasts now, for counting.
    fn tell(&self) {
        self.world.faults(self.active.iter().map(|fault| fault.kind.name()));
    }

    fn undo(&mut self, sim: &mut Sim<'_>, kind: &Kind) {
        let now = sim.elapsed();
        match *kind {
            Kind::Stalled { id, .. } => {
                if self.rng.random_bool(0.7) {
                    self.crash(sim, id, true);
                }
                self.world.member(id).disk.stall(Duration::ZERO);
            }
            Kind::Drifting { id, .. } | Kind::Wild { id, .. } => {
                self.world.member(id).clock.set_rate(1.0, now);
            }
            Kind::Suspended { id } => self.world.member(id).clock.wake_up(now),
            Kind::Down { id } | Kind::Flipped { id, .. } | Kind::Failing { id, .. } => {
                self.crash(sim, id, true);
            }
            // One that goes on has refused what it had no space for.
            Kind::Full { id, hard: false } if self.world.member(id).node().is_some() => {
                self.world.member(id).disk.mend();
            }
            Kind::Full { id, .. } => self.crash(sim, id, true),
            Kind::Cut { .. } | Kind::Held { .. } | Kind::Latent { .. } | Kind::Loss | Kind::Transfer => {}
        }
    }

    /// Takes a member's power away; `again`: and gives it back at once, with a disk that works, unless it is
    /// the fault of another that it does not.
    fn crash(&mut self, sim: &mut Sim<'_>, id: u64, again: bool) {
        let loss = *[Loss::Some, Loss::Some, Loss::All, Loss::Log, Loss::Engine]
            .choose(&mut self.rng)
            .unwrap_or(&Loss::All);
        let member = self.world.member(id).clone();
        let lost = member.crash(loss);
        sim.crash(member.name());
        if !self.active.iter().any(|fault| fault.kind.part() == Some((id, Part::Power))) {
            member.disk.mend();
        }
        if again {
            sim.bounce(member.name());
        }
        let again = if again { ", starts" } else { "" };
        self.note(sim, &format!("n{id} crashes, {} writes of its log are lost{again}", lost.pieces));
        self.world.cover(if lost.pieces > 0 { "crash that lost writes" } else { "crash" });
        if lost.torn {
            self.world.cover("crash that tore an append");
        }
    }

    /// Sets every link as the faults say.
    fn set_links(&mut self, sim: &mut Sim<'_>) {
        let names = self.names();
        self.links.set(sim, &names, self.active.iter().map(|fault| &fault.kind));
    }
}
