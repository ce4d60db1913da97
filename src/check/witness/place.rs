//! Which revision each operation made or saw.

use std::collections::{HashMap, HashSet};

use super::TIER;
use crate::check::{
    acked::Acked,
    effect::{self, Change, Effect, Glimpse},
    history::{Action, DeliveryKind, Nanos, Operation},
    index::{Index, Key},
    verdict::{Findings, Violation},
};
use crate::types::Revision;

/// Where the operations stand.
#[derive(Default)]
pub struct Places<'a> {
    /// In order: by revision, writes first.
    pub order: Vec<Place>,
    /// Changes that were seen, of which no operation is known, in order of revision.
    pub loose: Vec<(Revision, Key, Option<&'a str>)>,
    /// Writes that may have been done and were not seen, by place in the history, in order of call.
    pub hidden: Vec<u32>,
    /// Per key, the hidden writes that change it.
    pub hidden_of: HashMap<Key, Vec<u32>>,
    /// Revisions up to the last that no operation is known to have made, rising.
    pub gaps: Vec<Gap>,
    /// Whether keys may vanish with a lease, at revisions that nobody tells.
    pub leases: bool,
}

/// Revisions that no operation is known to have made, and that nobody's answer is about but the last's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first.
    pub from: Revision,
    /// The last, inclusive.
    pub to: Revision,
    /// The first answer that shows that they were past: whatever made them was called by then.
    pub deadline: Nanos,
}

/// Where one operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The revision that it made, or saw.
    pub revision: Revision,
    /// Whether it made it.
    pub kind: Kind,
    /// Its place in the history.
    pub at: u32,
}

/// What it has to do with its revision. The order matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It made it.
    Made,
    /// It saw it.
    Saw,
}

impl<'a> Places<'a> {
    /// Places the operations, and reports revisions that two operations claim.
    pub fn new(index: &Index<'a>, findings: &mut Findings) -> Self {
        let mut finder = Finder { index, findings, made: made(index), loose: HashSet::new() };
        let unexplained = finder.unexplained();
        finder.explain(unexplained);
        let Finder { mut made, loose, .. } = finder;
        made.claim_untold(index);
        let mut loose: Vec<_> = loose.into_iter().filter(|(revision, ..)| !made.has(*revision)).collect();
        loose.sort_unstable();
        let operations = &index.history.operations;
        let mut order = Vec::with_capacity(operations.len());
        let mut hidden = Vec::new();
        for (at, operation) in (0..).zip(operations) {
            match (made.of.get(&at), operation.revision()) {
                (Some(revision), _) => order.push(Place { revision: *revision, kind: Kind::Made, at }),
                (None, revision) if operation.is_ok() && revision > 0 => {
                    order.push(Place { revision, kind: Kind::Saw, at });
                }
                _ if effect::effect(operation) != Effect::None => hidden.push(at),
                _ => {}
            }
        }
        order.sort_unstable();
        hidden.sort_by_key(|at| operations[*at as usize].call);
        let mut places =
            Places { order, loose, hidden, hidden_of: HashMap::new(), gaps: vec![], leases: false };
        places.index_hidden(index);
        places.find_gaps(index, &made);
        places
    }

    fn index_hidden(&mut self, index: &Index<'a>) {
        for at in &self.hidden {
            effect::changes(&index.history.operations[*at as usize].action, |key, _| {
                let of = self.hidden_of.entry(index.key(key)).or_default();
                if of.last() != Some(at) {
                    of.push(*at);
                }
            });
        }
    }

