//! Operations, key by key.
//!
//! Linearizability is local (Herlihy & Wing 1990): a history is linearizable only if what it says about each
//! key is. What an operation says about several keys together is left to T1.

use super::row::{ABSENT, Make, NEVER, Need, Row, Values};
use crate::check::{
    effect::{self, Effect},
    history::{Action, Condition, Expected, Found, Operation, Step, Text},
    index::{Index, Key},
};

/// What the history says about one key.
pub struct Projection<'a> {
    /// Which.
    pub key: Key,
    /// In order of call.
    pub rows: Vec<Row<'a>>,
    /// The values that the rows name.
    pub values: Values<'a>,
}

/// The rows of all keys that `wanted` says; in order of call.
pub fn project<'a>(index: &Index<'a>, wanted: &[bool]) -> Vec<Projection<'a>> {
    let lists = &index.lists;
    let new = |key: Key| Projection { key, rows: vec![], values: Values::new(lists[key as usize]) };
    let mut projector = Projector { index, wanted, of: (0..index.len() as Key).map(new).collect() };
    for (at, operation) in (0..).zip(&index.history.operations) {
        let is_refused = !operation.is_ok() && !operation.is_unknown();
        let is_silent = operation.is_unknown() && effect::effect(operation) == Effect::None;
        if !is_refused && !is_silent && index.is_real_time(operation) {
            projector.add(at, operation);
        }
    }
    let mut of = projector.of;
    of.retain(|projection| !projection.rows.is_empty());
    of.iter_mut().for_each(|projection| projection.rows.sort_by_key(|row| row.call));
    of
}

struct Projector<'a, 'b> {
    index: &'b Index<'a>,
    wanted: &'b [bool],
    of: Vec<Projection<'a>>,
}

impl<'a> Projector<'a, '_> {
    fn add(&mut self, at: u32, operation: &'a Operation) {
        let ret = if operation.is_ok() { operation.ret } else { NEVER };
        let row = Row { at, call: operation.call, ret, by: None, need: Need::Any, make: Make::Keep };
        match &operation.action {
            Action::Read { key, found: Some(found) } => {
                self.row(row, key, |values| (found_need(values, found.as_ref()), Make::Keep));
            }
            Action::Range { prefix, found: Some(found) } => self.range(&row, prefix, found),
            Action::Write { key, value } | Action::Guarded { key, value, done: Some(true) | None, .. } => {
                self.row(row, key, |values| (Need::Any, Make::Set(values.of_text(value))));
            }
            Action::Attach { key, value, .. } => {
                // It may go with its lease, once, at any time after.
                let end = Row { ret: NEVER, ..row.clone() };
                self.row(row, key, |values| (Need::Any, Make::Set(values.of_text(value))));
                self.row(end, key, |_| (Need::Exists, Make::Set(ABSENT)));
            }
            Action::Delete { key, existed } => self.row(row, key, |_| match existed {
                Some(true) => (Need::Exists, Make::Set(ABSENT)),
                Some(false) => (Need::Is(ABSENT), Make::Keep),
                None => (Need::Any, Make::Set(ABSENT)),
            }),
            Action::Cas { key, old, new, swapped } => self.row(row, key, |values| {
                let need = Need::Is(old.as_ref().map_or(ABSENT, |old| values.of_text(old)));
                match swapped {
                    Some(false) => (Need::NotAll(vec![need]), Make::Keep),
                    _ => (need, Make::Set(values.of_text(new))),
                }
            }),
            Action::Txn { when, steps, applied } => self.transaction(&row, when, (steps, *applied)),
            _ => {}
        }
    }

    fn row(&mut self, row: Row<'a>, key: &Text, of: impl FnOnce(&mut Values<'a>) -> (Need, Make<'a>)) {
        let key = self.index.key(key);
        if self.wanted[key as usize] {
            let projection = &mut self.of[key as usize];
            let (need, make) = of(&mut projection.values);
            projection.rows.push(Row { need, make, ..row });
        }
    }

    fn range(&mut self, row: &Row<'a>, prefix: &str, found: &'a [(Text, Found)]) {
        let mut rest = found.iter().peekable();
        for key in self.index.with_prefix(prefix) {
            let there = rest.next_if(|(name, _)| &**name == self.index.name(key));
            if self.wanted[key as usize] {
                let projection = &mut self.of[key as usize];
                let need = found_need(&mut projection.values, there.map(|(_, found)| found));
                projection.rows.push(Row { need, ..row.clone() });
            }
        }
    }

    fn transaction(
        &mut self,
        row: &Row<'a>,
        when: &'a [Condition],
        (steps, applied): (&'a [Step], Option<bool>),
    ) {
        let mut keys: Vec<Key> = when.iter().map(|condition| self.index.key(&condition.key)).collect();
        keys.extend(steps.iter().map(|step| self.index.key(step_key(step))));
        keys.sort_unstable();
        keys.dedup();
        if applied == Some(false) {
            // Which of several keys refused it is not told.
            keys = when.iter().map(|condition| self.index.key(&condition.key)).collect();
            keys.dedup();
            // Nor can a revision that is not there be seen by values alone.
            let by_revision = |condition: &Condition| matches!(condition.expected, Expected::ModRevision(revision) if revision > 0);
            let told = keys.len() == 1 && !when.iter().any(by_revision);
            keys.truncate(usize::from(told));
        }
        for key in keys.into_iter().filter(|key| self.wanted[*key as usize]) {
            let index = self.index;
            let projection = &mut self.of[key as usize];
            let values = &mut projection.values;
            let own = |name: &Text| index.key(name) == key;
            let needs = when.iter().filter(|condition| own(&condition.key));
            let needs = needs.map(|condition| expected_need(values, &condition.expected));
            let (need, make) = match applied {
                Some(false) => (Need::NotAll(needs.collect()), Make::Keep),
                _ => {
                    let start = needs.fold(Need::Any, Need::and);
                    steps
                        .iter()
                        .filter(|step| own(step_key(step)))
                        .fold((start, Make::Keep), |done, step| then(values, done, step))
                }
            };
            let is_empty = need == Need::Any && make == Make::Keep;
            if !is_empty && (!row.is_open() || make != Make::Keep) {
                projection.rows.push(Row { need, make, ..row.clone() });
            }
        }
    }
}

