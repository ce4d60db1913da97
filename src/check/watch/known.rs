//! What is known to have happened.

use super::broken;
use crate::check::{
    history::{Action, DeliveryKind, History, Operation, Step},
    promises::Promises,
};
use crate::types::Revision;

/// A change of a key that somebody knows of.
#[derive(Clone, Debug)]
pub(super) struct Change<'a> {
    pub revision: Revision,
    pub key: &'a str,
    /// The value, if it is known; `Some(None)`: it was deleted.
    pub value: Option<Option<&'a str>>,
    /// The operation that did it, by index.
    pub operation: Option<u64>,
    /// A watch that told it.
    pub watch: Option<u64>,
}

impl Change<'_> {
    /// Who knows of it.
    pub fn source(&self) -> String {
        match (self.operation, self.watch) {
            (Some(index), _) => format!("operation {index} was acknowledged"),
            (None, Some(watch)) => format!("watch {watch} told it"),
            (None, None) => "it happened".to_owned(),
        }
    }
}

/// All that is known to have happened, in order of revision and key.
pub(super) struct Known<'a> {
    changes: Vec<Change<'a>>,
}

impl<'a> Known<'a> {
    /// What deliveries and acknowledged writes of a history say. Two that contradict each other are told.
    pub fn of(history: &'a History, promises: &mut Promises) -> Known<'a> {
        let mut changes: Vec<Change> = history.operations.iter().flat_map(changes_of).collect();
        for delivery in &history.deliveries {
            let DeliveryKind::Events(events) = &delivery.kind else { continue };
            changes.extend(events.iter().map(|event| Change {
                revision: event.revision,
                key: &event.key,
                value: Some(event.value.as_deref()),
                operation: None,
                watch: Some(delivery.watch),
            }));
        }
        // Operations first, so that what is kept of equal ones names the operation.
        changes.sort_by_key(|change| (change.revision, change.key, change.watch));
        promises.checked("consistent", changes.len() as u64);
        let mut kept: Vec<Change> = Vec::with_capacity(changes.len());
        for change in changes {
            match kept.last_mut().filter(|last| (last.revision, last.key) == (change.revision, change.key)) {
                Some(last) => merge(last, change, promises),
                None => kept.push(change),
            }
        }
        Known { changes: kept }
    }

    /// What happened to keys with a prefix, from one revision to another, inclusive.
    pub fn between(
        &self,
        prefix: &'a str,
        (from, to): (Revision, Revision),
    ) -> impl Iterator<Item = &Change<'a>> {
        let start = self.changes.partition_point(|change| change.revision < from);
        let until = move |change: &&Change| change.revision <= to;
        self.changes[start..].iter().take_while(until).filter(move |change| change.key.starts_with(prefix))
    }
}

fn merge<'a>(last: &mut Change<'a>, change: Change<'a>, promises: &mut Promises) {
    if let (Some(one), Some(other)) = (last.value, change.value)
        && one != other
    {
        let shown = |value: Option<&str>| value.map_or("deleted".to_owned(), |value| format!("{value:?}"));
        let (revision, key) = (change.revision, change.key);
        let (one, other) = (shown(one), shown(other));
        let (first, second) = (last.source(), change.source());
        let why = format!("revision {revision} made {key} {one} ({first}) and {other} ({second})");
        let operations = last.operation.into_iter().chain(change.operation).collect();
        promises.broken("consistent", broken("watch-mismatch", why, operations));
    }
    last.value = last.value.or(change.value);
}

/// The changes that an operation is known to have made.
fn changes_of(operation: &Operation) -> Vec<Change<'_>> {
    if !operation.is_ok() || operation.revision() == 0 {
        return vec![];
    }
    let one = |key, value| vec![told(operation, key, value)];
    match &operation.action {
        Action::Write { key, value } | Action::Attach { key, value, .. } => one(key, Some(Some(&**value))),
        Action::Cas { key, new, swapped: Some(true), .. } => one(key, Some(Some(&**new))),
        Action::Guarded { key, value, done: Some(true), .. } => one(key, Some(Some(&**value))),
        Action::Delete { key, existed: Some(true) } => one(key, Some(None)),
        Action::Txn { steps, applied: Some(true), .. } => {
            steps.iter().filter_map(|step| of_step(operation, step)).collect()
        }
        _ => vec![],
    }
}

/// A key that is written twice in one transaction has the last value.
fn of_step<'a>(operation: &'a Operation, step: &'a Step) -> Option<Change<'a>> {
    match step {
        Step::Write(key, _) => Some(told(operation, key, last_value(operation, key))),
        // The whole list is the value, and nobody told it.
        Step::Append(key, _) => Some(told(operation, key, None)),
        Step::Read(..) | Step::List(..) => None,
    }
}

fn last_value<'a>(operation: &'a Operation, key: &str) -> Option<Option<&'a str>> {
    let Action::Txn { steps, .. } = &operation.action else { return None };
    steps.iter().rev().find_map(|step| match step {
        Step::Write(written, value) if **written == *key => Some(Some(&**value)),
        _ => None,
    })
}

fn told<'a>(operation: &Operation, key: &'a str, value: Option<Option<&'a str>>) -> Change<'a> {
    let (revision, operation) = (operation.revision(), Some(operation.index));
    Change { revision, key, value, operation, watch: None }
}
