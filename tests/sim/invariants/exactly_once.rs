//! Every write is applied at most once; at most where its answer says, with what it says; and not at all if
//! it says that nothing was done.

use std::collections::BTreeMap;

use quorate::{
    state::Operation,
    types::{Op as TxnOp, Txn},
};

use super::replay::{Replay, Replayed};
use crate::workload::{Call, History, Outcome};

/// Where each mark was applied, stored answers aside.
pub fn applications(replayed: &Replayed) -> BTreeMap<String, Vec<u64>> {
    let mut marks: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (index, replay) in &replayed.commands {
        if let Some(mark) = mark(replay).filter(|_| replay.took_effect()) {
            marks.entry(mark).or_default().push(*index);
        }
    }
    marks
}

fn mark(replay: &Replay) -> Option<String> {
    let of = |value: &[u8]| Some(String::from_utf8_lossy(value).into_owned());
    match &replay.command.op {
        Operation::Put(put) => of(&put.value),
        Operation::Txn(Txn { then_ops, .. }) => match then_ops.first() {
            Some(TxnOp::Put(put)) => of(&put.value),
            _ => None,
        },
        _ => None,
    }
}

pub fn check(history: &History, replayed: &Replayed) -> Vec<String> {
    let applications = applications(replayed);
    let mut violations = Vec::new();
    for op in &history.ops {
        let Call::Write { mark, session } = &op.call else { continue };
        let applied = applications.get(mark).map_or(&[][..], Vec::as_slice);
        let told = format!("exactly once: {mark} of c{} ({}, session: {session})", op.client, op.outcome);
        if applied.len() > 1 {
            violations.push(format!("{told} was applied at {applied:?}"));
        }
        match &op.outcome {
            Outcome::Failed(_) if !applied.is_empty() => {
                violations.push(format!("{told} was applied at {applied:?}"));
            }
            Outcome::Written { revision, index, .. } => match replayed.commands.get(index) {
                Some(replay) if applied == [*index] && replay.applied.revision == *revision => {}
                _ => violations.push(format!("{told} was applied at {applied:?}")),
            },
            _ => {}
        }
    }
    violations
}
