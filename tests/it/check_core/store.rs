//! A small store with one clock that can be made to misbehave, and random histories of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate::{
    check::{
        History,
        history::{About, Action, Condition, Expected, Found, Operation, Outcome, Seen, Step, Text},
    },
    types::{Level, Revision},
};
use rand::{Rng, RngExt};

/// What to generate.
#[derive(Clone, Copy)]
pub struct Shape {
    pub operations: usize,
    pub processes: u64,
    pub keys: usize,
    /// Out of 100: operations whose outcome is unknown.
    pub unknown: u32,
    /// Out of 100: operations that the store does wrong.
    pub wrong: u32,
    /// Out of 100: reads that ask for no more than a committed prefix, and get an old one.
    pub weak: u32,
    /// Whether written values are unique.
    pub unique: bool,
    /// Whether keys go with leases, which end now and then.
    pub leases: bool,
    /// Whether there are ranges and transactions over several keys.
    pub several: bool,
}

type State = BTreeMap<Text, Found>;

/// The store, with all it was.
struct Store {
    states: Vec<(Revision, State)>,
    next: u32,
    /// Keys that go with the one lease.
    attached: BTreeSet<Text>,
}

/// One operation that is under way.
struct Plan {
    operation: Operation,
    effect: u64,
}

/// A history of the shape.
pub fn history(shape: Shape, random: &mut impl Rng) -> History {
    let mut store = Store { states: vec![(1, State::new())], next: 0, attached: BTreeSet::new() };
    let mut plans: Vec<Plan> = Vec::new();
    let mut free: Vec<(u64, u64)> = (0..shape.processes).map(|process| (process, 0)).collect();
    let mut processes = shape.processes;
    for index in 0..shape.operations as u64 {
        let slot = random.random_range(0..free.len());
        let (process, from) = free[slot];
        let call = from + random.random_range(1..5);
        let length = random.random_range(0..9);
        let is_unknown = random.random_range(0..100) < shape.unknown;
        let action = store.action(shape, random);
        let late = if is_unknown { random.random_range(0..20) } else { 0 };
        let effect = call + random.random_range(0..=length) + late;
        let outcome = if is_unknown { Outcome::Unknown("time-out".into()) } else { Outcome::Ok };
        let ret = call + length;
        free[slot] = (process, ret);
        if is_unknown {
            free[slot].0 = processes;
            processes += 1;
        }
        let operation = Operation {
            index,
            process,
            session: process,
            part: None,
            call,
            ret,
            level: matches!(action, Action::Read { .. } | Action::Range { .. })
                .then_some(Level::Linearizable),
            action,
            outcome,
            seen: None,
        };
        plans.push(Plan { operation, effect });
    }
    plans.sort_by_key(|plan| plan.effect);
    let mut operations: Vec<Operation> =
        plans.into_iter().map(|plan| store.apply(plan.operation, shape, random)).collect();
    operations.sort_by_key(|operation| (operation.call, operation.index));
    let about = About { quorate_history: 1, complete: true, ..About::default() };
    History { about, operations, ..History::default() }
}

fn key(shape: Shape, random: &mut impl Rng) -> Text {
    Arc::from(["x", "y", "z"][random.random_range(0..shape.keys)])
}

impl Store {
    fn value(&mut self, shape: Shape, random: &mut impl Rng) -> Text {
        if !shape.unique {
            return Arc::from(["a", "b", "c"][random.random_range(0..3)]);
        }
        self.next += 1;
        Arc::from(format!("v{}", self.next))
    }

    fn some_value(&self, shape: Shape, random: &mut impl Rng) -> Option<Text> {
        match random.random_range(0..6) {
            0 => None,
            _ if !shape.unique => Some(Arc::from(["a", "b", "c"][random.random_range(0..3)])),
            _ => Some(Arc::from(format!("v{}", random.random_range(0..=self.next)))),
        }
    }

    fn action(&mut self, shape: Shape, random: &mut impl Rng) -> Action {
        let key = key(shape, random);
        match random.random_range(0..if shape.several { 14 } else { 10 }) {
            0..5 => Action::Read { key, found: None },
            6 if shape.leases => Action::Attach { lease: 7, key, value: self.value(shape, random) },
            5..7 => Action::Write { key, value: self.value(shape, random) },
            7 => Action::Delete { key, existed: None },
            8 | 9 => {
                let old = self.some_value(shape, random);
                Action::Cas { key, old, new: self.value(shape, random), swapped: None }
            }
            10 => Action::Range { prefix: "".into(), found: None },
            11 => {
                let list: Text = Arc::from("list");
                // Elements are unique, whatever other values are.
                let element = self.value(Shape { unique: true, ..shape }, random);
                let append = Step::Append(list.clone(), element);
                let steps = match random.random_range(0..4) {
                    0 => vec![Step::List(list, None), append],
                    1 => vec![append, Step::List(list, None)],
                    2 => vec![Step::Read(key, None), append],
                    _ => vec![Step::List(list, None)],
                };
                Action::Txn { when: vec![], steps, applied: None }
            }
            _ => {
                let other = self::key(shape, random);
                let expected = Expected::Value(self.some_value(shape, random));
                let when = match random.random_range(0..2) {
                    0 => vec![],
                    _ => vec![Condition { key: key.clone(), expected }],
                };
                let mut steps = vec![Step::Read(key.clone(), None)];
                if random.random_range(0..3) > 0 {
                    steps.push(Step::Write(other.clone(), self.value(shape, random)));
                }
                if other != key && random.random_range(0..2) == 0 {
                    steps.push(Step::Write(key, self.value(shape, random)));
                }
                Action::Txn { when, steps, applied: None }
            }
        }
    }

