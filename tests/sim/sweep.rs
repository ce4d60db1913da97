//! Many seeds, over all cores, each in a process of its own; and, once one fails, the smallest run that
//! still does.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use crate::world::DURING;

/// What a sweep of some size must have reached, besides each fault.
const CELLS: [&str; 36] = [
    "lease ok",
    "put ok",
    "put unknown",
    "put failed",
    "put stored",
    "delete ok",
    "txn ok",
    "compact ok",
    "read linearizable ok",
    "read log ok",
    "read lease ok",
    "read lease-or-index ok",
    "read leader-local ok",
    "read bounded ok",
    "read bounded failed",
    "read session ok",
    "read eventual ok",
    "lock ok",
    "add ok",
    "add failed",
    "late refused",
    "watch ok",
    "snapshot installed",
    "log purged",
    "crash that lost writes",
    "crash that tore an append",
    "fail-stop",
    "state rebuilt",
    "start refused",
    "write refused for space",
    "transfer ok",
    "transfer failed",
    "register write ok",
    "register cas ok",
    "register delete ok",
    "register read ok",
];

const FAULTS: [&str; 21] = [
    "isolated",
    "pair",
    "one-way",
    "mute",
    "deaf",
    "halves",
    "clients",
    "held",
    "latent",
    "loss",
    "stalled",
    "down",
    "drifting",
    "suspended",
    "transfer",
    "failing-log",
    "failing-engine",
    "full",
    "flip-log",
    "flip-engine",
    "flip-snapshot",
];

/// Calls that a sweep of some size must have seen answered during each kind of fault.
const CALLS: [&str; 13] = [
    "put",
    "delete",
    "txn",
    "read linearizable",
    "read log",
    "read lease",
    "read lease-or-index",
    "read leader-local",
    "read bounded",
    "read session",
    "read eventual",
    "lock",
    "lease",
];

/// Parts of the workload that can be left out.
const PARTS: [&str; 5] = ["kv", "locks", "leases", "watches", "registers"];

/// What to sweep.
pub struct Sweep {
    pub first: u64,
    pub seeds: u64,
    /// Passed on to every run.
    pub arguments: Vec<String>,
}

struct Ran {
    held: bool,
    output: String,
}

impl Sweep {
    /// Whatever is not exit code 0 failed: 1 says that something was violated; an abort, that a panic was not
    /// survived.
    fn one(&self, seed: u64, more: &[String]) -> Ran {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .arg("run")
            .arg("--cells")
            .arg("--seed")
            .arg(seed.to_string())
            .args(&self.arguments)
            .args(more);
        let output = command.stdin(Stdio::null()).output().expect("a run");
        Ran { held: output.status.success(), output: String::from_utf8_lossy(&output.stdout).into_owned() }
    }

