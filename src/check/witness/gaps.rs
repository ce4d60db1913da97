//! Revisions that no operation is known to have made.
//!
//! Where the history tells all changes, each was made by a write with unknown outcome, which had been called
//! when an answer showed the revision to be past. Both sorted, each revision takes the earliest call that is
//! left: if any assignment works, this one does.

use super::{TIER, place::Places};
use crate::check::{
    index::Index,
    verdict::{Findings, Violation},
};

/// Reports the first revision that nobody can have made. What was before the first answer is not judged.
pub fn check(index: &Index<'_>, places: &Places<'_>, findings: &mut Findings) {
    if !index.history.about.complete || places.leases {
        return;
    }
    let operations = &index.history.operations;
    let mut hidden = places.hidden.iter().map(|at| operations[*at as usize].call);
    let after = places.gaps.iter().filter(|gap| gap.to > index.first);
    for (revision, deadline) in
        after.flat_map(|gap| (gap.from..=gap.to).map(|revision| (revision, gap.deadline)))
    {
        if revision <= index.first || hidden.next().is_some_and(|call| call <= deadline) {
            continue;
        }
        let why = format!("revision {revision} was passed, but no operation can have made it");
        let shows = places.order.iter().find(|place| place.revision >= revision);
        let operations = shows.map(|place| operations[place.at as usize].index).into_iter().collect();
        let anomaly = "unexplained-revision";
        return findings.violated(Violation { tier: TIER, anomaly, level: None, why, operations });
    }
}