    fn now(&self) -> (Revision, State) {
        self.states.last().cloned().unwrap_or_default()
    }

    /// All keys of the lease go, in one revision.
    fn end_lease(&mut self) {
        let (revision, mut state) = self.now();
        let before = state.len();
        state.retain(|key, _| !self.attached.contains(key));
        self.attached.clear();
        if state.len() < before {
            self.states.push((revision + 1, state));
        }
    }

    /// A key that was set goes with the lease if it was set so.
    fn attach(&mut self, action: &Action, before: &State, after: &State) {
        self.attached.retain(|key| before.get(key) == after.get(key));
        if let Action::Attach { key, .. } = action {
            self.attached.insert(key.clone());
        }
    }

    /// Does what the operation asks, or something that is a little wrong.
    fn apply(&mut self, mut operation: Operation, shape: Shape, random: &mut impl Rng) -> Operation {
        let wrong = random.random_range(0..100) < shape.wrong;
        let bug = if wrong { random.random_range(0..6) } else { 99 };
        if shape.leases && random.random_range(0..6) == 0 {
            self.end_lease();
        }
        let (mut revision, mut state) = self.now();
        let is_read = matches!(operation.action, Action::Read { .. } | Action::Range { .. });
        let is_weak = is_read && random.random_range(0..100) < shape.weak;
        if is_weak {
            operation.level = Some([Level::Eventual, Level::LeaderLocal][random.random_range(0..2)]);
        }
        if bug == 0 || bug == 1 || is_weak {
            // As of long ago; a write that does this is lost, or replaces what it did not see.
            (revision, state) = self.states[random.random_range(0..self.states.len())].clone();
        }
        if operation.is_unknown() && random.random_range(0..2) == 0 {
            return operation;
        }
        let before = state.clone();
        let mut action = operation.action.clone();
        perform(&mut action, &mut state, revision + 1, bug == 2);
        self.attach(&action, &before, &state);
        if state != before && bug != 3 {
            let newest = self.now().0;
            revision = if bug == 1 { newest + 1 } else { revision + 1 };
            match bug {
                // Replaces the store's state by its own view.
                0 | 1 => self.states.push((newest.max(revision), state)),
                // Twice.
                4 => {
                    self.states.push((revision, state.clone()));
                    perform(&mut action.clone(), &mut state, revision + 1, false);
                    self.states.push((revision + 1, state));
                }
                _ => self.states.push((revision, state)),
            }
        } else if state != before {
            // Acknowledged, and forgotten.
            revision += 1;
            let (newest, old) = self.now();
            self.states.push((newest + 1, old));
        }
        if operation.is_ok() {
            if bug == 5 {
                revision = self.now().0;
            }
            operation.action = action;
            operation.seen = Some(Seen { node: u64::from(!is_weak), term: 1, revision, ..Seen::default() });
        }
        operation
    }
}

fn set(state: &mut State, key: &Text, value: &Text, revision: Revision) {
    let (create_revision, version) =
        state.get(key).map_or((revision, 1), |found| (found.create_revision, found.version + 1));
    let found = Found { value: value.clone(), mod_revision: revision, create_revision, version };
    state.insert(key.clone(), found);
}

/// The elements of a list, as it is stored.
pub fn elements(found: Option<&Found>) -> Vec<Text> {
    found.map_or(vec![], |found| found.value.split(' ').map(Text::from).collect())
}

/// A list with an element more, as it is stored.
pub fn appended(found: Option<&Found>, element: &Text) -> Text {
    found.map_or(element.clone(), |found| Arc::from(format!("{} {element}", found.value)))
}

/// Takes the action on a state, and fills its answer in.
fn perform(action: &mut Action, state: &mut State, revision: Revision, blind: bool) {
    match action {
        Action::Read { key, found } => *found = Some(state.get(key).cloned()),
        Action::Range { prefix, found } => {
            let within = state.iter().filter(|(key, _)| key.starts_with(&**prefix));
            *found = Some(within.map(|(key, found)| (key.clone(), found.clone())).collect());
        }
        Action::Write { key, value } | Action::Attach { key, value, .. } => set(state, key, value, revision),
        Action::Delete { key, existed } => *existed = Some(state.remove(key).is_some()),
        Action::Cas { key, old, new, swapped } => {
            let holds = blind || state.get(key).map(|found| &found.value) == old.as_ref();
            *swapped = Some(holds);
            if holds {
                set(state, key, new, revision);
            }
        }
        Action::Txn { when, steps, applied } => {
            let holds = |condition: &Condition| match &condition.expected {
                Expected::Value(value) => {
                    state.get(&condition.key).map(|found| &found.value) == value.as_ref()
                }
                Expected::ModRevision(revision) => {
                    state.get(&condition.key).map_or(0, |found| found.mod_revision) == *revision
                }
            };
            let all = blind || when.iter().all(holds);
            *applied = Some(all);
            for step in steps.iter_mut().filter(|_| all) {
                match step {
                    Step::Read(key, found) => *found = Some(state.get(key).cloned()),
                    Step::Write(key, value) => set(state, key, value, revision),
                    Step::List(key, list) => *list = Some(elements(state.get(key))),
                    Step::Append(key, element) => {
                        let text = appended(state.get(key), element);
                        set(state, key, &text, revision);
                    }
                }
            }
        }
        _ => {}
    }
}
