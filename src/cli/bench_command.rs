//! `bench`: arguments, a live line, and what came of it.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    Failure, Outcome,
    args::{GlobalArgs, OutputForm},
    byte_size, output,
};
use crate::{
    bench::{self, Child, Data, Distribution, Driver, Live, Load, Options, Ratio, Report, Workload},
    types::Route,
};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What clients do.
    #[arg(value_enum)]
    pub workload: WorkloadName,
    /// Operations under way at once; of watch: watchers.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    #[arg(value_name = "N")]
    pub clients: u32,
    /// HTTP/2 connections that they share.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    #[arg(value_name = "N")]
    pub connections: u32,
    /// How long is measured.
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub duration: Duration,
    /// How long clients work before that.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub warmup: Duration,
    /// Bytes of a value, at most 64 MiB.
    #[arg(long, default_value = "256", value_parser = value_size, value_name = "BYTES")]
    pub value_size: usize,
    /// Keys that are used, as bench/00000000 and so on.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    #[arg(value_name = "N")]
    pub keys: u64,
    /// Which key is next.
    #[arg(long, value_enum, default_value = "uniform", value_name = "HOW")]
    pub distribution: DistributionName,
    /// Open loop: so many operations are due per second, and latency counts from then.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000), value_name = "PER SECOND")]
    pub rate: Option<u32>,
    /// The keys are there already: put none before a workload that reads.
    #[arg(long)]
    pub loaded: bool,
    /// Processes of the servers, if they run on this machine: what they use is measured.
    #[arg(long, value_delimiter = ',', value_name = "PID,…")]
    pub server_pids: Vec<u32>,
    /// Repeat what failed, with exactly-once sessions, as applications do; else every failure is counted.
    #[arg(long, conflicts_with_all = ["plain", "etcd"])]
    pub retry: bool,
    /// Bare gRPC calls, without what the Rust client does around them (put, get, mixed, txn, bulk).
    #[arg(long)]
    pub plain: bool,
    /// Through one stream for each connection, which its clients share, rather than as calls of their own
    /// (put, get, mixed, txn).
    #[arg(long, conflicts_with = "etcd")]
    pub pipeline: bool,
    /// Bare gRPC calls, but to an etcd at these addresses.
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,…")]
    #[arg(conflicts_with_all = ["plain", "against_noop"])]
    pub etcd: Vec<String>,
    /// Measure a server that does nothing too, and compare (put, get, mixed, txn, pipeline).
    #[arg(long)]
    pub against_noop: bool,
    /// Threads of the load.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64), value_name = "N")]
    pub threads: u8,
    /// Write a page with the curve of latencies.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorkloadName {
    /// Put a key.
    Put,
    /// Get a key, at --consistency over --route.
    Get,
    /// Nine gets, one put.
    Mixed,
    /// Compare that a key is there, and put it.
    Txn,
    /// Hand one lock over: from its release to the next holder.
    Lock,
    /// One put, which all clients watch: from the put to each of them.
    Watch,
    /// Stream all keys.
    Scan,
    /// Put a hundred keys in one transaction.
    Bulk,
    /// Put a key through --pipeline.
    Pipeline,
    /// Grant a lease, which stays for two minutes.
    Lease,
    /// Be the server that does nothing, until standard input ends.
    #[value(hide = true)]
    Noop,
}

impl WorkloadName {
    fn workload(self) -> Option<Workload> {
        Some(match self {
            WorkloadName::Put => Workload::Put,
            WorkloadName::Get => Workload::Get,
            WorkloadName::Mixed => Workload::Mixed,
            WorkloadName::Txn => Workload::Txn,
            WorkloadName::Lock => Workload::Lock,
            WorkloadName::Watch => Workload::Watch,
            WorkloadName::Scan => Workload::Scan,
            WorkloadName::Bulk => Workload::Bulk,
            WorkloadName::Pipeline => Workload::Pipeline,
            WorkloadName::Lease => Workload::Lease,
            WorkloadName::Noop => return None,
        })
    }
}

/// Which key is next.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DistributionName {
    /// Each as often as any other.
    Uniform,
    /// A few much more often, as in YCSB.
    Zipf,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match duration.as_millis() {
        100..=86_400_000 => Ok(duration),
        _ => Err("it must be between 100ms and 1day".to_owned()),
    }
}

fn value_size(text: &str) -> Result<usize, String> {
    match byte_size::parse(text)? {
        bytes if bytes <= 64 << 20 => Ok(bytes),
        bytes => Err(format!("{bytes} bytes are more than 64MiB")),
    }
}