    fn find_gaps(&mut self, index: &Index<'a>, made: &Made) {
        let operations = &index.history.operations;
        self.leases = operations.iter().any(|operation| is_lease(&operation.action));
        let Some(first) = self.order.first() else { return };
        // The empty store is at revision 1. What was before the history began may be anything.
        let mut before = if index.history.about.complete { 1 } else { first.revision };
        let mut points: Vec<Revision> = self.order.iter().map(|place| place.revision).collect();
        points.extend(made.by.keys());
        points.sort_unstable();
        points.dedup();
        for point in points {
            let to = if made.has(point) { point - 1 } else { point };
            if before < to {
                self.gaps.push(Gap { from: before + 1, to, deadline: Nanos::MAX });
            }
            before = before.max(point);
        }
        let mut soonest = Nanos::MAX;
        let mut from_last = self.order.iter().rev().peekable();
        for gap in self.gaps.iter_mut().rev() {
            while let Some(place) = from_last.next_if(|place| place.revision >= gap.to) {
                let operation = &operations[place.at as usize];
                if operation.is_ok() {
                    soonest = soonest.min(operation.ret);
                }
            }
            gap.deadline = soonest;
        }
    }

    /// The last gap after `from` and not after `to`.
    pub fn gap_within(&self, from: Revision, to: Revision) -> Option<&Gap> {
        let end = self.gaps.partition_point(|gap| gap.from <= to);
        let last = &self.gaps[end.checked_sub(1)?];
        (last.to.min(to) > from).then_some(last)
    }
}

/// Whether it makes leases end, whose keys go at revisions of their own.
fn is_lease(action: &Action) -> bool {
    use Action::{Acquire, Attach, Grant, Release, Revoke};
    matches!(action, Acquire { .. } | Attach { .. } | Grant { .. } | Release { .. } | Revoke { .. })
}

/// Revisions, and who made them.
struct Made {
    /// By the maker's place in the history.
    of: HashMap<u32, Revision>,
    /// By revision; what locks did has no maker among the writes.
    by: HashMap<Revision, Option<u32>>,
}

impl Made {
    fn has(&self, revision: Revision) -> bool {
        self.by.contains_key(&revision)
    }

    /// Answered writes that do not say whether they changed anything: each made the revision that it tells,
    /// if nobody else did, and nobody knew of it before the call.
    fn claim_untold(&mut self, index: &Index<'_>) {
        let untold = |operation: &Operation| operation.is_ok() && effect::effect(operation) == Effect::Open;
        let all = (0..).zip(&index.history.operations);
        let untold: Vec<_> = all.filter(|(_, operation)| untold(operation)).collect();
        if untold.is_empty() {
            return;
        }
        let acked = Acked::new(index.history);
        for (at, operation) in untold {
            let revision = operation.revision();
            let known = acked.before(operation.call).map_or(0, |(known, _)| known);
            if revision > known && !self.has(revision) {
                self.of.insert(at, revision);
                self.by.insert(revision, Some(at));
            }
        }
    }
}

/// What answers claim to have made.
fn made(index: &Index<'_>) -> Made {
    let operations = &index.history.operations;
    let mut made = Made { of: HashMap::new(), by: HashMap::new() };
    for (at, operation) in (0..).zip(operations) {
        let revision = operation.revision();
        if operation.is_ok() && revision > 0 && effect::effect(operation) == Effect::Done {
            made.of.insert(at, revision);
            made.by.entry(revision).or_insert(Some(at));
        }
    }
    for operation in operations.iter().filter(|operation| operation.is_ok() && operation.revision() > 0) {
        // A revocation of a lease without keys makes no revision: the one that it tells may be anybody's.
        match &operation.action {
            Action::Acquire { token: Some(token), .. } => drop(made.by.entry(*token).or_insert(None)),
            Action::Release { .. } => drop(made.by.entry(operation.revision()).or_insert(None)),
            _ => {}
        }
    }
    made
}

/// Looks for the makers of changes that were seen.
struct Finder<'a, 'b> {
    index: &'b Index<'a>,
    findings: &'b mut Findings,
    made: Made,
    loose: HashSet<(Revision, Key, Option<&'a str>)>,
}

/// A change that somebody saw: key, value, revision.
type Sighting<'a> = (Key, &'a str, Revision);

