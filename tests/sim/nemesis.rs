//! What goes wrong: several faults at a time, each for a while, drawn from the seed.
//!
//! Faults of the network are a set: after every change each link is set to what the faults that are left
//! say of it, so that the end of one does not heal another. What finds the most is to crash the member
//! whose disk is slow, which has much to lose, and to start it again at once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use turmoil::Sim;

use crate::world::{Loss, World, ms};

/// Faults at once.
const AT_ONCE: usize = 3;

/// The host of all clients.
pub const CLIENTS: &str = "clients";

/// Something that is wrong for a while.
struct Fault {
    kind: Kind,
    ends: Duration,
}

/// What is wrong.
#[derive(Clone, Debug)]
enum Kind {
    /// Nothing goes from the first of each pair to the second.
    Cut { name: &'static str, links: Vec<(String, String)> },
    /// What is sent arrives after the end of the fault.
    Held { a: String, b: String },
    /// Segments take up to this long.
    Latent { a: String, b: String, most: Duration },
    /// One in a hundred segments is lost.
    Loss,
    /// Each sync takes this much longer; in the end the member may crash.
    Stalled { id: u64, by: Duration },
    /// The member is down.
    Down { id: u64 },
    /// The member's clock runs at another rate.
    Drifting { id: u64, rate: f64 },
}

/// Draws and ends faults.
pub struct Nemesis {
    world: Arc<World>,
    rng: SmallRng,
    without: Vec<String>,
    active: Vec<Fault>,
    next: Duration,
    /// From then on everything is well.
    ends: Duration,
    healed: bool,
}

impl Nemesis {
    /// Faults until `ends`, but for those that are named in `without`.
    pub fn new(world: Arc<World>, seed: u64, (ends, without): (Duration, Vec<String>)) -> Nemesis {
        let rng = SmallRng::seed_from_u64(seed ^ 0xfa17);
        Nemesis { world, rng, without, active: Vec::new(), next: Duration::from_secs(3), ends, healed: false }
    }