    /// Exit code 0: all held; 1: one did not, which is told, with the command that repeats it.
    pub fn run(&self) -> ExitCode {
        let (next, stop) = (AtomicU64::new(self.first), AtomicBool::new(false));
        let (done, failed) = (AtomicU64::new(0), Mutex::new(None));
        let coverage: Mutex<BTreeMap<String, u64>> = Mutex::default();
        let began = Instant::now();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.first + self.seeds {
                            return;
                        }
                        let ran = self.one(seed, &[]);
                        count(&mut coverage.lock().unwrap_or_else(PoisonError::into_inner), &ran.output);
                        progress(done.fetch_add(1, Ordering::Relaxed) + 1, self.seeds, began);
                        if !ran.held {
                            stop.store(true, Ordering::Relaxed);
                            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((seed, ran.output));
                        }
                    }
                });
            }
        });
        eprintln!();
        show(&coverage.into_inner().unwrap_or_else(PoisonError::into_inner));
        let (done, took) = (done.into_inner(), began.elapsed().as_secs_f64());
        println!("{done} seeds in {took:.0} s, {:.0} a minute", done as f64 * 60.0 / took);
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => {
                println!("held");
                ExitCode::SUCCESS
            }
            Some((seed, output)) => {
                output
                    .lines()
                    .filter(|line| line.starts_with("VIOLATED"))
                    .for_each(|line| println!("{line}"));
                println!("repeat it: make sim SEED={seed} TRACE=1 ARGS='{}'", self.arguments.join(" "));
                self.shrink(seed);
                ExitCode::from(1)
            }
        }
    }

    /// Leaves out what is not needed for the failure: time, parts of the workload, kinds of faults.
    fn shrink(&self, seed: u64) {
        println!("looking for a smaller run that fails…");
        let mut kept: Vec<String> = Vec::new();
        let mut try_more = |more: Vec<String>| {
            let tried: Vec<String> = kept.iter().cloned().chain(more).collect();
            let fails = !self.one(seed, &tried).held;
            if fails {
                kept = tried;
            }
            fails
        };
        for part in PARTS {
            try_more(vec!["--leave-out".to_owned(), part.to_owned()]);
        }
        for fault in FAULTS {
            try_more(vec!["--without".to_owned(), fault.to_owned()]);
        }
        for seconds in [5, 10, 15, 20, 25] {
            if try_more(vec!["--seconds".to_owned(), seconds.to_string()]) {
                break;
            }
        }
        let arguments = [self.arguments.clone(), kept].concat().join(" ");
        println!("the smallest found: make sim SEED={seed} TRACE=1 ARGS='{arguments}'");
    }
}

/// Adds up the cells that a run printed.
fn count(coverage: &mut BTreeMap<String, u64>, output: &str) {
    for line in output.lines().filter_map(|line| line.strip_prefix("  ")) {
        if let Some((cell, count)) = line.rsplit_once(' ')
            && let Ok(count) = count.parse::<u64>()
        {
            *coverage.entry(cell.trim_end().to_owned()).or_default() += count;
        }
    }
}

fn show(coverage: &BTreeMap<String, u64>) {
    let plain = coverage.iter().filter(|(cell, _)| !cell.contains(DURING));
    plain.for_each(|(cell, count)| println!("  {cell:<28} {count}"));
    show_calls(coverage);
    let faults = FAULTS.map(|fault| format!("fault {fault}"));
    let during = CALLS.into_iter().flat_map(|call| FAULTS.map(|fault| format!("{call} ok{DURING}{fault}")));
    let cells = CELLS.into_iter().map(str::to_owned).chain(faults).chain(during);
    let missed: Vec<String> = cells.filter(|cell| !coverage.contains_key(cell)).collect();
    if !missed.is_empty() {
        println!("NOT REACHED: {}", missed.join(", "));
    }
}

/// What came of calls that ended during each kind of fault: all of them, and of these how many were answered.
fn show_calls(coverage: &BTreeMap<String, u64>) {
    println!("\n  calls during a fault: answered of all");
    println!("  {:<15}{}", "", CALLS.map(|call| format!("{:>15}", short(call))).concat());
    for fault in FAULTS {
        let cell = |call: &str| {
            let of = |outcome: &str| {
                coverage.get(&format!("{call} {outcome}{DURING}{fault}")).copied().unwrap_or(0)
            };
            let answered = of("ok") + of("stored");
            format!("{:>15}", format!("{answered}/{}", answered + of("failed") + of("unknown")))
        };
        println!("  {fault:<15}{}", CALLS.map(cell).concat());
    }
}

/// The name of a call, as wide as a column.
fn short(call: &str) -> &str {
    call.rsplit_once(' ').map_or(call, |(_, last)| last)
}

fn progress(done: u64, seeds: u64, began: Instant) {
    let width = 40;
    let full = (done * width / seeds.max(1)) as usize;
    let bar: String = (0..width as usize).map(|at| if at < full { '#' } else { '.' }).collect();
    let rate = done as f64 * 60.0 / began.elapsed().as_secs_f64().max(0.001);
    eprint!("\r[{bar}] {done} of {seeds}, {rate:.0} a minute ");
    let _ = std::io::stderr().flush();
}
