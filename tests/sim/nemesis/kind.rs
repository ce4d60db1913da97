//! The kinds of faults.

use std::{collections::BTreeSet, time::Duration};

use quorate::log::Failure;
use rand::{RngExt, rngs::SmallRng, seq::IndexedRandom};

use super::CLIENTS;
use crate::world::{Broken, Flip, ms};

/// What is wrong.
#[derive(Clone, Debug)]
pub enum Kind {
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
    /// Its disk fails: the member must end, and is started again on a disk that works.
    Failing { id: u64, what: Broken },
    /// Its disk is full; `hard`: nothing at all can be written to its log.
    Full { id: u64, hard: bool },
    /// It is down, and a bit of its disk is flipped.
    Flipped { id: u64, what: Flip },
    /// The member's clock runs at another rate, within the bound.
    Drifting { id: u64, rate: f64 },
    /// The member's machine sleeps: what it sends and is sent waits, and in the end its clock has gone on.
    Suspended { id: u64 },
    /// The member's clock jumps, and runs at any rate, or not at all: beyond the bound.
    Wild { id: u64, rate: f64, jump: Duration },
    /// Whoever leads is asked to hand over.
    Transfer,
}

/// Of what a member has one: two faults of it at a time would undo each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Power,
    Clock,
}

impl Kind {
    pub fn is_of_network(&self) -> bool {
        match self {
            Kind::Cut { .. } | Kind::Held { .. } | Kind::Latent { .. } | Kind::Loss => true,
            kind => matches!(kind, Kind::Suspended { .. }),
        }
    }

    /// The member that it strikes, and what of it.
    pub fn part(&self) -> Option<(u64, Part)> {
        match self {
            Kind::Stalled { id, .. }
            | Kind::Down { id }
            | Kind::Failing { id, .. }
            | Kind::Full { id, .. }
            | Kind::Flipped { id, .. } => Some((*id, Part::Power)),
            Kind::Drifting { id, .. } | Kind::Suspended { id } | Kind::Wild { id, .. } => {
                Some((*id, Part::Clock))
            }
            Kind::Cut { .. } | Kind::Held { .. } | Kind::Latent { .. } | Kind::Loss | Kind::Transfer => None,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Kind::Cut { name, .. } => name,
            Kind::Held { .. } => "held",
            Kind::Latent { .. } => "latent",
            Kind::Loss => "loss",
            Kind::Stalled { .. } => "stalled",
            Kind::Down { .. } => "down",
            Kind::Failing { what: Broken::Log(_), .. } => "failing-log",
            Kind::Failing { what: Broken::Engine, .. } => "failing-engine",
            Kind::Full { .. } => "full",
            Kind::Flipped { what: Flip::Log, .. } => "flip-log",
            Kind::Flipped { what: Flip::Engine, .. } => "flip-engine",
            Kind::Flipped { what: Flip::Snapshot, .. } => "flip-snapshot",
            Kind::Drifting { .. } => "drifting",
            Kind::Suspended { .. } => "suspended",
            Kind::Wild { .. } => "wild-clock",
            Kind::Transfer => "transfer",
        }
    }
}

/// Draws a fault for the members with these names; `clocks`: none beyond the bound.
pub fn draw(rng: &mut SmallRng, names: &[String], clocks: bool) -> Kind {
    let id = rng.random_range(1..=names.len() as u64);
    match rng.random_range(0..25) {
        0..10 => of_network(rng, names, id),
        10..12 => Kind::Stalled { id, by: ms(rng.random_range(30..600)) },
        12..15 => Kind::Down { id },
        15..17 => Kind::Failing { id, what: broken(rng) },
        17 => Kind::Full { id, hard: rng.random_bool(0.5) },
        18..20 => Kind::Flipped {
            id,
            what: *[Flip::Log, Flip::Engine, Flip::Engine, Flip::Snapshot, Flip::Snapshot]
                .choose(rng)
                .unwrap_or(&Flip::Engine),
        },
        20..22 => Kind::Suspended { id },
        22 | 23 if !clocks => {
            let rates = [0.0, 0.3, 0.9, 1.2, 3.0];
            Kind::Wild { id, rate: *rates.choose(rng).unwrap_or(&0.0), jump: ms(rng.random_range(0..4000)) }
        }
        22 => Kind::Drifting { id, rate: rng.random_range(0.976..1.024) },
        _ => Kind::Transfer,
    }
}

fn broken(rng: &mut SmallRng) -> Broken {
    match rng.random_range(0..3) {
        0 => Broken::Log(Failure::Dead),
        1 => Broken::Log(Failure::Doubtful),
        _ => Broken::Engine,
    }
}

fn of_network(rng: &mut SmallRng, names: &[String], id: u64) -> Kind {
    let one = format!("n{id}");
    let others: Vec<String> = names.iter().filter(|name| **name != one).cloned().collect();
    let other = others.choose(rng).cloned().unwrap_or_default();
    let both = |a: &str, b: &str| [(a.to_owned(), b.to_owned()), (b.to_owned(), a.to_owned())];
    match rng.random_range(0..11) {
        0 | 1 => {
            let mut links: Vec<_> = others.iter().flat_map(|other| both(&one, other)).collect();
            if rng.random_bool(0.3) {
                links.extend(both(&one, CLIENTS));
            }
            Kind::Cut { name: "isolated", links }
        }
        2 => Kind::Cut { name: "pair", links: both(&one, &other).to_vec() },
        3 => Kind::Cut { name: "one-way", links: vec![(one, other)] },
        4 => Kind::Cut { name: "mute", links: others.iter().map(|to| (one.clone(), to.clone())).collect() },
        5 => {
            Kind::Cut { name: "deaf", links: others.iter().map(|from| (from.clone(), one.clone())).collect() }
        }
        6 => Kind::Cut { name: "halves", links: halves(rng, names) },
        7 => Kind::Cut { name: "clients", links: both(&one, CLIENTS).to_vec() },
        8 => Kind::Held { a: one, b: other },
        9 => Kind::Latent { a: one, b: other, most: ms(rng.random_range(20..300)) },
        _ => Kind::Loss,
    }
}

/// All links between two halves, or, of five, around a ring.
fn halves(rng: &mut SmallRng, names: &[String]) -> Vec<(String, String)> {
    let ring = names.len() > 3 && rng.random_bool(0.5);
    let side: BTreeSet<usize> = (0..names.len()).filter(|_| rng.random_bool(0.5)).collect();
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