    /// Called between two steps of the simulation.
    pub fn tick(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        if self.healed {
            return;
        }
        if now >= self.ends {
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

    fn member(&mut self) -> u64 {
        self.rng.random_range(1..=self.world.members.len() as u64)
    }

    fn names(&self) -> Vec<String> {
        self.world.members.iter().map(|member| member.name()).collect()
    }

    fn begin(&mut self, sim: &mut Sim<'_>) {
        let kind = self.draw();
        if self.without.iter().any(|without| without == kind.name()) {
            return;
        }
        let lossy = self.active.iter().any(|fault| matches!(fault.kind, Kind::Loss));
        let network = self.active.iter().any(|fault| fault.kind.is_of_network());
        // turmoil repairs a lossy link by releasing it, which would undo the others.
        if (lossy && kind.is_of_network()) || (network && matches!(kind, Kind::Loss)) {
            return;
        }
        let down = |id: &u64| {
            self.active.iter().any(|fault| matches!(&fault.kind, Kind::Down { id: down } if down == id))
        };
        if matches!(&kind, Kind::Down { id } | Kind::Stalled { id, .. } if down(id)) {
            return;
        }
        let lasts = ms(self.rng.random_range(100..5000));
        self.world.cover(format!("fault {}", kind.name()));
        self.note(sim, &format!("{kind:?} for {lasts:?}"));
        self.strike(sim, &kind);
        self.active.push(Fault { kind, ends: sim.elapsed() + lasts });
        self.set_links(sim);
    }

    fn draw(&mut self) -> Kind {
        let id = self.member();
        let one = format!("n{id}");
        let others: Vec<String> = self.names().into_iter().filter(|name| *name != one).collect();
        let other = others.choose(&mut self.rng).cloned().unwrap_or_default();
        let both = |a: &str, b: &str| [(a.to_owned(), b.to_owned()), (b.to_owned(), a.to_owned())];
        let from_one = |to: &[String]| to.iter().map(|to| (one.clone(), to.clone())).collect::<Vec<_>>();
        match self.rng.random_range(0..16) {
            0 | 1 => {
                let mut links: Vec<_> = others.iter().flat_map(|other| both(&one, other)).collect();
                if self.rng.random_bool(0.3) {
                    links.extend(both(&one, CLIENTS));
                }
                Kind::Cut { name: "isolated", links }
            }
            2 => Kind::Cut { name: "pair", links: both(&one, &other).to_vec() },
            3 => Kind::Cut { name: "one-way", links: vec![(one, other)] },
            4 => Kind::Cut { name: "mute", links: from_one(&others) },
            5 => Kind::Cut {
                name: "deaf",
                links: others.iter().map(|from| (from.clone(), one.clone())).collect(),
            },
            6 => Kind::Cut { name: "halves", links: self.halves() },
            7 => Kind::Cut { name: "clients", links: both(&one, CLIENTS).to_vec() },
            8 => Kind::Held { a: one, b: other },
            9 => Kind::Latent { a: one, b: other, most: ms(self.rng.random_range(20..300)) },
            10 => Kind::Loss,
            11 | 12 => Kind::Stalled { id, by: ms(self.rng.random_range(30..600)) },
            13 | 14 => Kind::Down { id },
            _ => Kind::Drifting { id, rate: self.rng.random_range(0.976..1.024) },
        }
    }

    /// All links between two halves, or, of five, around a ring.
    fn halves(&mut self) -> Vec<(String, String)> {
        let names = self.names();
        let ring = names.len() > 3 && self.rng.random_bool(0.5);
        let side: BTreeSet<usize> = (0..names.len()).filter(|_| self.rng.random_bool(0.5)).collect();
        let mut links = Vec::new();
        for a in 0..names.len() {
            for b in 0..names.len() {
                let distance = a.abs_diff(b).min(names.len() - a.abs_diff(b));
                let apart = if ring { distance > 1 } else { side.contains(&a) != side.contains(&b) };
                if a != b && apart {
                    links.push((names[a].clone(), names[b].clone()));
                }
            }
        }
        links
    }

    /// What a fault does at its beginning, besides to the network.
    fn strike(&mut self, sim: &mut Sim<'_>, kind: &Kind) {
        match kind {
            Kind::Stalled { id, by } => self.world.member(*id).disk.stall(*by),
            Kind::Drifting { id, rate } => self.world.member(*id).clock.set_rate(*rate, sim.elapsed()),
            Kind::Down { id } => match self.rng.random_range(0..4) {
                0 => self.world.member(*id).leave(),
                1 => (1..=self.world.members.len() as u64).for_each(|id| self.crash(sim, id, true)),
                2 => {
                    self.crash(sim, *id, true);
                }
                _ => self.crash(sim, *id, false),
            },
            _ => {}
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
            match fault.kind {
                Kind::Stalled { id, .. } => {
                    let down = self
                        .active
                        .iter()
                        .any(|fault| matches!(fault.kind, Kind::Down { id: down } if down == id));
                    if !down && self.rng.random_bool(0.7) {
                        self.crash(sim, id, true);
                    }
                    self.world.member(id).disk.stall(Duration::ZERO);
                }
                Kind::Drifting { id, .. } => self.world.member(id).clock.set_rate(1.0, sim.elapsed()),
                Kind::Down { id } => self.crash(sim, id, true),
                _ => {}
            }
        }
        self.set_links(sim);
    }

    /// Takes a member's power away; `again`: and gives it back at once.
    fn crash(&mut self, sim: &mut Sim<'_>, id: u64, again: bool) {
        let loss = *[Loss::Some, Loss::Some, Loss::All, Loss::Log, Loss::Engine]
            .choose(&mut self.rng)
            .unwrap_or(&Loss::All);
        let member = self.world.member(id).clone();
        let lost = member.crash(loss);
        sim.crash(member.name());
        if again {
            sim.bounce(member.name());
        }
        self.note(
            sim,
            &format!(
                "n{id} crashes, {lost} writes of its log are lost{}",
                if again { ", starts" } else { "" }
            ),
        );
        self.world.cover(if lost > 0 { "crash that lost writes" } else { "crash" });
    }

    /// Sets every link as the faults say.
    fn set_links(&mut self, sim: &mut Sim<'_>) {
        let mut hosts = self.names();
        hosts.push(CLIENTS.to_owned());
        for (at, a) in hosts.iter().enumerate() {
            for b in &hosts[at + 1..] {
                sim.release(a.as_str(), b.as_str());
                sim.repair(a.as_str(), b.as_str());
                sim.set_link_fail_rate(a.as_str(), b.as_str(), 0.0);
                sim.set_link_latency(a.as_str(), b.as_str(), ms(1));
                sim.set_link_max_message_latency(a.as_str(), b.as_str(), ms(10));
            }
        }
        for fault in &self.active {
            match &fault.kind {
                Kind::Latent { a, b, most } => {
                    sim.set_link_max_message_latency(a.as_str(), b.as_str(), *most)
                }
                Kind::Held { a, b } => sim.hold(a.as_str(), b.as_str()),
                Kind::Loss => {
                    for (at, a) in hosts.iter().enumerate() {
                        hosts[at + 1..]
                            .iter()
                            .for_each(|b| sim.set_link_fail_rate(a.as_str(), b.as_str(), 0.01));
                    }
                }
                _ => {}
            }
        }
        for fault in &self.active {
            if let Kind::Cut { links, .. } = &fault.kind {
                links.iter().for_each(|(from, to)| sim.partition_oneway(from.as_str(), to.as_str()));
            }
        }
    }
}

impl Kind {
    fn is_of_network(&self) -> bool {
        matches!(self, Kind::Cut { .. } | Kind::Held { .. } | Kind::Latent { .. } | Kind::Loss)
    }

    fn name(&self) -> &'static str {
        match self {
            Kind::Cut { name, .. } => name,
            Kind::Held { .. } => "held",
            Kind::Latent { .. } => "latent",
            Kind::Loss => "loss",
            Kind::Stalled { .. } => "stalled",
            Kind::Down { .. } => "down",
            Kind::Drifting { .. } => "drifting",
        }
    }
}
