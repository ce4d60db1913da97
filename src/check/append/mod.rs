//! T3: anomalies of transactions over lists, found as cycles of dependencies (Kingsbury and Alvaro, *Elle:
//! Inferring Isolation Anomalies from Experimental Observations*, VLDB 2020; names after Adya, *Weak
//! Consistency*, 1999).
//!
//! A list only grows and its elements are unique, so one read of it tells the order of all appends before.
//! From the longest read of each key follows which transaction wrote what another read or overwrote; an
//! anomaly is a cycle of these, and of the order of sessions and of real time. All of it is near linear.
//!
//! - [`lists`]: transactions, and who appended which element;
//! - [`direct`]: what one read shows alone: `G1a` (it saw an aborted transaction), `G1b` (the middle of
//!   one), `internal`, `duplicate-elements`, `phantom`, `incompatible-order`, `lost-update`;
//! - [`graph`]: dependencies; [`cycle`]: strongly connected components and the shortest cycle in each;
//!   [`anomaly`]: its name, and the reason in words.
//!
//! A transaction whose outcome is unknown took place if somebody saw one of its elements; otherwise nothing
//! rests on it. Lists that something else than an append changes, and lists with an element that was appended
//! twice, cannot be told apart like this: they are left out, and the latter makes the answer *Unknown*.

mod anomaly;
mod cycle;
mod direct;
mod graph;
mod lists;

use self::{graph::Graph, lists::Lists};
use super::{Findings, Verdict, history::History};

/// The tier's name.
pub const TIER: &str = "t3";

/// Looks for anomalies of list-append transactions, into tier `t3`.
pub fn check(history: &History, findings: &mut Findings) {
    let mut lists = Lists::of(history);
    if lists.txns.is_empty() {
        return;
    }
    lists.observe();
    direct::check(&lists, findings);
    let graph = Graph::of(&lists);
    anomaly::check(&lists, &graph, findings);
    let tier = findings.tier(TIER);
    tier.checked += lists.txns.len() as u64;
    if lists.keys.iter().any(|key| key.repeated) {
        tier.verdict = tier.verdict.max(Verdict::Unknown);
        tier.note = Some("lists with an element that was appended twice were not checked".to_owned());
    }
}

#[cfg(test)]
mod tests;
