//! Revisions that no operation is known to have made.
//!
//! Where the history tells all changes, each was made by a write with unknown outcome, which had been called
//! when an answer showed the revision to be past. Both sorted, each revision takes the earliest call that
//! is left: if calls allow any assignment, they allow this one. Whether an assignment explains the answers
//! too is found by trying all, where they are few.

use super::{
    TIER, order,
    place::{Kind, Place, Places},
    replay,
};
use crate::check::{
    effect::{self, Change},
    history::Nanos,
    index::Index,
    verdict::{Findings, Violation},
};
use crate::types::Revision;

/// Assignments that are tried. Each replays the history.
const TRIES_MAX: usize = 5_000;
/// Operations that are replayed in all tries together.
const REPLAYED_MAX: usize = 2_000_000;
/// Gaps beyond which assignments are too many.
const GAPS_MAX: usize = 32;
/// Steps towards assignments.
const STEPS_MAX: usize = 20_000;

/// Reports a revision that nobody can have made.
pub fn check(index: &Index<'_>, places: &Places<'_>, findings: &mut Findings) {
    if !index.history.about.complete || places.leases || places.gaps.is_empty() {
        return;
    }
    let each =
        places.gaps.iter().flat_map(|gap| (gap.from..=gap.to).map(|revision| (revision, gap.deadline)));
    let mut hidden = places.hidden.iter().map(|at| index.history.operations[*at as usize].call);
    let late = |deadline: Nanos, call: Option<Nanos>| call.is_none_or(|call| call > deadline);
    if let Some((revision, _)) = each.clone().find(|(_, deadline)| late(*deadline, hidden.next())) {
        let why = format!("revision {revision} was passed, but no operation can have made it");
        return report(index, places, (revision, why), findings);
    }
    let bad = findings.tiers.get(TIER).is_some_and(|tier| tier.violations > 0);
    let tries = TRIES_MAX.min(REPLAYED_MAX / places.order.len().max(1));
    let mut search = Search { index, places, gaps: each.collect(), chosen: vec![], tries, steps: STEPS_MAX };
    if !bad && search.gaps.len() <= GAPS_MAX && search.finds() == Some(false) {
        let revision = search.gaps.first().map_or(0, |(revision, _)| *revision);
        let why = format!(
            "whichever operations with unknown outcome made revision {revision} and what else nobody claims, \
             some answer contradicts it"
        );
        report(index, places, (revision, why), findings);
    }
}

fn report(
    index: &Index<'_>,
    places: &Places<'_>,
    (revision, why): (Revision, String),
    findings: &mut Findings,
) {
    let shows = places.order.iter().find(|place| place.revision >= revision);
    let operations =
        shows.map(|place| index.history.operations[place.at as usize].index).into_iter().collect();
    findings.violated(Violation {
        tier: TIER,
        anomaly: "unexplained-revision",
        level: None,
        why,
        operations,
    });
}

/// Looks for hidden writes that can have made the gaps.
struct Search<'a, 'b> {
    index: &'b Index<'a>,
    places: &'b Places<'a>,
    gaps: Vec<(Revision, Nanos)>,
    /// Of each gap so far, who made it.
    chosen: Vec<u32>,
    tries: usize,
    steps: usize,
}

impl Search<'_, '_> {
    /// Whether some assignment holds; `None`: there are too many.
    fn finds(&mut self) -> Option<bool> {
        let Some((revision, deadline)) = self.gaps.get(self.chosen.len()).copied() else {
            self.tries = self.tries.checked_sub(1)?;
            return Some(self.holds());
        };
        self.steps = self.steps.checked_sub(1)?;
        for at in &self.places.hidden {
            let operation = &self.index.history.operations[*at as usize];
            if operation.call > deadline || self.chosen.contains(at) || !self.makes(*at, revision) {
                continue;
            }
            self.chosen.push(*at);
            let found = self.finds();
            self.chosen.pop();
            if found != Some(false) {
                return found;
            }
        }
        Some(false)
    }

    /// Whether the write makes what was seen of the revision.
    fn makes(&self, at: u32, revision: Revision) -> bool {
        let loose = &self.places.loose;
        let from = loose.partition_point(|(known, ..)| *known < revision);
        loose[from..].iter().take_while(|(known, ..)| *known == revision).all(|(_, key, value)| {
            let mut any = false;
            effect::changes(&self.index.history.operations[at as usize].action, |name, change| {
                any |= self.index.key(name) == *key
                    && match change {
                        Change::Set(own) => Some(&**own) == *value,
                        Change::Append(_) => true,
                        Change::Delete => value.is_none(),
                    };
            });
            any
        })
    }

    /// Whether the history is good if the chosen writes made the gaps, and the others nothing.
    fn holds(&self) -> bool {
        let answered = |at: &u32| self.index.history.operations[*at as usize].is_ok();
        if self.places.hidden.iter().any(|at| answered(at) && !self.chosen.contains(at)) {
            return false;
        }
        let mut order = self.places.order.clone();
        let made = self.gaps.iter().zip(&self.chosen);
        order.extend(made.map(|((revision, _), at)| Place {
            revision: *revision,
            kind: Kind::Made,
            at: *at,
        }));
        order.sort_unstable();
        let places = Places { order, ..Places::default() };
        let mut findings = Findings::default();
        replay::run(self.index, &places, &mut findings);
        order::check(self.index, &places, &mut findings);
        findings.violations.is_empty()
    }
}
