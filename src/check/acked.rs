//! What had been told by when.

use super::history::{History, Nanos, Operation};
use crate::types::Revision;

/// A revision that somebody knew.
pub type Known<'a> = (Revision, &'a Operation);

/// The revisions that answers told, by time.
pub struct Acked<'a> {
    /// Times of return, rising, each with the highest revision told by then and who told it.
    highest: Vec<(Nanos, Known<'a>)>,
    /// Revisions, rising, each with the first return that told it or a later one.
    first: Vec<(Revision, Nanos)>,
}

impl<'a> Acked<'a> {
    /// Sorts the answers. Unknown outcomes tell nothing, until somebody sees what they did.
    pub fn new(history: &'a History) -> Self {
        let told = |operation: &&Operation| operation.is_ok() && operation.revision() > 0;
        let mut order: Vec<&Operation> = history.operations.iter().filter(told).collect();
        order.sort_unstable_by_key(|operation| operation.ret);
        let mut highest: Vec<(Nanos, Known<'a>)> = Vec::new();
        let mut first = Vec::new();
        for operation in order {
            if highest.last().is_none_or(|(_, (known, _))| operation.revision() > *known) {
                highest.push((operation.ret, (operation.revision(), operation)));
                first.push((operation.revision(), operation.ret));
            }
        }
        Acked { highest, first }
    }

    /// `A(t)`: the highest revision that had been told before `t`, and by whom.
    pub fn before(&self, t: Nanos) -> Option<Known<'a>> {
        let count = self.highest.partition_point(|(ret, _)| *ret < t);
        Some(self.highest[..count].last()?.1)
    }

    /// When this revision or a later one was first told.
    pub fn since(&self, revision: Revision) -> Option<Nanos> {
        let from = self.first.partition_point(|(told, _)| *told < revision);
        self.first.get(from).map(|(_, ret)| *ret)
    }
}
