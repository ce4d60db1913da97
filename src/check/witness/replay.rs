//! All changes in order of revision, and every answer compared.

use super::{
    Replay, TIER,
    place::{Gap, Kind, Place, Places},
    state::{Claim, State, Value},
};
use crate::check::{
    effect::{self, Change, Effect},
    history::{Action, Condition, Expected, Found, Operation, Step, Text},
    index::{Index, Key},
    verdict::{Findings, Violation},
};
use crate::types::Revision;

/// Replays the history; reports answers that are not those of their revision.
pub fn run(index: &Index<'_>, places: &Places<'_>, findings: &mut Findings) -> Replay {
    let start = if index.history.about.complete { State::absent() } else { State::default() };
    let replay = Replay { changes: vec![vec![]; index.len()], log: vec![], wrong: vec![] };
    let states = vec![start; index.len()];
    let mut run = Run { index, places, findings, states, replay, loose: 0, made: None };
    for place in &places.order {
        run.step(*place);
    }
    run.replay
}

struct Run<'a, 'b> {
    index: &'b Index<'a>,
    places: &'b Places<'a>,
    findings: &'b mut Findings,
    states: Vec<State<'a>>,
    replay: Replay,
    /// How many loose changes have been made.
    loose: usize,
    /// The last write.
    made: Option<Place>,
}

/// One operation at its place.
#[derive(Clone, Copy)]
struct Turn<'a> {
    at: u32,
    operation: &'a Operation,
    /// The revision that it makes, if it makes one.
    makes: Option<Revision>,
    /// The revision that its answer is about.
    sees: Revision,
}

