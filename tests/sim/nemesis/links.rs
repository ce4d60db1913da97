//! The links between hosts, as the faults that are left say. One that does not change is not touched: what it
//! holds back stays there.

use std::{collections::BTreeMap, time::Duration};

use turmoil::Sim;

use super::{CLIENTS, Kind};
use crate::world::ms;

/// The longest that a segment takes when all is well.
const LATENCY_MAX: Duration = Duration::from_millis(10);

/// A link between two hosts.
#[derive(Clone, Debug, PartialEq)]
struct Link {
    held: bool,
    /// A segment takes so long at most.
    most: Duration,
    lossy: bool,
    /// Nothing goes from the first to the second; from the second to the first.
    cut: [bool; 2],
}

impl Default for Link {
    fn default() -> Link {
        Link { held: false, most: LATENCY_MAX, lossy: false, cut: [false; 2] }
    }
}

/// All links.
#[derive(Default)]
pub struct Links(BTreeMap<(String, String), Link>);

impl Links {
    /// Sets what is different from before.
    pub fn set<'a>(&mut self, sim: &mut Sim<'_>, names: &[String], faults: impl Iterator<Item = &'a Kind>) {
        let mut hosts = names.to_vec();
        hosts.push(CLIENTS.to_owned());
        let faults: Vec<&Kind> = faults.collect();
        for (at, a) in hosts.iter().enumerate() {
            for b in &hosts[at + 1..] {
                let wanted = wanted(&faults, a, b);
                let present = self.0.entry((a.clone(), b.clone())).or_default();
                if *present != wanted {
                    wanted.apply(sim, a, b);
                    *present = wanted;
                }
            }
        }
    }
}

fn wanted(faults: &[&Kind], a: &str, b: &str) -> Link {
    let mut link = Link::default();
    let is_between = |one: &str, other: &str| (one == a && other == b) || (one == b && other == a);
    for fault in faults {
        match fault {
            Kind::Cut { links, .. } => {
                link.cut[0] |= links.iter().any(|(from, to)| from == a && to == b);
                link.cut[1] |= links.iter().any(|(from, to)| from == b && to == a);
            }
            Kind::Held { a: one, b: other } => link.held |= is_between(one, other),
            Kind::Suspended { id } => link.held |= [a, b].contains(&&*format!("n{id}")),
            Kind::Latent { a: one, b: other, most } if is_between(one, other) => link.most = *most,
            Kind::Loss => link.lossy = true,
            _ => {}
        }
    }
    link
}

impl Link {
    fn apply(&self, sim: &mut Sim<'_>, a: &str, b: &str) {
        if self.held {
            sim.hold(a, b);
        } else {
            sim.release(a, b);
            sim.repair(a, b);
        }
        sim.set_link_fail_rate(a, b, if self.lossy { 0.01 } else { 0.0 });
        sim.set_link_latency(a, b, ms(1));
        sim.set_link_max_message_latency(a, b, self.most);
        if self.cut[0] {
            sim.partition_oneway(a, b);
        }
        if self.cut[1] {
            sim.partition_oneway(b, a);
        }
    }
}
