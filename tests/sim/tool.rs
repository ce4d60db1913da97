//! The command line, and the tests.

use std::{process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    gallery,
    run::{Report, Setup, remember_panics, run},
    scenarios,
    sweep::Sweep,
    workload::Parts,
    world::DURING,
};

/// Simulates whole clusters: `make sim SEED=7 TRACE=1`, `make sweep SEEDS=10000`.
#[derive(Parser)]
#[command(
    name = "sim",
    after_help = "Examples:\n  sim run --seed 7 --trace\n  sim run --seed 7 --mutant vote-unguarded"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One seed. Exit code 0: everything held; 1: something was violated. The last line is `trace HASH`.
    Run(One),
    /// Plays a named scenario once, with its protection on, or off.
    Scenario {
        /// Its name; without one, all names are listed.
        name: Option<String>,
        /// Decides everything that is random.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Switch its protection off.
        #[arg(long)]
        unprotected: bool,
    },
    /// Each known bug until it is caught, then the same seeds without it. Exit code 1: one was not caught, or
    /// a seed without any did not hold.
    Mutants {
        /// These alone: see src/mutant.rs.
        names: Vec<String>,
    },
    /// Many seeds, over all cores, until one fails; then looks for the smallest run that still does.
    Sweep {
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Passed on to every run, behind `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

#[derive(clap::Args)]
struct One {
    /// Decides everything that is random.
    #[arg(long)]
    seed: u64,
    /// Members; by default three, and five for every fourth seed.
    #[arg(long)]
    nodes: Option<u64>,
    /// Simulated seconds until everything is healed.
    #[arg(long)]
    seconds: Option<u64>,
    /// A kind of fault that is left out; may be given again.
    #[arg(long)]
    without: Vec<String>,
    /// A part of the workload that is left out: kv, locks, leases, watches, registers; may be given again.
    #[arg(long)]
    leave_out: Vec<String>,
    /// Nothing goes wrong.
    #[arg(long)]
    no_faults: bool,
    /// Clocks stand still, run and jump beyond their bound: what does not rest on them must hold.
    #[arg(long)]
    wild_clocks: bool,
    /// Print the timeline.
    #[arg(long)]
    trace: bool,
    /// Hash the wire as well.
    #[arg(long)]
    wire: bool,
    /// Print every segment on it to standard error, to find where two runs differ.
    #[arg(long)]
    dump_wire: bool,
    /// Print also what came of calls during which faults.
    #[arg(long)]
    cells: bool,
    /// Put a known bug in: see src/mutant.rs.
    #[arg(long)]
    mutant: Option<String>,
}

pub fn main() -> ExitCode {
    let is_tool = std::env::args().nth(1).is_some_and(|first| {
        ["run", "sweep", "scenario", "mutants", "help", "--help"].contains(&first.as_str())
    });
    if is_tool {
        return match Cli::parse().command {
            Command::Run(one) => replay(&one),
            Command::Scenario { name, seed, unprotected } => play(name.as_deref(), seed, !unprotected),
            Command::Mutants { names } => gallery::show(&names),
            Command::Sweep { seeds, first, arguments } => Sweep { first, seeds, arguments }.run(),
        };
    }
    remember_panics();
    let mut arguments = Arguments::from_args();
    // One simulation at a time: a runner that gives each test a process of its own runs more.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, tests()).exit_code()
}

fn setup(one: &One) -> Result<Setup, String> {
    let default = Setup::of(one.seed);
    let has = |part: &str| !one.leave_out.iter().any(|left_out| left_out == part);
    Ok(Setup {
        nodes: one.nodes.unwrap_or(default.nodes),
        seconds: one.seconds.unwrap_or(default.seconds),
        faults: !one.no_faults,
        // Once in the life of the process.
        without: Vec::leak(one.without.clone()),
        parts: Parts {
            kv: has("kv"),
            locks: has("locks"),
            leases: has("leases"),
            watches: has("watches"),
            registers: has("registers"),
        },
        clocks: !one.wild_clocks,
        mutant: one.mutant.as_deref().map(gallery::named).transpose()?,
        lines: one.trace,
        wire: one.wire || one.dump_wire,
        dump_wire: one.dump_wire,
        end_at_panic: true,
        ..default
    })
}

fn replay(one: &One) -> ExitCode {
    let setup = match setup(one) {
        Ok(setup) => setup,
        Err(why) => {
            eprintln!("sim: {why}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let report = run(&setup);
    report.lines.iter().for_each(|line| println!("{line}"));
    show(&setup, &report, one.cells, began);
    println!("trace {:016x}", report.hash);
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn play(name: Option<&str>, seed: u64, protected: bool) -> ExitCode {
    let all = scenarios::all();
    let Some(scenario) = all.iter().find(|scenario| Some(scenario.name) == name) else {
        all.iter().for_each(|scenario| println!("{}", scenario.name));
        return if name.is_none() { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    let report = scenario.play(seed, protected);
    report.lines.iter().for_each(|line| println!("{line}"));
    let plain = report.coverage.iter().filter(|(cell, _)| !cell.contains(DURING));
    plain.for_each(|(cell, count)| println!("  {cell:<28} {count}"));
    report.violations.iter().for_each(|violation| println!("VIOLATED {violation}"));
    println!("trace {:016x}", report.hash);
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn show(setup: &Setup, report: &Report, cells: bool, began: Instant) {
    let took = began.elapsed();
    println!(
        "seed {}: {} members, {:.1} simulated s in {:.2} s ({:.0} times real time), {} events",
        setup.seed,
        setup.nodes,
        report.simulated.as_secs_f64(),
        took.as_secs_f64(),
        report.simulated.as_secs_f64() / took.as_secs_f64(),
        report.events
    );
    for (cell, count) in report.coverage.iter().filter(|(cell, _)| cells || !cell.contains(DURING)) {
        println!("  {cell:<28} {count}");
    }
    if setup.wire {
        println!("wire {:016x}, {} segments", report.wire.0, report.wire.1);
    }
    match report.violations.as_slice() {
        [] => println!("held"),
        violations => violations.iter().for_each(|violation| println!("VIOLATED {violation}")),
    }
}

/// Seeds of the fixed set, and how many of them one test runs.
const SEEDS: u64 = 200;
const SEEDS_OF_A_TEST: u64 = 10;

/// Seeds with clocks beyond their bound.
const WILD_SEEDS: u64 = 15;

/// Seeds that are run twice.
const REPEATED: u64 = 20;

fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for first in (1..=SEEDS).step_by(SEEDS_OF_A_TEST as usize) {
        let seeds = first..first + SEEDS_OF_A_TEST;
        let name = format!("seeds_{first:03}_to_{:03}", seeds.end - 1);
        tests.push(Trial::test(name, move || seeds.clone().try_for_each(|seed| held(&Setup::of(seed)))));
    }
    tests.push(Trial::test("wild_clocks", || {
        (1..=WILD_SEEDS).try_for_each(|seed| held(&Setup { clocks: false, ..Setup::of(seed) }))
    }));
    tests.push(Trial::test("corpus", || corpus().into_iter().try_for_each(|setup| held(&setup))));
    tests.push(Trial::test("repeats_in_one_process", || {
        (1..=REPEATED).try_for_each(|seed| repeats(seed, again))
    }));
    tests.push(Trial::test("repeats_in_two_processes", || {
        (1..=REPEATED).try_for_each(|seed| repeats(seed, elsewhere))
    }));
    tests.extend(gallery::tests());
    tests
}

/// Seeds that once failed: `SEED NODES SECONDS`, and why, behind `#`.
fn corpus() -> Vec<Setup> {
    let lines = include_str!("corpus.txt").lines().map(|line| line.split('#').next().unwrap_or_default());
    let numbers =
        lines.map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u64>>());
    let setup = |numbers: Vec<u64>| match numbers[..] {
        [seed, nodes, seconds] => Some(Setup { nodes, seconds, ..Setup::of(seed) }),
        _ => None,
    };
    numbers.filter_map(setup).collect()
}

