//! The known bugs (`src/mutant.rs`), and what must catch each: within so many seeds, by what it violates.
//! Without the bug the same seeds must hold. docs/mutants.md says who had which.

use std::{
    collections::BTreeSet,
    process::ExitCode,
    time::{Duration, Instant},
};

use libtest_mimic::{Failed, Trial};
use quorate::mutant::Mutant;

use crate::{
    run::{Report, Setup, remember_panics, run},
    scenarios::{self, Scenario, Twin},
    workload::Parts,
};

/// Seeds with which each scenario is played.
const SCENARIO_SEEDS: u64 = 10;

/// Seeds of random runs, at most.
const RANDOM_SEEDS: u64 = 60;

const NOTHING: Parts = Parts { kv: false, locks: false, leases: false, watches: false, registers: false };
const KV: Parts = Parts { kv: true, ..NOTHING };
const WATCHED: Parts = Parts { watches: true, ..KV };
const LOCKS: Parts = Parts { locks: true, ..NOTHING };
const REGISTERS: Parts = Parts { registers: true, ..NOTHING };

/// Bugs that random faults lead to, with the part of the workload that each is about: so a run is short.
const RANDOM: [(Mutant, &str, Parts); 9] = [
    (Mutant::GuardIgnored, "guards: ", LOCKS),
    (Mutant::AppliedApart, "states differ", KV),
    (Mutant::AppliedTwice, "states differ", KV),
    (Mutant::WatchGap, "watch of", WATCHED),
    (Mutant::WatchTwice, "watch of", WATCHED),
    (Mutant::StaleFollower, "linearizable: read linearizable", KV),
    (Mutant::RetriedWithoutSession, "exactly once: ", KV),
    (Mutant::StaleFollower, "checker: stale-read", REGISTERS),
    (Mutant::RetriedWithoutSession, "checker: ", REGISTERS),
];

/// What random faults have shown once, and nothing leads to for sure.
const RARE: [Mutant; 1] = [Mutant::LongerLogReplaced];

/// A bug, and a history that must catch it.
struct Exhibit {
    twin: Twin,
    by: String,
    /// Within so many seeds.
    seeds: u64,
    play: Box<dyn Fn(u64, bool) -> Report + Send>,
}

impl Exhibit {
    fn scripted(scenario: Scenario) -> Option<Exhibit> {
        let (twin, by) = (scenario.twin?, scenario.name.to_owned());
        let play = Box::new(move |seed, protected| scenario.play(seed, protected));
        Some(Exhibit { twin, by, seeds: SCENARIO_SEEDS, play })
    }

    fn random((mutant, violation, parts): (Mutant, &'static str, Parts)) -> Exhibit {
        let play = move |seed, protected: bool| {
            run(&Setup { mutant: Some(mutant).filter(|_| !protected), parts, ..Setup::of(seed) })
        };
        let by = format!("random, {}", shown(parts));
        Exhibit { twin: Twin { mutant, violation }, by, seeds: RANDOM_SEEDS, play: Box::new(play) }
    }

    /// The seeds until the bug was seen, as one must see it. The error: what else was seen.
    fn falls(&self) -> Result<u64, BTreeSet<String>> {
        let mut others = BTreeSet::new();
        for seed in 1..=self.seeds {
            for violation in (self.play)(seed, false).violations {
                if violation.contains(self.twin.violation) {
                    return Ok(seed);
                }
                others.insert(violation);
            }
        }
        Err(others)
    }

    /// The test of that.
    fn must_fall(&self) -> Result<(), Failed> {
        let (name, violation) = (self.twin.mutant.name(), self.twin.violation);
        let missed =
            |others| format!("{name}: {} seeds without {violation:?}, but with {others:#?}", self.seeds);
        self.falls().map(drop).map_err(|others| missed(others).into())
    }

    /// What is violated without the bug.
    fn is_clean(&self, seeds: u64) -> Result<(), Vec<String>> {
        (1..=seeds)
            .map(|seed| (self.play)(seed, true).violations)
            .try_for_each(|violations| if violations.is_empty() { Ok(()) } else { Err(violations) })
    }
}

/// The bug with this name. The error lists them all.
pub fn named(name: &str) -> Result<Mutant, String> {
    let found = Mutant::ALL.into_iter().find(|mutant| mutant.name() == name);
    found
        .ok_or_else(|| format!("no mutant {name:?}; there are: {}", Mutant::ALL.map(Mutant::name).join(", ")))
}

fn shown(parts: Parts) -> String {
    let Parts { kv, locks, leases, watches, registers } = parts;
    let parts =
        [(kv, "keys"), (locks, "locks"), (leases, "leases"), (watches, "watches"), (registers, "registers")];
    parts.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect::<Vec<_>>().join(" and ")
}

fn all() -> Vec<Exhibit> {
    let scripted = scenarios::all().into_iter().filter_map(Exhibit::scripted);
    scripted.chain(RANDOM.map(Exhibit::random)).collect()
}

/// The scenarios, with protection and without; the bugs that random faults must show; and that none of them
/// was left out.
pub fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for scenario in scenarios::all() {
        tests.push(Trial::test(format!("scenario::{}", scenario.name), move || survives(&scenario)));
    }
    for scenario in scenarios::all() {
        let name = format!("unprotected::{}", scenario.name);
        let exhibit = Exhibit::scripted(scenario);
        tests.extend(exhibit.map(|exhibit| Trial::test(name, move || exhibit.must_fall())));
    }
    for exhibit in RANDOM.map(Exhibit::random) {
        let name = format!("unprotected::{} ({})", exhibit.twin.mutant.name(), exhibit.by);
        tests.push(Trial::test(name, move || exhibit.must_fall()));
    }
    tests.push(Trial::test("every_mutant_must_fall", every_mutant_must_fall));
    tests
}