impl BenchArgs {
    fn options(&self, workload: Workload, global: &GlobalArgs) -> Result<Options, Failure> {
        let etcd = !self.etcd.is_empty();
        if etcd && global.endpoints_typed {
            return Err(Failure::Usage("--etcd and --endpoints contradict each other".into()));
        }
        if self.against_noop && !workload.is_small() {
            return Err(Failure::Usage(format!(
                "--against-noop is for put, get, mixed, txn and pipeline, not for {workload}"
            )));
        }
        Ok(Options {
            workload,
            driver: match (etcd, self.plain, self.retry) {
                (true, ..) => Driver::Etcd,
                (_, true, _) => Driver::Plain,
                (.., true) => Driver::Retrying,
                _ => Driver::Rust,
            },
            pipeline: self.pipeline,
            endpoints: if etcd { self.etcd.clone() } else { global.endpoints.clone() },
            load: Load {
                clients: self.clients,
                connections: self.connections,
                threads: self.threads.into(),
                duration: self.duration,
                warmup: self.warmup,
                rate: self.rate,
                timeout: global.timeout,
            },
            data: Data {
                keys: self.keys,
                value_bytes: self.value_size,
                distribution: match self.distribution {
                    DistributionName::Uniform => Distribution::Uniform,
                    DistributionName::Zipf => Distribution::Zipf,
                },
                loaded: self.loaded,
            },
            consistency: global.consistency().map_err(Failure::Usage)?,
            server_pids: self.server_pids.clone(),
        })
    }
}

/// `bench`
pub(super) async fn bench(
    args: BenchArgs,
    global: &GlobalArgs,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let Some(workload) = args.workload.workload() else { return noop(&args, out).await };
    let options = args.options(workload, global)?;
    let page = args.html.as_ref().map(writable).transpose()?;
    let report = measure(options.clone(), "").await?;
    let compared = match args.against_noop {
        true => Some(against_noop(options, &report).await?),
        false => None,
    };
    if let Some(mut page) = page {
        let title = format!("quorate bench {workload}, {} clients", report.clients);
        let mut runs = vec![("cluster", &report)];
        runs.extend(compared.iter().map(|compared| ("nothing", &compared.noop)));
        let ratio = compared.as_ref().map(|compared| &compared.ratios);
        page.write_all(bench::page(&title, &runs, ratio).as_bytes())?;
    }
    let done = Outcome::done_if(report.ops > 0);
    match global.output {
        OutputForm::Json => output::json(out, &Answer { report: &report, compared: compared.as_ref() })?,
        _ => print(&report, compared.as_ref(), out)?,
    }
    Ok(done)
}

/// The file that `--html` names: not to be found out at the end of a long run.
fn writable(path: &PathBuf) -> Result<fs::File, Failure> {
    let refuse = |error| Failure::Usage(format!("cannot write {}: {error}", path.display()));
    fs::File::create(path).map_err(refuse)
}

/// Be the server that does nothing.
async fn noop(args: &BenchArgs, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut said = Ok(());
    let announce = |address| said = writeln!(out, "{address}").and_then(|()| out.flush());
    bench::serve(args.value_size, announce).await.map_err(Failure::Bench)?;
    said?;
    Ok(Outcome::Done)
}

/// A run beside one against a server that does nothing.
#[derive(Serialize)]
struct Compared {
    noop: Report,
    ratios: Ratio,
}

/// The JSON object.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(flatten)]
    compared: Option<&'a Compared>,
}

async fn against_noop(mut options: Options, report: &Report) -> Result<Compared, Failure> {
    let value_bytes = options.data.value_bytes;
    let child = tokio::task::spawn_blocking(move || Child::start(value_bytes)).await;
    let lost = |error: tokio::task::JoinError| Failure::Print(error.into());
    let child = child.map_err(lost)?.map_err(Failure::Bench)?;
    options.endpoints = vec![child.address().to_owned()];
    options.server_pids = vec![child.pid()];
    options.data.loaded = true;
    options.consistency.route = Route::Any;
    let noop = measure(options, "nothing: ").await?;
    Ok(Compared { ratios: report.to(&noop), noop })
}

