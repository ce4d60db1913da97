//! Linearizability by trying every order. For a handful of operations.

use std::collections::BTreeMap;

use quorate::{
    check::{
        History,
        history::{Action, Condition, Expected, Found, Operation, Step, Text},
    },
    types::Revision,
};

use super::store::{appended, elements};

/// What is compared.
#[derive(Clone, Copy)]
pub enum By<'a> {
    /// The values of one key.
    Values(&'a str),
    /// Everything that answers tell, with revisions.
    Revisions,
}

#[derive(Clone)]
struct World {
    revision: Revision,
    state: BTreeMap<Text, Found>,
}

/// Whether some order of the operations, with those of unknown outcome in it or not, respects real time and
/// explains every answer.
pub fn is_linearizable(history: &History, by: By<'_>) -> bool {
    let operations: Vec<&Operation> =
        history.operations.iter().filter(|operation| operation.is_ok() || operation.is_unknown()).collect();
    let world = World { revision: 1, state: BTreeMap::new() };
    extend(&operations, &mut vec![false; operations.len()], &world, by)
}

fn extend(operations: &[&Operation], placed: &mut [bool], world: &World, by: By<'_>) -> bool {
    let open = |at: usize| operations[at].is_unknown();
    let left = (0..operations.len()).filter(|at| !placed[*at]);
    let soonest = left.clone().filter(|at| !open(*at)).map(|at| operations[at].ret).min();
    let Some(soonest) = soonest else { return true };
    for at in left.collect::<Vec<_>>() {
        if operations[at].call > soonest {
            continue;
        }
        let Some(next) = take(operations[at], world, by) else { continue };
        placed[at] = true;
        let found = extend(operations, placed, &next, by);
        placed[at] = false;
        if found {
            return true;
        }
    }
    false
}

/// The world after the operation, if its answer fits.
fn take(operation: &Operation, world: &World, by: By<'_>) -> Option<World> {
    let mut next = world.clone();
    let mut here = Here { world: &mut next, by, fits: true };
    let changed = here.perform(operation);
    let fits = here.fits;
    if changed {
        next.revision += 1;
    }
    let told = operation.is_unknown() || matches!(by, By::Values(_)) || operation.revision() == next.revision;
    (fits && told).then_some(next)
}

struct Here<'a> {
    world: &'a mut World,
    by: By<'a>,
    fits: bool,
}

impl Here<'_> {
    fn sees(&self, key: &str) -> bool {
        match self.by {
            By::Values(own) => own == key,
            By::Revisions => true,
        }
    }

    fn get(&self, key: &Text) -> Option<Found> {
        self.world.state.get(key).cloned()
    }

    fn found(&mut self, key: &Text, told: &Option<Option<Found>>) {
        let (Some(told), true) = (told, self.sees(key)) else { return };
        let there = self.get(key);
        self.fits &= match self.by {
            By::Values(_) => there.map(|found| found.value) == told.as_ref().map(|found| found.value.clone()),
            By::Revisions => there == *told,
        };
    }

    fn told(&mut self, key: &Text, told: &Option<bool>, is: bool) {
        self.fits &= told.is_none_or(|told| told == is) || !self.sees(key);
    }

    fn set(&mut self, key: &Text, value: &Text) {
        let revision = self.world.revision + 1;
        let (create_revision, version) =
            self.get(key).map_or((revision, 1), |found| (found.create_revision, found.version + 1));
        let found = Found { value: value.clone(), mod_revision: revision, create_revision, version };
        self.world.state.insert(key.clone(), found);
    }

    fn holds(&self, condition: &Condition) -> bool {
        let there = self.get(&condition.key);
        match &condition.expected {
            Expected::Value(value) => there.map(|found| found.value) == *value,
            Expected::ModRevision(revision) => there.map_or(0, |found| found.mod_revision) == *revision,
        }
    }

    /// Whether it changed something.
    fn perform(&mut self, operation: &Operation) -> bool {
        match &operation.action {
            Action::Read { key, found } => self.found(key, found),
            Action::Range { prefix, found: Some(found) } => {
                let mut keys: Vec<Text> = self.world.state.keys().cloned().collect();
                keys.extend(found.iter().map(|(key, _)| key.clone()));
                for key in keys.iter().filter(|key| key.starts_with(&**prefix)) {
                    let there = found.iter().find(|(name, _)| name == key).map(|(_, found)| found.clone());
                    self.found(key, &Some(there));
                }
            }
            Action::Write { key, value } => {
                self.set(key, value);
                return true;
            }
            Action::Delete { key, existed } => {
                let is = self.world.state.remove(key).is_some();
                self.told(key, existed, is);
                return is;
            }
            Action::Cas { key, old, new, swapped } => {
                let is = self.get(key).map(|found| found.value) == *old;
                self.told(key, swapped, is);
                if is {
                    self.set(key, new);
                }
                return is;
            }
            Action::Txn { when, steps, applied } => {
                return self.transaction(when, (steps, *applied));
            }
            _ => {}
        }
        false
    }

    fn transaction(&mut self, when: &[Condition], (steps, applied): (&[Step], Option<bool>)) -> bool {
        let holds = when.iter().all(|condition| self.holds(condition));
        self.fits &= applied.is_none_or(|applied| applied == holds);
        let mut changed = false;
        for step in steps.iter().filter(|_| holds) {
            match step {
                Step::Read(key, found) => self.found(key, found),
                Step::Write(key, value) => {
                    self.set(key, value);
                    changed = true;
                }
                Step::Append(key, element) => {
                    let text = appended(self.get(key).as_ref(), element);
                    self.set(key, &text);
                    changed = true;
                }
                Step::List(key, list) => {
                    let there = elements(self.get(key).as_ref());
                    self.fits &= list.as_ref().is_none_or(|list| *list == there) || !self.sees(key);
                }
            }
        }
        changed
    }
}
