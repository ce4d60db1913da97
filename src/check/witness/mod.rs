//! T1: the revision witness.
//!
//! Every answer tells its revision, so the order that explains the history is not searched but read off: by
//! revision, the write that made it before the reads of it. What is left is to check it. All writes are
//! replayed in this order through the store's definition, and every answer is compared; nothing may stand
//! before what had been answered when it was called. If both hold, the order is a linearization (strict
//! serialization, with transactions over several keys) in the sense of Herlihy and Wing (1990). If not, then
//! either the store is wrong or the revisions that it tells are.
//!
//! Writes with unknown outcome stand where somebody saw their value. Those that nobody saw may have made
//! revisions that nobody explains (gaps): there every answer is accepted that some such write can explain.

mod gaps;
mod order;
mod place;
mod replay;
mod state;

use self::place::Places;
use super::{
    history::Operation,
    index::{Index, Key},
    verdict::Findings,
};
use crate::types::Revision;

/// This tier's name.
pub const TIER: &str = "t1";

/// What the replay learned, for the levels.
pub struct Replay {
    /// Per key, the revisions that changed it, rising.
    pub changes: Vec<Vec<Revision>>,
    /// Of each change: its revision, its key, and its operation by place in the history, if that is known.
    pub log: Vec<(Revision, Key, Option<u32>)>,
    /// Operations by place in the history whose answers were not those of their revision, with what was
    /// wrong.
    pub wrong: Vec<(u32, String)>,
}

/// Checks the history against its revisions; `None` if its answers tell none. O(n log n).
pub fn check(index: &Index<'_>, findings: &mut Findings) -> Option<Replay> {
    let operations = &index.history.operations;
    if !operations.iter().any(|operation| operation.revision() > 0) {
        findings.tier(TIER).note = Some("the answers tell no revisions".to_owned());
        return None;
    }
    let places = Places::new(index, findings);
    let replay = replay::run(index, &places, findings);
    order::check(index, &places, findings);
    gaps::check(index, &places, findings);
    let untold = operations.iter().filter(|operation| is_untold(operation)).count();
    let tier = findings.tier(TIER);
    tier.checked = (operations.len() - untold) as u64;
    tier.note = (untold > 0).then(|| format!("{untold} answers tell no revision"));
    Some(replay)
}

fn is_untold(operation: &Operation) -> bool {
    operation.is_ok() && operation.revision() == 0
}
