//! What came of a run. The fields of its JSON are a contract: scripts rely on names, types and meaning.

use serde::Serialize;

use super::{
    options::{Driver, Options, Workload},
    recorder::{Errors, Latencies, millis},
    run::Used,
    workload::Shared,
};

/// What came of a run. Per operation means: per one that succeeded, in the measured window.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What clients did.
    pub workload: &'static str,
    /// Who carried it: `rust`, `rust-retrying`, `plain`, `etcd`.
    pub driver: &'static str,
    /// Whether operations shared streams (`Kv.Pipeline`).
    pub pipeline: bool,
    /// Operations under way at once.
    pub clients: u32,
    /// HTTP/2 connections that they shared.
    pub connections: u32,
    /// How long was measured.
    pub duration_s: f64,
    /// How many keys.
    pub keys: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Which key next.
    pub distribution: &'static str,
    /// Level of reads; `null` where nothing is read.
    pub consistency: Option<&'static str>,
    /// Route of reads; `null` where nothing is read.
    pub route: Option<String>,
    /// Operations due per second; `null`: a closed loop.
    pub rate: Option<u32>,
    /// Operations that succeeded. Of `watch`: events told; of `lock`: hand-overs; of `bulk`: transactions.
    pub ops: u64,
    /// The same per second.
    pub ops_per_s: f64,
    /// Keys that one operation moves.
    pub keys_per_op: u64,
    /// Operations that failed, by kind.
    pub errors: Errors,
    /// Operations that were due and had not begun at the end; `null`: a closed loop.
    pub behind: Option<u64>,
    /// Latency that half of the operations did not exceed; `null`, like all of them, if none succeeded.
    pub p50_ms: Option<f64>,
    /// That 95 % did not exceed.
    pub p95_ms: Option<f64>,
    /// That 99 % did not exceed.
    pub p99_ms: Option<f64>,
    /// That 99.9 % did not exceed.
    pub p999_ms: Option<f64>,
    /// That none exceeded.
    pub max_ms: Option<f64>,
    /// User and system time of all servers; `null` if they were not named.
    pub server_cpu_us_per_op: Option<f64>,
    /// The same of the load itself.
    pub client_cpu_us_per_op: Option<f64>,
    /// Memory of each server at the end, in the order in which they were named.
    pub server_rss_bytes: Vec<u64>,
    /// Bytes that the servers caused to be written to disks; `null` where that cannot be read.
    pub server_write_bytes_per_op: Option<f64>,
    /// Write caches written out by all disks of this machine, whoever asked; `null` where that cannot be
    /// read.
    pub disk_flushes_per_op: Option<f64>,
    /// All latencies.
    #[serde(skip)]
    pub(super) latencies: Latencies,
}

/// One run in proportion to another: above 1, the first has more.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// Operations per second.
    pub throughput: Option<f64>,
    /// Server time per operation.
    pub server_cpu: Option<f64>,
    /// Median latency.
    pub p50: Option<f64>,
    /// Latency that 99 % did not exceed.
    pub p99: Option<f64>,
}

impl Report {
    pub(super) fn new(shared: &Shared, used: &Used) -> Report {
        let Options { workload, driver, load, data, consistency, .. } = &shared.options;
        let (latencies, errors) = shared.recorder.total();
        let ops = latencies.len();
        let at = |quantile: f64| (ops > 0).then(|| millis(latencies.value_at_quantile(quantile)));
        let per_op = |total: f64| (ops > 0).then(|| rounded(total / ops as f64));
        let Used { before, after } = used;
        let reads = workload.reads();
        Report {
            workload: workload.name(),
            driver: driver.name(),
            pipeline: shared.options.is_piped(),
            clients: load.clients,
            connections: shared.options.connections(),
            duration_s: load.duration.as_secs_f64(),
            keys: data.keys,
            value_bytes: data.value_bytes,
            distribution: data.distribution.name(),
            consistency: reads.then(|| level(*driver, consistency.level.name())),
            route: reads.then(|| consistency.route.to_string()),
            rate: load.rate,
            ops,
            ops_per_s: rounded(ops as f64 / load.duration.as_secs_f64()),
            keys_per_op: keys_per_op(&shared.options),
            errors,
            behind: shared.pace.behind(),
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
            server_cpu_us_per_op: after
                .server_cpu
                .zip(before.server_cpu)
                .and_then(|(after, before)| per_op(after.saturating_sub(before).as_secs_f64() * 1e6)),
            client_cpu_us_per_op: per_op((after.own_cpu - before.own_cpu).as_secs_f64() * 1e6),
            server_rss_bytes: after.resident.clone(),
            server_write_bytes_per_op: difference(before.written, after.written).and_then(per_op),
            disk_flushes_per_op: difference(before.flushes, after.flushes).and_then(per_op),
            latencies,
        }
    }

    /// This run in proportion to `other`.
    pub fn to(&self, other: &Report) -> Ratio {
        Ratio {
            throughput: ratio(Some(self.ops_per_s), Some(other.ops_per_s)),
            server_cpu: ratio(self.server_cpu_us_per_op, other.server_cpu_us_per_op),
            p50: ratio(self.p50_ms, other.p50_ms),
            p99: ratio(self.p99_ms, other.p99_ms),
        }
    }
}

/// etcd's name of a level.
fn level(driver: Driver, name: &'static str) -> &'static str {
    if driver == Driver::Etcd && name == "eventual" { "serializable" } else { name }
}

fn keys_per_op(options: &Options) -> u64 {
    match options.workload {
        Workload::Bulk => options.data.batch().min(options.data.keys),
        Workload::Scan => options.data.keys,
        _ => 1,
    }
}

fn difference(before: Option<u64>, after: Option<u64>) -> Option<f64> {
    Some(after?.saturating_sub(before?) as f64)
}

/// To a thousandth.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

fn ratio(this: Option<f64>, other: Option<f64>) -> Option<f64> {
    let (this, other) = (this?, other?);
    (other > 0.0).then(|| rounded(this / other))
}