fn survives(scenario: &Scenario) -> Result<(), Failed> {
    for seed in 1..=SCENARIO_SEEDS {
        let report = scenario.play(seed, true);
        if !report.violations.is_empty() {
            return Err(format!("{} with seed {seed}: {:#?}", scenario.name, report.violations).into());
        }
    }
    Ok(())
}

fn every_mutant_must_fall() -> Result<(), Failed> {
    let required: BTreeSet<_> = all().iter().map(|exhibit| exhibit.twin.mutant).collect();
    let missing = |mutant: &&Mutant| !required.contains(mutant) && !RARE.contains(mutant);
    match Mutant::ALL.iter().find(missing) {
        None => Ok(()),
        Some(mutant) => Err(format!("no test requires that {} is found", mutant.name()).into()),
    }
}

/// `make mutants`: each bug until it is caught, and then the same seeds without it. Exit code 1: one was not
/// caught, or a seed did not hold. `names`: these bugs alone; none: all.
pub fn show(names: &[String]) -> ExitCode {
    if let Some(why) = names.iter().find_map(|name| named(name).err()) {
        eprintln!("sim: {why}");
        return ExitCode::from(2);
    }
    // What a bug makes panic is caught, and told as a violation.
    std::panic::set_hook(Box::new(|_| {}));
    remember_panics();
    let wanted = |mutant: Mutant| names.is_empty() || names.iter().any(|name| name == mutant.name());
    let exhibits: Vec<_> = all().into_iter().filter(|exhibit| wanted(exhibit.twin.mutant)).collect();
    println!("| mutant | caught by | as | after seeds | s |\n|---|---|---|---|---|");
    let caught: Vec<_> = exhibits.iter().map(|exhibit| (exhibit, row(exhibit))).collect();
    let rare = RARE.into_iter().filter(|rare| wanted(*rare));
    rare.for_each(|rare| println!("| `{}` | rare, not required | | | |", rare.name()));
    let (began, mut seeds, mut fine) = (Instant::now(), 0, true);
    for (exhibit, caught) in caught {
        let ran = caught.unwrap_or(exhibit.seeds);
        (seeds, fine) = (seeds + ran, fine && caught.is_some());
        if let Err(violations) = exhibit.is_clean(ran) {
            println!("WITHOUT the bug, {}: {violations:#?}", exhibit.by);
            fine = false;
        }
    }
    let took = began.elapsed().as_secs_f64();
    println!("{}: {seeds} seeds without any bug in {took:.1} s", if fine { "all held" } else { "FAILED" });
    if fine { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Plays one until it is caught, and prints its row.
fn row(exhibit: &Exhibit) -> Option<u64> {
    let began = Instant::now();
    let fell = exhibit.falls();
    let (name, took): (_, Duration) = (exhibit.twin.mutant.name(), began.elapsed());
    let after = match &fell {
        Ok(seeds) => format!("{seeds} of {}", exhibit.seeds),
        Err(others) => format!("NOT within {}, but {others:?}", exhibit.seeds),
    };
    let violation = exhibit.twin.violation.trim_end_matches([' ', ':']);
    println!("| `{name}` | {} | {violation} | {after} | {:.1} |", exhibit.by, took.as_secs_f64());
    fell.ok()
}
