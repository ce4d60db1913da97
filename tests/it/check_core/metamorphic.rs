//! What does not change a history must not change its verdict.

use std::sync::Arc;

use quorate::check::{
    History, Options, Verdict, check,
    history::{Action, Operation, Step, Text},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::store::{Shape, history};

const HISTORIES: u64 = 2_000;

/// The verdicts of the tiers.
fn verdicts(history: &History) -> Vec<(&'static str, Verdict)> {
    let findings = check(history, &Options { threads: 1, ..Options::default() });
    findings.tiers.iter().map(|(name, tier)| (*name, tier.verdict)).collect()
}

fn of_each(change: impl Fn(&mut History, &mut StdRng)) {
    for seed in 0..HISTORIES {
        let mut random = StdRng::seed_from_u64(seed);
        let shape = Shape {
            operations: 20,
            processes: 4,
            keys: 3,
            unknown: 10,
            weak: 20,
            leases: seed % 4 == 0,
            wrong: [0, 5][random.random_range(0..2)],
            unique: random.random_range(0..3) > 0,
            several: true,
        };
        let mut history = history(shape, &mut random);
        let before = verdicts(&history);
        change(&mut history, &mut random);
        assert_eq!(before, verdicts(&history), "seed {seed}: {history:#?}");
    }
}

#[test]
fn other_names_of_processes() {
    of_each(|history, _| {
        for operation in &mut history.operations {
            operation.process = 1_000 - operation.process;
            operation.session = operation.process;
        }
    });
}

#[test]
fn another_scale_of_time() {
    of_each(|history, _| {
        for operation in &mut history.operations {
            operation.call = operation.call * 1_000 + 17;
            operation.ret = operation.ret * 1_000 + 17;
        }
    });
}

#[test]
fn another_order_in_the_file() {
    of_each(|history, random| {
        for at in (1..history.operations.len()).rev() {
            history.operations.swap(at, random.random_range(0..=at));
        }
    });
}

#[test]
fn other_names_of_keys() {
    of_each(|history, _| history.operations.iter_mut().for_each(rename));
}

/// The first key is the last, and the other way round.
fn rename(operation: &mut Operation) {
    let other = |key: &mut Text| {
        *key = match &**key {
            "x" => Arc::from("z"),
            "z" => Arc::from("x"),
            key => Arc::from(key),
        };
    };
    match &mut operation.action {
        Action::Read { key, .. } | Action::Write { key, .. } | Action::Delete { key, .. } => other(key),
        Action::Cas { key, .. } | Action::Attach { key, .. } => other(key),
        Action::Range { found, .. } => {
            found.iter_mut().flatten().for_each(|(key, _)| other(key));
            found.iter_mut().for_each(|found| found.sort_by(|left, right| left.0.cmp(&right.0)));
        }
        Action::Txn { when, steps, .. } => {
            when.iter_mut().for_each(|condition| other(&mut condition.key));
            for step in steps {
                let (Step::Read(key, _) | Step::Write(key, _) | Step::List(key, _) | Step::Append(key, _)) =
                    step;
                other(key);
            }
        }
        _ => {}
    }
}