/// The hashes of a run: of what happened, and of the wire.
type Hashes = (u64, u64);

/// The same seed gives the same run.
fn repeats(seed: u64, other: fn(u64) -> Result<Hashes, Failed>) -> Result<(), Failed> {
    let (first, second) = (again(seed)?, other(seed)?);
    if first == second { Ok(()) } else { Err(format!("seed {seed}: {first:x?}, then {second:x?}").into()) }
}

fn repeated(seed: u64) -> Setup {
    Setup { wire: true, seconds: 10, ..Setup::of(seed) }
}

fn again(seed: u64) -> Result<Hashes, Failed> {
    let report = run(&repeated(seed));
    Ok((report.hash, report.wire.0))
}

fn elsewhere(seed: u64) -> Result<Hashes, Failed> {
    let seconds = repeated(seed).seconds.to_string();
    let mut command = std::process::Command::new(std::env::current_exe()?);
    let output =
        command.args(["run", "--wire", "--seconds", &seconds, "--seed", &seed.to_string()]).output()?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let hash = |word: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(word)?.split([' ', ',']).next());
        line.and_then(|hash| u64::from_str_radix(hash, 16).ok()).ok_or_else(|| Failed::from(output.clone()))
    };
    Ok((hash("trace ")?, hash("wire ")?))
}

/// The test that nothing is violated.
fn held(setup: &Setup) -> Result<(), Failed> {
    let report = run(setup);
    match report.violations.is_empty() {
        true => Ok(()),
        false => Err(format!("seed {}: {:#?}", setup.seed, report.violations).into()),
    }
}
