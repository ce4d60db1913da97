//! T0: the history can have been recorded, nothing is read that nobody wrote, and members agree in the end.

mod phantom;
mod shape;

use std::collections::BTreeMap;

use super::{
    history::FinalState,
    index::Index,
    verdict::{Findings, Violation},
};

/// This tier's name.
pub const TIER: &str = "t0";

/// Checks shape, origin of values, and final states. O(n log n).
pub fn check(index: &Index<'_>, findings: &mut Findings) {
    shape::check(index.history, findings);
    phantom::check(index, findings);
    finals(&index.history.finals, findings);
    let tier = findings.tier(TIER);
    tier.checked = (index.history.operations.len() + index.history.deliveries.len()) as u64;
}

/// The state is a function of the revision: members at the same one hold the same.
fn finals(finals: &[FinalState], findings: &mut Findings) {
    let mut known: BTreeMap<u64, &FinalState> = BTreeMap::new();
    for state in finals {
        let first = *known.entry(state.revision).or_insert(state);
        if first.hash != state.hash {
            let why = format!(
                "members {} and {} both ended at revision {}, with different contents: hashes {} and {}",
                first.node, state.node, state.revision, first.hash, state.hash
            );
            let operations = Vec::new();
            findings.violated(Violation { tier: TIER, anomaly: "diverged", level: None, why, operations });
        }
    }
}
