//! What to measure, and how hard.

use std::{fmt, time::Duration};

use super::BenchError;
use crate::types::{Consistency, Level, Route};

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Put a key.
    Put,
    /// Get a key.
    Get,
    /// Nine gets, one put.
    Mixed,
    /// Compare a key, then put it.
    Txn,
    /// Hand one lock over from client to client.
    Lock,
    /// One put, which every client watches.
    Watch,
    /// Stream all keys.
    Scan,
    /// Put many keys in one transaction.
    Bulk,
    /// Put a key, through streams that many clients share.
    Pipeline,
    /// Grant a lease.
    Lease,
}

impl Workload {
    /// The workload's name.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Put => "put",
            Workload::Get => "get",
            Workload::Mixed => "mixed",
            Workload::Txn => "txn",
            Workload::Lock => "lock",
            Workload::Watch => "watch",
            Workload::Scan => "scan",
            Workload::Bulk => "bulk",
            Workload::Pipeline => "pipeline",
            Workload::Lease => "lease",
        }
    }

    /// Whether level and route of a read mean something to it.
    pub(super) fn reads(self) -> bool {
        matches!(self, Workload::Get | Workload::Mixed | Workload::Scan)
    }

    /// Whether its keys must be there before.
    pub(super) fn needs_keys(self) -> bool {
        self.reads() || self == Workload::Txn
    }

    /// Whether it can be done with puts, gets and transactions alone.
    fn is_plain(self) -> bool {
        !matches!(self, Workload::Lock | Workload::Watch | Workload::Scan | Workload::Lease)
    }

    /// Whether its operations are requests of one key: they can share a stream, and a server that does
    /// nothing can answer them.
    pub fn is_small(self) -> bool {
        self.is_plain() && self != Workload::Bulk
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which key next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// The k-th most wanted key in proportion to 1/k^0.99, as in YCSB.
    Zipf,
}

impl Distribution {
    /// The distribution's name.
    pub fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Zipf => "zipf",
        }
    }
}

/// Who carries the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// The Rust client, which repeats nothing: what fails is seen.
    Rust,
    /// The Rust client as applications have it: with exactly-once sessions, repeating what failed.
    Retrying,
    /// Bare gRPC calls, straight on HTTP/2.
    Plain,
    /// The same for etcd's API.
    Etcd,
}

impl Driver {
    /// The driver's name.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Rust => "rust",
            Driver::Retrying => "rust-retrying",
            Driver::Plain => "plain",
            Driver::Etcd => "etcd",
        }
    }
}

/// How hard.
#[derive(Clone, Debug)]
pub struct Load {
    /// Operations under way at once.
    pub clients: u32,
    /// HTTP/2 connections that they share evenly; no more than there are clients.
    pub connections: u32,
    /// Threads that carry them.
    pub threads: usize,
    /// How long is measured.
    pub duration: Duration,
    /// How long clients work before that.
    pub warmup: Duration,
    /// Operations that are due per second, of all clients; `None`: as many as come to an end.
    pub rate: Option<u32>,
    /// How long one operation may take.
    pub timeout: Duration,
}

/// On what.
#[derive(Clone, Debug)]
pub struct Data {
    /// How many keys.
    pub keys: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Which of them is next.
    pub distribution: Distribution,
    /// They are there already.
    pub loaded: bool,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What clients do.
    pub workload: Workload,
    /// Who carries it.
    pub driver: Driver,
    /// Through streams that many operations share (`Kv.Pipeline`), rather than as calls of their own.
    pub pipeline: bool,
    /// The members, `host:port` each.
    pub endpoints: Vec<String>,
    /// How hard.
    pub load: Load,
    /// On what.
    pub data: Data,
    /// Level and route of reads.
    pub consistency: Consistency,
    /// The servers' processes on this machine, whose use of it is measured.
    pub server_pids: Vec<u32>,
}

/// Puts in one transaction of a bulk load.
const BATCH_PUTS_MAX: usize = 100;
/// Bytes of values in one, which stay well below a member's limit of a request.
const BATCH_BYTES_MAX: usize = 256 << 10;

impl Data {
    /// How many puts of a bulk load go into one transaction.
    pub(super) fn batch(&self) -> u64 {
        (BATCH_BYTES_MAX / self.value_bytes.max(1)).clamp(1, BATCH_PUTS_MAX) as u64
    }
}

impl Options {
    /// Whether a read at the level is the leader's to answer, if the route says nothing else.
    pub(super) fn is_served_by_leader(&self) -> bool {
        matches!(self.consistency.level, Level::Lease | Level::LeaseOrIndex | Level::LeaderLocal)
    }

    /// Whether operations share streams.
    pub(super) fn is_piped(&self) -> bool {
        self.pipeline || self.workload == Workload::Pipeline
    }

    /// # Errors
    /// `Invalid`: options that contradict each other.
    pub fn validate(&self) -> Result<(), BenchError> {
        let invalid = |why: String| Err(BenchError::Invalid(why));
        let (workload, level, route) = (self.workload, self.consistency.level, self.consistency.route);
        if !workload.reads() && level != Level::Linearizable {
            return invalid(format!("--consistency means nothing to the workload {workload}"));
        }
        if !workload.reads() && !matches!(route, Route::Any | Route::Leader) {
            return invalid(format!(
                "--route {route} contradicts the workload {workload}: it goes to the leader"
            ));
        }
        if workload == Workload::Lock && self.load.rate.is_some() {
            return invalid(
                "--rate means nothing to the workload lock: a lock is handed over when it is free".into(),
            );
        }
        if matches!(self.driver, Driver::Plain | Driver::Etcd) && !workload.is_plain() {
            return invalid(format!(
                "the workload {workload} needs the Rust client: not --plain, not --etcd"
            ));
        }
        if self.pipeline && !workload.is_small() {
            return invalid(format!("--pipeline means nothing to the workload {workload}"));
        }
        if self.driver == Driver::Etcd && self.is_piped() {
            return invalid("etcd has no pipelines: not --etcd".into());
        }
        if self.driver == Driver::Etcd && !matches!(level, Level::Linearizable | Level::Eventual) {
            return invalid("etcd reads are linearizable or eventual (serializable)".into());
        }
        if self.driver == Driver::Etcd && matches!(route, Route::Member(_)) {
            return invalid(
                "--route with a member's id is for Quorate: etcd has any, leader, follower".into(),
            );
        }
        Ok(())
    }

    /// Connections: no more than clients, each of which uses one.
    pub(super) fn connections(&self) -> u32 {
        self.load.connections.min(self.load.clients)
    }
}