impl<'a> Finder<'a, '_> {
    /// Changes that were seen at revisions which no answer claims; each with who saw it.
    fn unexplained(&mut self) -> HashMap<Sighting<'a>, Option<u32>> {
        let mut seen = HashMap::new();
        let index = self.index;
        for (at, operation) in (0..).zip(&index.history.operations) {
            effect::glimpses(operation, |key, glimpse| {
                if let Glimpse::Found(found) = glimpse
                    && found.mod_revision > 0
                    && !self.made.has(found.mod_revision)
                {
                    seen.entry((index.key(key), &*found.value, found.mod_revision)).or_insert(Some(at));
                }
            });
        }
        for delivery in &index.history.deliveries {
            let DeliveryKind::Events(events) = &delivery.kind else { continue };
            for event in events.iter().filter(|event| !self.made.has(event.revision)) {
                let key = index.key(&event.key);
                match &event.value {
                    Some(value) => drop(seen.entry((key, &**value, event.revision)).or_insert(None)),
                    None => drop(self.loose.insert((event.revision, key, None))),
                }
            }
        }
        seen
    }

    /// Gives each sighting the one operation that can have made it; those with several stay loose.
    fn explain(&mut self, seen: HashMap<Sighting<'a>, Option<u32>>) {
        let mut writers: HashMap<(Key, &str), Vec<u32>> =
            seen.keys().map(|(key, value, _)| ((*key, self.mark(*key, value)), vec![])).collect();
        let index = self.index;
        for (at, operation) in (0..).zip(&index.history.operations) {
            if effect::effect(operation) == Effect::None {
                continue;
            }
            effect::changes(&operation.action, |key, change| {
                let (Change::Set(value) | Change::Append(value)) = change else { return };
                let key = index.key(key);
                if let Some(writers) = writers.get_mut(&(key, self.mark(key, value)))
                    && writers.last() != Some(&at)
                {
                    writers.push(at);
                }
            });
        }
        let mut seen: Vec<_> = seen.into_iter().collect();
        seen.sort_unstable_by_key(|((key, _, revision), _)| (*revision, *key));
        for ((key, value, revision), by) in seen {
            match writers[&(key, self.mark(key, value))][..] {
                [one] => self.assign(one, (key, value, revision), by),
                _ => drop(self.loose.insert((revision, key, Some(value)))),
            }
        }
    }

    /// What of a value tells who wrote it: of a list, its last element.
    fn mark<'v>(&self, key: Key, value: &'v str) -> &'v str {
        match self.index.lists[key as usize] {
            true => effect::elements(value).last().unwrap_or(value),
            false => value,
        }
    }

    fn assign(&mut self, at: u32, (key, value, revision): Sighting<'a>, by: Option<u32>) {
        match (self.made.of.get(&at).copied(), self.made.by.get(&revision).copied().flatten()) {
            (Some(known), _) if known == revision => {}
            // Or somebody wrote the same before.
            _ if self.index.is_older(revision) => drop(self.loose.insert((revision, key, Some(value)))),
            (Some(known), _) => {
                let name = self.index.name(key);
                let why = format!(
                    "{value:?} was written to {name:?} once, at revision {known}, and seen to be written at \
                     revision {revision} too"
                );
                self.report("applied-twice", why, [Some(at), by]);
                self.loose.insert((revision, key, Some(value)));
            }
            (None, Some(other)) => {
                let why = format!("revision {revision} was made by two writes");
                self.report("duplicate-revision", why, [Some(at), Some(other)]);
            }
            (None, None) => {
                self.made.of.insert(at, revision);
                self.made.by.insert(revision, Some(at));
            }
        }
    }

    fn report(&mut self, anomaly: &'static str, why: String, places: [Option<u32>; 2]) {
        let index = |at: u32| -> &Operation { &self.index.history.operations[at as usize] };
        let operations = places.into_iter().flatten().map(|at| index(at).index).collect();
        self.findings.violated(Violation { tier: TIER, anomaly, level: None, why, operations });
    }
}
