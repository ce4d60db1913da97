//! Which faults happen when.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use super::Kind;
use crate::types::NodeId;

/// Whom a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// Who leads at that moment.
    Leader,
    /// Somebody who does not, by a number that is drawn.
    Follower(u64),
}

impl Victim {
    /// The member's id. `None`: nobody leads.
    pub fn resolve(self, leader: Option<NodeId>, nodes: u64) -> Option<NodeId> {
        match self {
            Victim::Leader => leader,
            Victim::Follower(drawn) => {
                let others: Vec<NodeId> = (1..=nodes).filter(|id| Some(*id) != leader).collect();
                others.get(drawn as usize % others.len().max(1)).copied()
            }
        }
    }
}

/// A fault that is to happen.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What.
    pub kind: Kind,
    /// To whom.
    pub victim: Victim,
    /// For how long.
    pub lasts: Duration,
    /// What else has to be drawn.
    pub seed: u64,
}

/// Faults in order of their beginning, by the time since the run began.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// When, and what.
    pub entries: Vec<(Duration, Planned)>,
}

/// A plan that is written down, to show something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// The levels side by side: the leader is cut off, paused, killed, each for a while and by itself; then a
    /// follower's links are slow.
    Contrast,
    /// What leases rest on: three times the leader's clock runs at a fifth of its rate, and it is cut off.
    Clock,
}

/// When in the run, what, to whom, and for how long; in fractions of the run.
const CONTRAST: [(f64, Kind, Victim, f64); 4] = [
    (0.10, Kind::Partition, Victim::Leader, 0.15),
    (0.33, Kind::Pause, Victim::Leader, 0.15),
    (0.56, Kind::Kill, Victim::Leader, 0.15),
    (0.79, Kind::Slow, Victim::Follower(0), 0.15),
];

/// See [`CONTRAST`].
const CLOCK: [(f64, Kind, Victim, f64); 6] = [
    (0.10, Kind::ClockBeyond, Victim::Leader, 0.20),
    (0.12, Kind::Partition, Victim::Leader, 0.15),
    (0.40, Kind::ClockBeyond, Victim::Leader, 0.20),
    (0.42, Kind::Partition, Victim::Leader, 0.15),
    (0.70, Kind::ClockBeyond, Victim::Leader, 0.20),
    (0.72, Kind::Partition, Victim::Leader, 0.15),
];

/// The first seconds belong to the workload alone.
const QUIET: Duration = Duration::from_secs(3);

impl Plan {
    /// Faults of the kinds, for `duration`, overlapping, by a seed.
    pub fn draw(kinds: &[Kind], duration: Duration, seed: u64) -> Plan {
        let (mut rng, mut entries, mut at) = (SmallRng::seed_from_u64(seed), Vec::new(), QUIET);
        while let Some(kind) = kinds.choose(&mut rng).copied().filter(|_| at < duration) {
            let lasts = Duration::from_millis(rng.random_range(800..6000));
            let victim = match rng.random_range(0..5) {
                0..=2 => Victim::Leader,
                _ => Victim::Follower(rng.random()),
            };
            entries.push((at, Planned { kind, victim, lasts, seed: rng.random() }));
            at += Duration::from_millis(rng.random_range(800..4500));
        }
        Plan { entries }
    }

    /// What is written down, stretched over `duration`.
    pub fn of(script: Script, duration: Duration) -> Plan {
        let faults: &[(f64, Kind, Victim, f64)] = match script {
            Script::Contrast => &CONTRAST,
            Script::Clock => &CLOCK,
        };
        let entry = |(number, (at, kind, victim, lasts)): (u64, &(f64, Kind, Victim, f64))| {
            let planned =
                Planned { kind: *kind, victim: *victim, lasts: duration.mul_f64(*lasts), seed: number };
            (duration.mul_f64(*at), planned)
        };
        Plan { entries: (0..).zip(faults).map(entry).collect() }
    }
}
