//! What an operation says about single keys: what it writes, and what its answer says was there.

use super::history::{Action, Expected, Found, Operation, Outcome, Step, Text};

/// What a write does to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Sets it.
    Set(&'a Text),
    /// Adds an element to its list.
    Append(&'a Text),
    /// Deletes it.
    Delete,
}

/// Whether an operation changed the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did, for sure.
    Done,
    /// Nobody knows.
    Open,
    /// It did not, for sure.
    None,
}

/// Whether the operation changed keys of the store.
pub fn effect(operation: &Operation) -> Effect {
    if !mutates(&operation.action) || matches!(operation.outcome, Outcome::Fail(_)) {
        return Effect::None;
    }
    if operation.is_unknown() {
        return Effect::Open;
    }
    let told = match &operation.action {
        Action::Delete { existed, .. } => *existed,
        Action::Cas { swapped, .. } => *swapped,
        Action::Txn { applied, .. } => *applied,
        Action::Guarded { done, .. } => *done,
        _ => Some(true),
    };
    match told {
        Some(true) => Effect::Done,
        Some(false) => Effect::None,
        None => Effect::Open,
    }
}

/// Whether it changes keys that the history names, if it is done.
pub fn mutates(action: &Action) -> bool {
    let mut any = false;
    changes(action, |_, _| any = true);
    any
}

/// Tells each change that the action makes if it is done, in order.
pub fn changes<'a>(action: &'a Action, mut tell: impl FnMut(&'a Text, Change<'a>)) {
    match action {
        Action::Write { key, value }
        | Action::Guarded { key, value, .. }
        | Action::Attach { key, value, .. } => {
            tell(key, Change::Set(value));
        }
        Action::Delete { key, .. } => tell(key, Change::Delete),
        Action::Cas { key, new, .. } => tell(key, Change::Set(new)),
        Action::Txn { steps, .. } => steps.iter().for_each(|step| match step {
            Step::Write(key, value) => tell(key, Change::Set(value)),
            Step::Append(key, element) => tell(key, Change::Append(element)),
            Step::Read(..) | Step::List(..) => {}
        }),
        _ => {}
    }
}

/// Whether the operation is an answered read of keys: what levels are about.
pub fn is_read(operation: &Operation) -> bool {
    let reads = match &operation.action {
        Action::Read { .. } | Action::Range { .. } => true,
        Action::Txn { .. } => !mutates(&operation.action),
        _ => false,
    };
    operation.is_ok() && reads
}

/// A value that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glimpse<'a> {
    /// Found as it is.
    Found(&'a Found),
    /// Compared equal.
    Value(&'a Text),
    /// One element of a list.
    Element(&'a Text),
}

/// Tells each value that the answer shows to have been there. Absence is not told.
pub fn glimpses<'a>(operation: &'a Operation, mut tell: impl FnMut(&'a Text, Glimpse<'a>)) {
    if !operation.is_ok() {
        return;
    }
    match &operation.action {
        Action::Read { key, found: Some(Some(found)) } => tell(key, Glimpse::Found(found)),
        Action::Range { found: Some(found), .. } => {
            found.iter().for_each(|(key, found)| tell(key, Glimpse::Found(found)));
        }
        Action::Cas { key, old: Some(old), swapped: Some(true), .. } => tell(key, Glimpse::Value(old)),
        Action::Txn { when, steps, applied: Some(true) } => {
            for condition in when {
                if let Expected::Value(Some(value)) = &condition.expected {
                    tell(&condition.key, Glimpse::Value(value));
                }
            }
            for step in steps {
                match step {
                    Step::Read(key, Some(Some(found))) => tell(key, Glimpse::Found(found)),
                    Step::List(key, Some(list)) => {
                        list.iter().for_each(|element| tell(key, Glimpse::Element(element)));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Tells each key that the action names.
pub fn keys<'a>(action: &'a Action, mut tell: impl FnMut(&'a Text)) {
    match action {
        Action::Read { key, .. } => tell(key),
        Action::Range { found: Some(found), .. } => found.iter().for_each(|(key, _)| tell(key)),
        Action::Txn { when, steps, .. } => {
            when.iter().for_each(|condition| tell(&condition.key));
            for step in steps {
                let (Step::Read(key, _) | Step::Write(key, _) | Step::List(key, _) | Step::Append(key, _)) =
                    step;
                tell(key);
            }
        }
        other => changes(other, |key, _| tell(key)),
    }
}

/// The elements of a list in the store.
pub fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|element| !element.is_empty())
}