async fn measure(options: Options, what: &'static str) -> Result<Report, Failure> {
    let progress = Progress::new(&options, what);
    let in_place = progress.in_place;
    let report = bench::run(options, move |live| progress.tell(live)).await;
    if in_place {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    report.map_err(Failure::Bench)
}

/// How a run stands, on standard error: a line that is written over in a terminal, now and then a new one
/// elsewhere.
struct Progress {
    what: &'static str,
    whole: Duration,
    in_place: bool,
    told: Mutex<Instant>,
}

/// Between two lines where nobody looks.
const PAUSE: Duration = Duration::from_secs(5);

impl Progress {
    fn new(options: &Options, what: &'static str) -> Progress {
        let whole = options.load.warmup + options.load.duration;
        Progress { what, whole, in_place: io::stderr().is_terminal(), told: Mutex::new(Instant::now()) }
    }

    fn tell(&self, live: &Live) {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !self.in_place && told.elapsed() < PAUSE {
            return;
        }
        *told = Instant::now();
        let Live { elapsed, measuring, ops_per_s, p99_ms, errors } = live;
        let (elapsed, whole) = (elapsed.as_secs_f64(), self.whole.as_secs_f64());
        let warming = if *measuring { "" } else { " (warm-up)" };
        let what = self.what;
        let line = format!(
            "{what}{elapsed:.0}/{whole:.0}s{warming} · {ops_per_s:.0} ops/s · p99 {p99_ms:.2} ms · \
             {errors} errors"
        );
        let _ = match self.in_place {
            true => write!(io::stderr(), "\r\x1b[K{line}"),
            false => writeln!(io::stderr(), "{line}"),
        };
    }
}

fn print(report: &Report, compared: Option<&Compared>, out: &mut dyn Write) -> io::Result<()> {
    let columns: Vec<_> = std::iter::once(report).chain(compared.map(|compared| &compared.noop)).collect();
    let mut rows = rows(&columns);
    if let Some(Compared { ratios, .. }) = compared {
        let Ratio { throughput, server_cpu, p50, p99 } = ratios;
        for (name, ratio) in [("ops/s", throughput), ("p50", p50), ("p99", p99), ("server CPU", server_cpu)] {
            let row = rows.iter_mut().find(|row| row.first().is_some_and(|first| first.starts_with(name)));
            row.into_iter().for_each(|row| row.push(number(*ratio, "")));
        }
    }
    let Report { workload, clients, connections, driver, pipeline, .. } = report;
    let streams = if *pipeline { ", pipelined" } else { "" };
    let head =
        format!("{workload}, {clients} clients on {connections} connections, driver {driver}{streams}");
    writeln!(out, "{head}")?;
    let heads = if compared.is_some() { &["", "CLUSTER", "NOTHING", "RATIO"][..] } else { &["", "RUN"][..] };
    writeln!(out, "{}", output::table(heads, rows.into_iter()))
}

/// The lines of the table: a name, and a cell for each run.
fn rows(runs: &[&Report]) -> Vec<Vec<String>> {
    let row = |name: &str, cell: &dyn Fn(&Report) -> String| {
        std::iter::once(name.to_owned()).chain(runs.iter().map(|run| cell(run))).collect()
    };
    let mut rows: Vec<Vec<String>> = vec![
        row("operations", &|run| run.ops.to_string()),
        row("ops/s", &|run| format!("{:.0}", run.ops_per_s)),
        row("p50", &|run| number(run.p50_ms, " ms")),
        row("p95", &|run| number(run.p95_ms, " ms")),
        row("p99", &|run| number(run.p99_ms, " ms")),
        row("p99.9", &|run| number(run.p999_ms, " ms")),
        row("max", &|run| number(run.max_ms, " ms")),
        row("server CPU per op", &|run| number(run.server_cpu_us_per_op, " µs")),
        row("client CPU per op", &|run| number(run.client_cpu_us_per_op, " µs")),
        row("server memory", &memory),
        row("written per op", &|run| number(run.server_write_bytes_per_op, " B")),
        row("disk flushes per op", &|run| number(run.disk_flushes_per_op, "")),
        row("errors", &errors),
    ];
    if runs.iter().any(|run| run.behind.is_some()) {
        let behind = |run: &Report| run.behind.map_or("-".to_owned(), |count| count.to_string());
        rows.push(row("due, not begun", &behind));
    }
    rows
}

fn number(value: Option<f64>, unit: &str) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}{unit}"))
}

fn memory(run: &Report) -> String {
    let sizes: Vec<_> = run.server_rss_bytes.iter().map(|bytes| output::size(*bytes)).collect();
    if sizes.is_empty() { "-".to_owned() } else { sizes.join(", ") }
}

fn errors(run: &Report) -> String {
    let counts: Vec<_> = run.errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}
