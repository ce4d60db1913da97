//! Revisions that no operation is known to have made.
//!
//! Where the history tells all changes, each was made by a write with unknown outcome. Which one is a matching
//! of gaps and writes: a write fits a gap if it had been called when an answer showed the gap to be past, and
//! if no answer contradicts it. Found by augmenting paths.

use std::collections::HashSet;

use super::{TIER, place::Places};
use crate::check::{
    index::Index,
    verdict::{Findings, Violation},
};

/// Pairs of a gap and a write beyond which only a lower bound is looked for.
const PAIRS_MAX: usize = 4_000_000;

/// Reports a revision that nobody can have made.
pub fn check(index: &Index<'_>, places: &Places<'_>, findings: &mut Findings) {
    if !index.history.about.complete || places.leases || places.gaps.is_empty() {
        return;
    }
    let operations = &index.history.operations;
    let fits =
        |gap: usize, hidden: usize| operations[places.hidden[hidden] as usize].call <= places.deadlines[gap];
    let unfilled = if places.gaps.len().saturating_mul(places.hidden.len()) > PAIRS_MAX {
        greedy(places, fits)
    } else {
        Matching { places, fits: &fits, of: vec![None; places.hidden.len()] }.unfilled()
    };
    if let Some(gap) = unfilled {
        let revision = places.gaps[gap];
        let why = format!("revision {revision} was passed, but no operation can have made it");
        let shows = places.order.iter().find(|place| place.revision >= revision);
        let operations = shows.map(|place| operations[place.at as usize].index).into_iter().collect();
        findings.violated(Violation {
            tier: TIER,
            anomaly: "unexplained-revision",
            level: None,
            why,
            operations,
        });
    }
}

/// By calls alone: each gap takes the earliest write that is left. Exact for calls, since deadlines rise.
fn greedy(places: &Places<'_>, fits: impl Fn(usize, usize) -> bool) -> Option<usize> {
    (0..places.gaps.len()).find(|gap| *gap >= places.hidden.len() || !fits(*gap, *gap))
}

struct Matching<'b, 'a, F> {
    places: &'b Places<'a>,
    fits: &'b F,
    /// Per hidden write, the gap that it fills.
    of: Vec<Option<usize>>,
}

impl<F: Fn(usize, usize) -> bool> Matching<'_, '_, F> {
    /// The first gap that cannot be filled together with those before it.
    fn unfilled(&mut self) -> Option<usize> {
        (0..self.places.gaps.len()).find(|gap| !self.fill(*gap, &mut HashSet::new()))
    }

    fn fill(&mut self, gap: usize, tried: &mut HashSet<usize>) -> bool {
        for hidden in 0..self.of.len() {
            if !(self.fits)(gap, hidden) || !tried.insert(hidden) {
                continue;
            }
            let free = match self.of[hidden] {
                None => true,
                Some(other) => self.fill(other, tried),
            };
            if free {
                self.of[hidden] = Some(gap);
                return true;
            }
        }
        false
    }
}