fn step_key(step: &Step) -> &Text {
    let (Step::Read(key, _) | Step::Write(key, _) | Step::List(key, _) | Step::Append(key, _)) = step;
    key
}

fn found_need<'a>(values: &mut Values<'a>, found: Option<&'a Found>) -> Need {
    Need::Is(found.map_or(ABSENT, |found| values.of_text(&found.value)))
}

fn expected_need<'a>(values: &mut Values<'a>, expected: &'a Expected) -> Need {
    match expected {
        Expected::Value(Some(value)) => Need::Is(values.of_text(value)),
        Expected::Value(None) | Expected::ModRevision(0) => Need::Is(ABSENT),
        // Which value that was is T1's business: here revisions are not trusted.
        Expected::ModRevision(_) => Need::Exists,
    }
}

/// A step more, which sees what the ones before made.
fn then<'a>(values: &mut Values<'a>, done: (Need, Make<'a>), step: &'a Step) -> (Need, Make<'a>) {
    let (need, make) = done;
    match step {
        Step::Read(_, None) | Step::List(_, None) => (need, make),
        Step::Read(_, Some(found)) => {
            let value = found.as_ref().map_or(ABSENT, |found| values.of_text(&found.value));
            (need.and(needed_before(values, value, &make)), make)
        }
        Step::List(_, Some(list)) => {
            let value = values.of_list(list.iter().map(|element| &**element));
            (need.and(needed_before(values, value, &make)), make)
        }
        Step::Write(_, value) => (need, Make::Set(values.of_text(value))),
        Step::Append(_, element) => {
            let make = match make {
                Make::Keep => Make::Append(vec![element]),
                Make::Set(value) => Make::Set(values.push(value, element)),
                Make::Append(mut elements) => {
                    elements.push(element);
                    Make::Append(elements)
                }
            };
            (need, make)
        }
    }
}

/// What must have been there, so that this value was seen after `make`.
fn needed_before(values: &Values<'_>, value: u32, make: &Make<'_>) -> Need {
    match make {
        Make::Keep => Need::Is(value),
        Make::Set(own) if *own == value => Need::Any,
        Make::Set(_) => Need::Never,
        Make::Append(elements) => {
            let before = elements.iter().rev().try_fold(value, |value, element| values.pop(value, element));
            before.map_or(Need::Never, Need::Is)
        }
    }
}
