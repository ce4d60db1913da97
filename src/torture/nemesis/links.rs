//! Faults of the network.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};

use super::{Kind, Planned, Stage, Struck, processes::names};
use crate::{
    torture::cluster::proxy::{CLIENTS, Counted, Direction, Network, Trouble},
    types::NodeId,
};

/// What a disturbance does, and to which directions.
struct Disturbance {
    what: String,
    directions: Vec<Direction>,
    /// `None`: connections are ended, once.
    trouble: Option<Trouble>,
}

impl Stage {
    /// Disturbs the network for a while. It landed if something was held up, late or lost.
    pub(super) async fn disturb(&self, planned: &Planned, nodes: &[NodeId]) -> Struck {
        let disturbance = Disturbance::draw(planned, nodes[0], self.nodes as u64);
        let cluster = self.cluster.lock().await;
        let before = cluster.network().counted(&disturbance.directions);
        let imposed = match disturbance.trouble {
            Some(trouble) => Some(cluster.network().impose(disturbance.directions.clone(), trouble)),
            None => {
                cluster.network().reset(disturbance.directions.clone());
                None
            }
        };
        drop(cluster);
        self.endure(if imposed.is_some() { planned.lasts } else { Duration::from_millis(200) }).await;
        let cluster = self.cluster.lock().await;
        let landed = disturbance.landed(before, cluster.network().counted(&disturbance.directions));
        if let Some(imposed) = imposed {
            cluster.network().lift(imposed);
        }
        Struck::new(disturbance.what, nodes, landed)
    }
}

impl Disturbance {
    fn draw(planned: &Planned, victim: NodeId, nodes: u64) -> Disturbance {
        let mut rng = SmallRng::seed_from_u64(planned.seed);
        let others: Vec<NodeId> = (1..=nodes).filter(|id| *id != victim).collect();
        let all = Network::between(&[victim], &others);
        let name = format!("n{victim}");
        match planned.kind {
            Kind::OneWay => {
                let (out, one) = (rng.random_bool(0.5), rng.random_bool(0.5));
                let count = if one { 1 } else { others.len() };
                let direction = |other: &NodeId| if out { (victim, *other) } else { (*other, victim) };
                let others_named = names(&others[..count]);
                let (from, to) = if out { (&name, &others_named) } else { (&others_named, &name) };
                Disturbance {
                    what: format!("nothing passes from {from} to {to}"),
                    directions: others[..count].iter().map(direction).collect(),
                    trouble: Some(Trouble::Cut),
                }
            }
            Kind::Slow => {
                let (delay, rate) = (rng.random_range(20..250), rng.random_range(20_000..200_000));
                let (trouble, what) = match rng.random_bool(0.7) {
                    true => (Trouble::Delay(Duration::from_millis(delay)), format!("{delay} ms late")),
                    false => (Trouble::Throttle(rate), format!("{} KB/s", rate / 1000)),
                };
                Disturbance {
                    what: format!("links of {name}: {what}"),
                    directions: all,
                    trouble: Some(trouble),
                }
            }
            Kind::Drop => {
                let links = all.into_iter().chain(Network::between(&[victim], &[CLIENTS])).collect();
                let what = format!("links of {name} lose connections");
                Disturbance { what, directions: links, trouble: Some(Trouble::Lossy(0.02)) }
            }
            Kind::Reset => {
                let links = all.into_iter().chain(Network::between(&[victim], &[CLIENTS])).collect();
                Disturbance { what: format!("connections of {name} reset"), directions: links, trouble: None }
            }
            Kind::Client => Disturbance {
                what: format!("clients do not reach {name}"),
                directions: Network::between(&[victim], &[CLIENTS]),
                trouble: Some(Trouble::Cut),
            },
            _ => Disturbance::partition(&mut rng, victim, nodes),
        }
    }

    /// The victim alone; two halves; or, of five, a ring in which each reaches its neighbours only.
    fn partition(rng: &mut SmallRng, victim: NodeId, nodes: u64) -> Disturbance {
        let mut members: Vec<NodeId> = (1..=nodes).collect();
        let shape = if nodes > 3 { rng.random_range(0..3) } else { 0 };
        if shape == 2 {
            members.shuffle(rng);
            let apart = |a: usize, b: usize| {
                let distance = a.abs_diff(b);
                distance.min(members.len() - distance) > 1
            };
            let pairs = (0..members.len()).flat_map(|a| (0..members.len()).map(move |b| (a, b)));
            let directions =
                pairs.filter(|(a, b)| apart(*a, *b)).map(|(a, b)| (members[a], members[b])).collect();
            return Disturbance {
                what: format!("each reaches its neighbours only: {}", names(&members)),
                directions,
                trouble: Some(Trouble::Cut),
            };
        }
        members.retain(|id| *id != victim);
        members.shuffle(rng);
        let mut one = vec![victim];
        if shape == 1 {
            one.extend(members.pop());
        }
        members.sort_unstable();
        let what = format!("{} | {}", names(&one), names(&members));
        Disturbance { what, directions: Network::between(&one, &members), trouble: Some(Trouble::Cut) }
    }

    fn landed(&self, before: Counted, after: Counted) -> bool {
        match self.trouble {
            Some(Trouble::Cut) => after.held > before.held,
            Some(Trouble::Delay(_) | Trouble::Throttle(_)) => after.delayed > before.delayed,
            Some(Trouble::Lossy(_)) | None => after.lost > before.lost,
        }
    }
}
