//! T4, watches: every event once, in order of revision, each revision whole, none left out.
//!
//! The laws are those that etcd's robustness tests state for its watches (`tests/robustness` there): filter,
//! ordered, unique, atomic, reliable, resumable, bookmarkable, previous value, is-create; and: a watch is
//! cancelled as compacted only where something that it needs is gone, and tells nothing after its end. They
//! are checked for each watch over all its resumptions, against what is known to have happened: what any
//! watch told, and what was acknowledged with its revision. What nobody knows of cannot be missed.

mod known;
mod walk;

use std::collections::BTreeMap;

use self::{known::Known, walk::Walk};
use super::{
    Findings,
    history::{Delivery, History},
    promises::{Broken, Promises},
};

/// Checks what watches were told, into tier `t4`.
pub fn check(history: &History, findings: &mut Findings) {
    let mut watches: BTreeMap<u64, Vec<&Delivery>> = BTreeMap::new();
    for delivery in &history.deliveries {
        watches.entry(delivery.watch).or_default().push(delivery);
    }
    if watches.is_empty() {
        return;
    }
    let mut promises = Promises { findings, faults: &history.faults, subject: "watches" };
    let known = Known::of(history, &mut promises);
    for (watch, deliveries) in watches {
        Walk::new(watch, &known, &mut promises).walk(&deliveries);
    }
}

/// A violation that no clock excuses.
fn broken(anomaly: &'static str, why: String, operations: Vec<u64>) -> Broken {
    Broken { anomaly, why, operations, clock: None }
}

#[cfg(test)]
mod tests;
