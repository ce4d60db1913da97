//! The checker against brute force, on many small histories, good and bad.

use std::env;

use quorate::check::{Findings, History, Options, Verdict, check, history::Operation};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    brute::{By, is_linearizable},
    store::{Shape, history},
};

/// How many histories, unless `QUORATE_BRUTE` says.
const HISTORIES: u64 = 100_000;

fn histories() -> u64 {
    env::var("QUORATE_BRUTE").ok().and_then(|text| text.parse().ok()).unwrap_or(HISTORIES)
}

fn checked(history: &History) -> Findings {
    check(history, &Options { threads: 1, ..Options::default() })
}

fn is_violated(findings: &Findings, tiers: &[&str]) -> bool {
    let mut tiers = tiers.iter().filter_map(|tier| findings.tiers.get(tier));
    tiers.any(|tier| tier.verdict == Verdict::Violated)
}

fn shape(random: &mut StdRng) -> Shape {
    Shape {
        operations: [3, 5, 6, 7, 7][random.random_range(0..5)],
        processes: random.random_range(2..=4),
        keys: [1, 1, 2][random.random_range(0..3)],
        weak: 0,
        leases: false,
        unknown: [0, 15, 40][random.random_range(0..3)],
        wrong: [0, 40, 90][random.random_range(0..3)],
        unique: random.random_range(0..4) > 0,
        several: false,
    }
}

fn shown(seed: u64, history: &History, findings: &Findings) -> String {
    let mut text = format!("seed {seed}\n");
    for operation in &history.operations {
        let (call, ret) = (operation.call, operation.ret);
        let revision = operation.revision();
        text += &format!(
            "{}: [{call}, {ret}] {:?} {:?} @{revision}\n",
            operation.index, operation.action, operation.outcome
        );
    }
    text + &format!("{:#?}", findings.violations)
}

/// By values alone, key by key: exactly brute force's verdict.
#[test]
fn values_agree_with_brute_force() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..histories() {
        let mut random = StdRng::seed_from_u64(seed);
        let history = history(shape(&mut random), &mut random);
        let findings = checked(&history);
        let expected = ["x", "y"].iter().all(|key| is_linearizable(&history, By::Values(key)));
        let violated = is_violated(&findings, &["t2"]);
        assert_eq!(violated, !expected, "{}", shown(seed, &history, &findings));
        *(if expected { &mut good } else { &mut bad }) += 1;
    }
    assert!(good.min(bad) * 20 > histories(), "one-sided: {good} good, {bad} bad");
    eprintln!("{good} good, {bad} bad");
}

/// By revisions, with transactions over several keys: exactly the verdict of brute force that knows
/// revisions.
#[test]
fn revisions_agree_with_brute_force() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..histories() {
        let mut random = StdRng::seed_from_u64(seed ^ 0xfeed);
        let shape = Shape { several: random.random_range(0..2) > 0, ..shape(&mut random) };
        let history = history(shape, &mut random);
        let findings = checked(&history);
        let expected = is_linearizable(&history, By::Revisions);
        let violated = is_violated(&findings, &["t0", "t1"]);
        assert_eq!(violated, !expected, "{}", shown(seed, &history, &findings));
        let is_ok = findings.verdict() == Verdict::Ok;
        assert_eq!(is_ok, expected, "{}", shown(seed, &history, &findings));
        *(if expected { &mut good } else { &mut bad }) += 1;
    }
    assert!(good.min(bad) * 20 > histories(), "one-sided: {good} good, {bad} bad");
    eprintln!("{good} good, {bad} bad");
}

/// A part of a good history, of which nobody says that it is all: from an instant on at which nothing was
/// under way.
#[test]
fn a_part_of_a_good_history_holds() {
    let mut parts = 0;
    for seed in 0..histories() / 5 {
        let mut random = StdRng::seed_from_u64(seed ^ 0xbead);
        let shape = Shape { operations: 12, processes: 2, wrong: 0, several: true, ..shape(&mut random) };
        let mut history = history(shape, &mut random);
        history.about.complete = false;
        let from = random.random_range(0..30);
        let spans = |operation: &Operation| {
            operation.call < from && (operation.ret >= from || operation.is_unknown())
        };
        if history.operations.iter().any(spans) {
            continue;
        }
        history.operations.retain(|operation| operation.call >= from);
        let findings = checked(&history);
        assert_eq!(findings.verdict(), Verdict::Ok, "{}", shown(seed, &history, &findings));
        parts += 1;
    }
    assert!(parts > histories() / 100, "only {parts} parts");
}

/// Old answers break nothing where nothing newer was promised, and are counted. Nor do keys that go with
/// their lease, at revisions that nobody tells.
#[test]
fn old_answers_to_weak_reads_break_nothing() {
    let mut stale = 0;
    for seed in 0..histories() / 10 {
        let mut random = StdRng::seed_from_u64(seed ^ 0xcafe);
        let leases = seed % 2 == 0;
        let shape = Shape { operations: 15, wrong: 0, weak: 70, leases, several: true, ..shape(&mut random) };
        let history = history(shape, &mut random);
        let findings = checked(&history);
        assert_eq!(findings.verdict(), Verdict::Ok, "{}", shown(seed, &history, &findings));
        stale += findings.staleness.len() as u64;
    }
    assert!(stale > histories() / 100, "only {stale} stale reads");
}
