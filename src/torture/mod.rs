//! Torture: real processes, faults, clients that do everything, and a judge.
//!
//! A run has four phases. *Faults*: clients work while a plan of overlapping faults is played, all of it
//! from one seed. *Healing*: everything is put right, and clients go on for a moment. *Convergence*: by a
//! deadline, every member is ready, everybody has the same revision and the same hash; the last reads see
//! what is there.
//! *Judgement*: the history goes to [`crate::check`], the same that users run.
//!
//! Map: `cluster` (processes, their network, their disks) · `nemesis` (what goes wrong, and when) ·
//! `workload` (what clients do) · `onlooker` (who asks members about themselves) · `recorder` (one clock,
//! one history) · `run` (the phases) · `summary` (what came of it).
//!
//! A seed decides what is planned, not what happens: the machine's timing is not repeated. For that there
//! is the simulator. What is unknown stays unknown: no operation is repeated but by the client's own
//! exactly-once session, and none is counted as failed that may have been done.

pub mod cluster;
mod nemesis;
mod onlooker;
mod recorder;
mod run;
mod summary;
mod workload;

use std::{io, path::PathBuf, time::Duration};

pub use self::{
    nemesis::{Kind, Script},
    recorder::Live,
    run::{Phase, run},
    summary::{LevelCounts, Outcome, Summary},
    workload::Part,
};
use crate::Error;

/// By which fraction of their rates the members of a run allow clocks to differ: the default of `serve`.
const CLOCK_BOUND: f64 = 0.05;

/// What to do to whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program whose `serve` makes the members.
    pub program: PathBuf,
    /// Members of the cluster that is started: 3 or 5.
    pub nodes: u64,
    /// Clients' addresses of a cluster that runs already; then nothing goes wrong but by itself.
    pub endpoints: Vec<String>,
    /// How long clients work under faults.
    pub duration: Duration,
    /// What every random choice is drawn from.
    pub seed: u64,
    /// The kinds of faults that are drawn.
    pub nemeses: Vec<Kind>,
    /// A plan that is written down, rather than drawn.
    pub script: Option<Script>,
    /// What clients do.
    pub parts: Vec<Part>,
    /// Operations per second that are aimed at.
    pub rate: u32,
    /// Where history, logs and report go. Must not exist, or be empty.
    pub out: PathBuf,
    /// What recorded the history, for who reads the report.
    pub command: String,
}

/// Why a run could not be made, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum TortureError {
    /// A file, a port, a process.
    #[error("{what}: {source}")]
    Io {
        /// What could not be done.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A member did not come up.
    #[error("member {id} is not ready after {within:?}: {why}; see node-{id}/log")]
    NotReady {
        /// Which.
        id: u64,
        /// How long it was waited for.
        within: Duration,
        /// What it said last.
        why: String,
    },
    /// Something that was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The run itself broke down.
    #[error("{0}")]
    Broken(String),
    /// The cluster did not answer.
    #[error(transparent)]
    Call(#[from] Error),
}

impl TortureError {
    /// An error of the system, and what was to be done.
    fn io(what: &str) -> impl FnOnce(io::Error) -> TortureError {
        let what = what.to_owned();
        move |source| TortureError::Io { what, source }
    }
}
