//! The command line, and the tests.

use std::{process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};
use libtest_mimic::{Arguments, Failed, Trial};
use quorate::mutant::Mutant;

use crate::run::{Report, Setup, run};

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
}

#[derive(clap::Args)]
struct One {
    /// Decides everything that is random.
    #[arg(long)]
    seed: u64,
    /// Members; by default three for odd seeds and five for even ones.
    #[arg(long)]
    nodes: Option<u64>,
    /// Simulated seconds until everything is healed.
    #[arg(long)]
    seconds: Option<u64>,
    /// Nothing goes wrong.
    #[arg(long)]
    no_faults: bool,
    /// Print the timeline.
    #[arg(long)]
    trace: bool,
    /// Hash the wire as well.
    #[arg(long)]
    wire: bool,
    /// Put a known bug in: see src/mutant.rs.
    #[arg(long)]
    mutant: Option<String>,
}

pub fn main() -> ExitCode {
    let is_tool = std::env::args()
        .nth(1)
        .is_some_and(|first| ["run", "sweep", "help", "--help"].contains(&first.as_str()));
    if is_tool {
        return match Cli::parse().command {
            Command::Run(one) => replay(&one),
        };
    }
    let mut arguments = Arguments::from_args();
    // One simulation at a time: a runner that gives each test a process of its own runs more.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, tests()).exit_code()
}

fn setup(one: &One) -> Result<Setup, String> {
    let default = Setup::of(one.seed);
    let mutant = one.mutant.as_ref().map(|name| {
        let found = Mutant::ALL.into_iter().find(|mutant| mutant.name() == name);
        found.ok_or_else(|| {
            format!("no mutant {name:?}; there are: {}", Mutant::ALL.map(Mutant::name).join(", "))
        })
    });
    Ok(Setup {
        nodes: one.nodes.unwrap_or(default.nodes),
        seconds: one.seconds.unwrap_or(default.seconds),
        faults: !one.no_faults,
        mutant: mutant.transpose()?,
        lines: one.trace,
        wire: one.wire,
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
    show(&setup, &report, began);
    println!("trace {:016x}", report.hash);
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn show(setup: &Setup, report: &Report, began: Instant) {
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
    for (cell, count) in &report.coverage {
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

fn tests() -> Vec<Trial> {
    (1..=4).map(|seed| Trial::test(format!("seed_{seed}"), move || held(&Setup::of(seed)))).collect()
}

/// The test that nothing is violated.
fn held(setup: &Setup) -> Result<(), Failed> {
    let report = run(setup);
    match report.violations.is_empty() {
        true => Ok(()),
        false => Err(format!("seed {}: {:#?}", setup.seed, report.violations).into()),
    }
}
