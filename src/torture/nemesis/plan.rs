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
    /// This member.
    Member(NodeId),
}

impl Victim {
    /// The member's id. `None`: nobody leads.
    pub fn resolve(self, leader: Option<NodeId>, nodes: u64) -> Option<NodeId> {
        match self {
            Victim::Leader => leader,
            Victim::Member(id) => Some(id),
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

    /// What shows people the levels side by side: the leader alone, the leader paused, the leader killed, each
    /// for a while and by itself, over `duration`.
    pub fn contrast(duration: Duration) -> Plan {
        let part = duration / 12;
        let fault = |number: u32, kind, victim| {
            (part * number, Planned { kind, victim, lasts: part * 2, seed: u64::from(number) })
        };
        Plan {
            entries: vec![
                fault(1, Kind::Partition, Victim::Leader),
                fault(4, Kind::Pause, Victim::Leader),
                fault(7, Kind::Kill, Victim::Leader),
                fault(9, Kind::Slow, Victim::Follower(0)),
            ],
        }
    }
}
