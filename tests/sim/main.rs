//! Whole clusters in one process: simulated time, network and disks, one seed for everything that is random.
//!
//! Without arguments, or with those of a test runner, this is a test binary: every named scenario, the
//! corpus of seeds that once failed, the known bugs, and a fixed set of seeds. With `run`, `sweep` or
//! `mutants` it is the tool behind `make sim`, `make sweep` and `make mutants`: try `--help`.
//!
//! What runs here is the node's own code, the server's and the client's. Simulated are: time and network
//! (turmoil), the disk of the Raft log and of the state's engine, each member's clock, and every random
//! number. A simulation takes one thread and one process, since task ids, which order a crash, are counted
//! by the process.
//!
//! Map: `world` (what there is: members, disks, clocks, network, trace) · `nemesis` (what goes wrong) ·
//! `workload` (what clients do, and what they saw) · `invariants` (what must hold, one file each) ·
//! `scenarios` (named histories, each with its protection off and on) · `gallery` (the known
//! bugs, and what must catch each) · `run` (one seed) · `sweep` (many).

#[cfg(not(all(tokio_unstable, feature = "mutants")))]
fn main() {
    // Built without what makes a simulation repeatable: no tests, so that a runner finds a binary with none.
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), Vec::new()).exit();
}

#[cfg(all(tokio_unstable, feature = "mutants"))]
fn main() -> std::process::ExitCode {
    tool::main()
}

#[cfg(all(tokio_unstable, feature = "mutants"))]
mod gallery;
#[cfg(all(tokio_unstable, feature = "mutants"))]
mod invariants;
#[cfg(all(tokio_unstable, feature = "mutants"))]
mod nemesis;
#[cfg(all(tokio_unstable, feature = "mutants"))]
mod run;
#[cfg(all(tokio_unstable, feature = "mutants"))]
mod scenarios;
#[cfg(all(tokio_unstable, feature = "mutants"))]
mod sweep;
#[cfg(all(tokio_unstable, feature = "mutants"))]
mod tool;
#[cfg(all(tokio_unstable, feature = "mutants"))]
mod workload;
#[cfg(all(tokio_unstable, feature = "mutants"))]
mod world;
