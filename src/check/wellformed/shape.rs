//! Whether the history can have been recorded at all.

use std::collections::{HashMap, HashSet};

use super::TIER;
use crate::check::{
    history::{Action, History, Operation, Step},
    verdict::{Findings, Violation},
};

/// Reports what no recorder can have written.
pub fn check(history: &History, findings: &mut Findings) {
    let mut indices = HashSet::with_capacity(history.operations.len());
    for operation in &history.operations {
        if !indices.insert(operation.index) {
            report(findings, &[operation], "two operations have the same index");
        } else if let Some(why) = mistake(operation) {
            report(findings, &[operation], why);
        }
    }
    one_at_a_time(history, findings);
}

fn report(findings: &mut Findings, operations: &[&Operation], why: &str) {
    let operations: Vec<u64> = operations.iter().map(|operation| operation.index).collect();
    let why = why.to_owned();
    findings.violated(Violation { tier: TIER, anomaly: "malformed", level: None, why, operations });
}

/// What is wrong with the operation by itself.
fn mistake(operation: &Operation) -> Option<&'static str> {
    if operation.ret < operation.call {
        return Some("it was answered before it was called");
    }
    match (operation.is_ok(), is_answered(&operation.action)) {
        (true, Answer::Missing) => Some("it was answered, but the answer is not told"),
        (false, Answer::Told) => Some("it was not answered, but an answer is told"),
        _ => foreign_key(&operation.action).then_some("it found a key that does not have its prefix"),
    }
}

enum Answer {
    Told,
    Missing,
    /// The action has nothing to tell, or need not tell it.
    Free,
}

fn is_answered(action: &Action) -> Answer {
    let by = |told: bool| if told { Answer::Told } else { Answer::Missing };
    let optional = |told: bool| if told { Answer::Told } else { Answer::Free };
    match action {
        Action::Read { found, .. } => by(found.is_some()),
        Action::Range { found, .. } => by(found.is_some()),
        Action::Cas { swapped, .. } => by(swapped.is_some()),
        Action::Txn { applied: None, steps, .. } => by(steps.iter().any(tells)),
        Action::Txn { applied: Some(applied), steps, .. } => by(!applied || !steps.iter().any(hides)),
        Action::Guarded { done, .. } => by(done.is_some()),
        Action::Delete { existed, .. } => optional(existed.is_some()),
        _ => Answer::Free,
    }
}

/// Whether the step says what it found.
fn tells(step: &Step) -> bool {
    matches!(step, Step::Read(_, Some(_)) | Step::List(_, Some(_)))
}

/// Whether the step looks for something and does not say what it found.
fn hides(step: &Step) -> bool {
    matches!(step, Step::Read(_, None) | Step::List(_, None))
}

fn foreign_key(action: &Action) -> bool {
    match action {
        Action::Range { prefix, found: Some(found) } => {
            found.iter().any(|(key, _)| !key.starts_with(&**prefix))
                || found.windows(2).any(|pair| pair[0].0 >= pair[1].0)
        }
        _ => false,
    }
}

/// A process has one operation under way at a time.
fn one_at_a_time(history: &History, findings: &mut Findings) {
    let mut order: Vec<&Operation> = history.operations.iter().collect();
    order.sort_by_key(|operation| (operation.call, operation.ret));
    let mut last: HashMap<u64, &Operation> = HashMap::new();
    for operation in order {
        if let Some(before) = last.insert(operation.process, operation)
            && operation.call < before.ret
        {
            report(findings, &[before, operation], "one process had two operations under way at a time");
        }
    }
}
