//! Leases: never ended before their time, counted from the sending of the last keep-alive that was
//! answered; and ended some time after they were left.

use std::{collections::BTreeMap, time::Duration};

use quorate::state::Operation;

use super::replay::Replayed;
use crate::workload::History;

/// How much faster than true a leader's clock may run: half of what the configuration allows between two.
const FAST: f64 = 0.95;

pub fn check(history: &History, replayed: &Replayed) -> Vec<String> {
    let ends = ends(replayed);
    let mut violations = Vec::new();
    for leased in &history.leases {
        let least = leased.alive_from + leased.ttl.mul_f64(FAST);
        match ends.get(&leased.id) {
            Some(ended) if *ended < least => violations.push(format!(
                "leases: {} of {:?}, alive at {:?}, ended at {ended:?}",
                leased.id, leased.ttl, leased.alive_from
            )),
            None => violations.push(format!(
                "leases: {} of {:?}, left at {:?}, has not ended",
                leased.id, leased.ttl, leased.left_at
            )),
            Some(_) => {}
        }
    }
    violations
}

/// When each lease was ended by the countdown.
fn ends(replayed: &Replayed) -> BTreeMap<u64, Duration> {
    let mut ends = BTreeMap::new();
    for replay in replayed.commands.values() {
        let Operation::Expire(expire) = &replay.command.op else { continue };
        // One that bears another term than its entry is ignored.
        if expire.term == replay.applied.log_term {
            for doomed in &expire.leases {
                ends.entry(doomed.lease).or_insert(replay.committed);
            }
        }
    }
    ends
}
