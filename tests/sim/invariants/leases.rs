//! Leases: never ended before their time, counted from the sending of the last keep-alive that was
//! answered; and ended some time after they were left.

use std::time::Duration;

use super::replay::Replayed;
use crate::workload::History;

/// How much faster than true a leader's clock may run: half of what the configuration allows between two.
const FAST: f64 = 0.95;

/// How long after its time, and after everything was healed, a lease may last on: elections, of which each
/// gives it its time again (two seconds at most), and the look of the leader.
const LATEST: Duration = Duration::from_secs(8);

pub fn check(history: &History, replayed: &Replayed) -> Vec<String> {
    let mut violations = Vec::new();
    for leased in &history.leases {
        let least = leased.alive_from + leased.ttl.mul_f64(FAST);
        match replayed.ended.get(&leased.id) {
            Some(ended) if *ended < least => violations.push(format!(
                "leases: {} of {:?}, alive at {:?}, ended at {ended:?}",
                leased.id, leased.ttl, leased.alive_from
            )),
            None => violations.push(format!(
                "leases: {} of {:?}, left at {:?}, has not ended",
                leased.id, leased.ttl, leased.left_at
            )),
            Some(ended) if *ended > (leased.left_at + leased.ttl).max(history.healed) + LATEST => {
                violations.push(format!(
                    "leases: {} of {:?}, left at {:?}, ended as late as {ended:?}",
                    leased.id, leased.ttl, leased.left_at
                ));
            }
            Some(_) => {}
        }
    }
    violations
}