impl<'a> Run<'a, '_> {
    fn step(&mut self, place: Place) {
        self.make_loose(place.revision);
        let operation = &self.index.history.operations[place.at as usize];
        let makes = (place.kind == Kind::Made).then_some(place.revision);
        if makes.is_some() {
            self.made_once(place);
        }
        let sees = place.revision - u64::from(makes.is_some());
        self.take(Turn { at: place.at, operation, makes, sees });
    }

    /// Changes that were seen, by nobody known.
    fn make_loose(&mut self, until: Revision) {
        while let Some((revision, key, value)) = self.places.loose.get(self.loose).copied()
            && revision <= until
        {
            self.loose += 1;
            match value {
                Some(value) => self.set(key, self.value(key, value), (revision, None)),
                None => self.delete(key, (revision, None)),
            }
        }
    }

    fn made_once(&mut self, place: Place) {
        if let Some(other) = self.made.replace(place)
            && other.revision == place.revision
        {
            let operations = &self.index.history.operations;
            let operations = [other, place].map(|place| operations[place.at as usize].index).to_vec();
            let why = format!("two writes were told that they made revision {}", place.revision);
            self.findings.violated(Violation {
                tier: TIER,
                anomaly: "duplicate-revision",
                level: None,
                why,
                operations,
            });
        }
    }

    fn take(&mut self, turn: Turn<'a>) {
        match &turn.operation.action {
            Action::Read { key, found: Some(found) } => self.found(turn, key, found.as_ref()),
            Action::Range { prefix, found: Some(found) } => self.range(turn, prefix, found),
            Action::Delete { key, existed } => match (turn.makes, existed) {
                (Some(_), Some(true)) => self.claim(turn, key, Claim::Present),
                (None, Some(false)) => self.claim(turn, key, Claim::Absent),
                (Some(_), None) if turn.operation.is_unknown() => self.claim(turn, key, Claim::Present),
                _ => {}
            },
            Action::Cas { key, old, swapped, .. } => match (turn.makes, swapped, old) {
                (Some(_), _, Some(old)) => self.claim(turn, key, Claim::Value(old)),
                (Some(_), _, None) => self.claim(turn, key, Claim::Absent),
                (None, Some(false), _) => {
                    let expected = Expected::Value(old.clone());
                    self.refused(turn, &[Condition { key: key.clone(), expected }]);
                }
                _ => {}
            },
            Action::Txn { when, steps, applied } => return self.transaction(turn, (when, steps, *applied)),
            _ => {}
        }
        self.change(turn);
    }

    fn change(&mut self, turn: Turn<'a>) {
        let Some(revision) = turn.makes else { return };
        let by = (revision, Some(turn.at));
        effect::changes(&turn.operation.action, |key, change| {
            let key = self.index.key(key);
            match change {
                Change::Set(value) => self.set(key, self.value(key, value), by),
                Change::Append(element) => self.append(key, element, by),
                Change::Delete => self.delete(key, by),
            }
        });
        if let Action::Attach { key, .. } = &turn.operation.action {
            self.states[self.index.key(key) as usize].attached = true;
        }
    }

    fn transaction(&mut self, turn: Turn<'a>, txn: (&'a [Condition], &'a [Step], Option<bool>)) {
        let (when, steps, applied) = txn;
        if applied == Some(false) {
            return self.refused(turn, when);
        }
        for Condition { key, expected } in when {
            let claim = match expected {
                Expected::Value(Some(value)) => Claim::Value(value),
                Expected::Value(None) | Expected::ModRevision(0) => Claim::Absent,
                Expected::ModRevision(revision) => Claim::Modified(*revision),
            };
            self.claim(turn, key, claim);
        }
        for step in steps {
            match (step, turn.makes) {
                (Step::Read(key, Some(found)), _) => self.found(turn, key, found.as_ref()),
                (Step::List(key, Some(list)), _) => self.claim(turn, key, Claim::List(list)),
                (Step::Write(key, value), Some(revision)) => {
                    let key = self.index.key(key);
                    self.set(key, self.value(key, value), (revision, Some(turn.at)));
                }
                (Step::Append(key, element), Some(revision)) => {
                    self.append(self.index.key(key), element, (revision, Some(turn.at)));
                }
                _ => {}
            }
        }
    }

    fn value(&self, key: Key, text: &'a str) -> Value<'a> {
        match self.index.lists[key as usize] {
            true => Value::List(effect::elements(text).collect()),
            false => Value::Text(text),
        }
    }

    fn set(&mut self, key: Key, value: Value<'a>, (revision, by): (Revision, Option<u32>)) {
        let miscounted = self.miscounts(key, revision);
        let state = &mut self.states[key as usize];
        state.set(value, revision);
        state.counted &= !miscounted;
        self.changed(key, revision, by);
    }

    fn append(&mut self, key: Key, element: &'a str, (revision, by): (Revision, Option<u32>)) {
        let miscounted = self.miscounts(key, revision);
        // What it was added to is not certain then.
        let hides = self.hides_change(key, revision);
        let state = &mut self.states[key as usize];
        let known = state.known && !hides;
        // A placeholder, since the key exists meanwhile.
        let before = state.value.as_mut().map(|value| std::mem::replace(value, Value::Text("")));
        let mut value = before.unwrap_or(Value::List(vec![]));
        value.push(element);
        state.set(value, revision);
        state.known = known;
        state.counted &= !miscounted;
        self.changed(key, revision, by);
    }

    fn delete(&mut self, key: Key, (revision, by): (Revision, Option<u32>)) {
        self.states[key as usize].delete(revision);
        self.changed(key, revision, by);
    }

    fn changed(&mut self, key: Key, revision: Revision, by: Option<u32>) {
        let changes = &mut self.replay.changes[key as usize];
        if changes.last() != Some(&revision) {
            changes.push(revision);
            self.replay.log.push((revision, key, by));
        }
    }

    /// Whether the count of changes before this revision is not certain.
    fn miscounts(&self, key: Key, revision: Revision) -> bool {
        let state = &self.states[key as usize];
        self.hides_change(key, revision) || (state.modified == revision && state.value.is_some())
    }

    /// Whether the key may have changed before this revision, unseen.
    fn hides_change(&self, key: Key, revision: Revision) -> bool {
        let state = &self.states[key as usize];
        let hidden = self.places.hidden_of.contains_key(&key)
            && self.places.gap_within(state.confirmed, revision - 1).is_some();
        hidden || state.attached
    }

    fn found(&mut self, turn: Turn<'a>, key: &'a Text, found: Option<&'a Found>) {
        self.claim(turn, key, found.map_or(Claim::Absent, Claim::Found));
    }

    fn range(&mut self, turn: Turn<'a>, prefix: &'a str, found: &'a [(Text, Found)]) {
        let mut rest = found.iter().peekable();
        for key in self.index.with_prefix(prefix) {
            let name = self.index.name(key);
            let there = rest.next_if(|(key, _)| &**key == name);
            self.claim_of(turn, key, there.map_or(Claim::Absent, |(_, found)| Claim::Found(found)));
        }
    }

    fn claim(&mut self, turn: Turn<'a>, key: &'a Text, claim: Claim<'a>) {
        self.claim_of(turn, self.index.key(key), claim);
    }

    /// Compares what an answer says about a key.
    fn claim_of(&mut self, turn: Turn<'a>, key: Key, claim: Claim<'a>) {
        if !self.index.is_known(key) {
            return;
        }
        let state = &self.states[key as usize];
        // A transaction sees its own writes at the revision that it makes.
        let sees = turn.sees.max(state.confirmed.min(turn.makes.unwrap_or(0)));
        if claim.modified() > sees {
            return self.wrong(turn, key, claim);
        }
        if state.known && !claim.holds(state) && !self.is_explained(key, claim, sees) {
            return self.wrong(turn, key, claim);
        }
        if state.known && claim.holds(state) {
            return self.confirm(turn, key, claim);
        }
        self.adopt(key, claim, sees);
    }

    fn confirm(&mut self, turn: Turn<'a>, key: Key, claim: Claim<'a>) {
        let state = &mut self.states[key as usize];
        // The same value may have been written again; the same revision may not.
        if matches!(claim, Claim::Absent) || claim.modified() > 0 {
            state.confirmed = state.confirmed.max(turn.sees);
        }
        state.modified = state.modified.max(claim.modified());
        let Claim::Found(found) = claim else { return };
        if state.counted {
            let differs = |told: u64, known: u64| told != 0 && told != known;
            if differs(found.create_revision, state.created) || differs(found.version, state.version) {
                self.miscounted(turn, key, found);
            }
        } else if found.create_revision > 0 && found.version > 0 {
            (state.created, state.version, state.counted) = (found.create_revision, found.version, true);
        }
    }

    fn adopt(&mut self, key: Key, claim: Claim<'a>, sees: Revision) {
        let value = match claim {
            Claim::Found(found) => Some(self.value(key, &found.value)),
            Claim::Value(text) => Some(Value::Text(text)),
            Claim::List(list) if !list.is_empty() => {
                Some(Value::List(list.iter().map(|element| &**element).collect()))
            }
            _ => None,
        };
        let is_gone = matches!(claim, Claim::Absent);
        let (created, version) = match claim {
            Claim::Found(found) => (found.create_revision, found.version),
            _ => (0, 0),
        };
        self.states[key as usize] = State {
            known: is_gone || value.is_some(),
            counted: is_gone || (created > 0 && version > 0),
            value,
            modified: claim.modified(),
            created,
            version,
            confirmed: sees,
            attached: false,
        };
    }

    /// Whether a write that nobody saw, or the end of a lease, can have made it so.
    fn is_explained(&self, key: Key, claim: Claim<'_>, sees: Revision) -> bool {
        let state = &self.states[key as usize];
        let is_absence = matches!(claim, Claim::Absent | Claim::List([]));
        if is_absence && state.attached && state.confirmed < sees {
            return true;
        }
        let Some(gap) = self.places.gap_within(state.confirmed, sees) else { return false };
        let ends = |operation: &Operation| matches!(operation.action, Action::Attach { .. });
        let fits = |operation: &Operation, change: Change<'_>| match (claim, change) {
            // It was set, and went with its lease.
            (Claim::Absent | Claim::List([]), Change::Set(_)) => ends(operation),
            (Claim::Absent | Claim::List([]), Change::Delete) => true,
            (Claim::Absent, _) | (_, Change::Delete) => false,
            (Claim::Found(found), _) if found.mod_revision > 0 => false,
            (Claim::Found(found), Change::Set(value)) => found.value == *value,
            (Claim::Value(text), Change::Set(value)) => text == &**value,
            (Claim::Modified(revision), _) => self.places.gap_within(revision - 1, revision).is_some(),
            _ => true,
        };
        self.hides(key, gap, fits)
    }

    /// Whether a hidden write can have made such a change in the gap.
    fn hides(&self, key: Key, gap: &Gap, fits: impl Fn(&Operation, Change<'_>) -> bool) -> bool {
        let hidden = self.places.hidden_of.get(&key).map_or(&[][..], Vec::as_slice);
        let mut hidden = hidden.iter().map(|at| &self.index.history.operations[*at as usize]);
        hidden.any(|operation| {
            let mut any = false;
            effect::changes(&operation.action, |name, change| {
                any |= self.index.key(name) == key && fits(operation, change);
            });
            any && operation.call <= gap.deadline
        })
    }

    /// Conditions that did not all hold, it is said.
    fn refused(&mut self, turn: Turn<'a>, when: &[Condition]) {
        let open = when.iter().any(|Condition { key, expected }| {
            let key = self.index.key(key);
            let state = &self.states[key as usize];
            let holds = match expected {
                Expected::Value(Some(value)) => Claim::Value(value).holds(state),
                Expected::Value(None) | Expected::ModRevision(0) => state.value.is_none(),
                Expected::ModRevision(revision) => Claim::Modified(*revision).holds(state),
            };
            let gap = self.places.gap_within(state.confirmed, turn.sees);
            let vanishes = state.attached && state.confirmed < turn.sees;
            let untold = matches!(expected, Expected::ModRevision(_)) && state.modified == 0;
            !holds
                || !state.known
                || !self.index.is_known(key)
                || untold && state.value.is_some()
                || vanishes
                || gap.is_some_and(|gap| self.hides(key, gap, |_, _| true))
        });
        if !open {
            let why = format!("at revision {} its conditions held, but it was refused", turn.sees);
            let makers =
                when.iter().map(|Condition { key, .. }| self.states[self.index.key(key) as usize].modified);
            let makers = makers.collect::<Vec<_>>();
            self.report(turn, "wrong-refusal", (why, &makers));
        }
    }

    fn wrong(&mut self, turn: Turn<'a>, key: Key, claim: Claim<'_>) {
        let state = &self.states[key as usize];
        let name = self.index.name(key);
        let why = format!("at revision {} {name:?} held {}, not {}", turn.sees, state.text(), claim.text());
        let anomaly = match turn.makes {
            _ if claim.modified() > turn.sees => "future-read",
            Some(_) => "lost-update",
            None if effect::is_read(turn.operation) => "inconsistent-read",
            None => "wrong-answer",
        };
        let makers = [state.modified, claim.modified()];
        self.report(turn, anomaly, (why, &makers));
    }

    fn miscounted(&mut self, turn: Turn<'a>, key: Key, found: &Found) {
        let state = &self.states[key as usize];
        let name = self.index.name(key);
        let why = format!(
            "{name:?} was created at revision {} and set {} times since, not created at {} and set {} times",
            state.created, state.version, found.create_revision, found.version
        );
        let makers = [state.created, state.modified];
        self.report(turn, "wrong-version", (why, &makers));
    }

    fn report(&mut self, turn: Turn<'a>, anomaly: &'static str, (why, makers): (String, &[Revision])) {
        let operations = &self.index.history.operations;
        let mut witness = vec![turn.operation.index];
        for maker in makers {
            let log = &self.replay.log;
            let from = log.partition_point(|(revision, ..)| revision < maker);
            if let Some((revision, _, Some(by))) = log.get(from)
                && revision == maker
                && !witness.contains(&operations[*by as usize].index)
            {
                witness.push(operations[*by as usize].index);
            }
        }
        if effect::effect(turn.operation) == Effect::None {
            self.replay.wrong.push((turn.at, why.clone()));
        }
        let level = turn.operation.level.map(|level| level.name());
        self.findings.violated(Violation { tier: TIER, anomaly, level, why, operations: witness });
    }
}
