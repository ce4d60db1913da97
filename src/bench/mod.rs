//! Measurements: a load on a cluster, and what it cost both sides.
//!
//! A run connects, puts the keys that its workload reads, lets its clients work, and counts what began inside
//! the measured window. In a closed loop each client begins when its last operation has ended; in an open one
//! (`Load::rate`) operations are due at fixed moments, and their latency counts from there, so that a pause
//! of the server is not left out. Both are bounded by the number of clients.
//!
//! Map: `options` (what to do) · `keys` (which key next) · `wire` (who carries an operation: the Rust client,
//! plain gRPC calls and streams, etcd's API) · `pace` (when the next one begins) · `recorder` (what came of
//! it) · `meter` (what processes use) · `workload` (what clients do) · `threads` (where they do it) · `run`
//! (the phases) · `report`, `page` (what came of it) · `noop` (a server that does nothing, for comparison).
//!
//! The load has few threads of its own, so that it costs the same whoever calls. No error ends
//! a run: errors are counted by kind.

mod keys;
mod meter;
mod noop;
mod options;
mod pace;
mod page;
mod recorder;
mod report;
mod run;
mod threads;
mod wire;
mod workload;

use std::io;

pub use self::{
    noop::{Child, serve},
    options::{Data, Distribution, Driver, Load, Options, Workload},
    page::page,
    recorder::Live,
    report::{Ratio, Report},
    run::run,
};
use crate::Error;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A file, a port, a process.
    #[error("{what}: {source}")]
    Io {
        /// What could not be done.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The cluster could not be prepared.
    #[error("cannot prepare the run: {0}")]
    Call(#[from] Error),
    /// The keys that the workload reads could not be put; the kind of error.
    #[error("cannot put the keys: {0}")]
    Load(&'static str),
    /// No member of etcd answered; the kind of error.
    #[error("no etcd answered: {0}")]
    Etcd(&'static str),
}

impl BenchError {
    /// Whether what was asked for makes no sense.
    pub fn is_usage(&self) -> bool {
        matches!(self, BenchError::Invalid(_) | BenchError::Call(Error::Invalid(_)))
    }

    /// An error of the system, and what was to be done.
    fn io(what: &str) -> impl FnOnce(io::Error) -> BenchError {
        let what = what.to_owned();
        move |source| BenchError::Io { what, source }
    }
}
