//! Arguments of `serve`: every field of [`Config`] as a flag and a `QUORATE_*` variable.
//!
//! Precedence is one merge of TOML tables: the flags (clap lets a flag win over its variable) over the
//! file, over the defaults of [`Config`]. So each field has one reader for its text, wherever the text
//! comes from.

use std::{collections::BTreeSet, fs, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use humantime::parse_duration;
use serde::{Serialize, Serializer};

use super::byte_size::parse as byte_size;
use crate::{
    config::{Config, LogStoreKind, MemberAddr},
    telemetry::{self, LogFormat},
    types::NodeId,
};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Read the configuration from this TOML file; flags and variables win over it.
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the configuration that would be used, as TOML, and do nothing else.
    #[arg(long)]
    pub print_config: bool,
    /// The form of the logs on standard error: human or json.
    #[arg(long, env = "QUORATE_LOG_FORMAT", default_value = "human", value_name = "FORM")]
    pub log_format: LogFormat,
    /// What to log: off, error, warn, info, debug, trace, or filters such as quorate=debug,info.
    #[arg(long, env = telemetry::FILTER_VARIABLE, default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
    /// Threads that serve clients and peers and run Raft; the log and the state write on threads of their
    /// own. One handles a call most cheaply; more handle more calls at once, where the machine has them.
    /// Default: half of the processors, at most 8.
    #[arg(long, env = "QUORATE_THREADS", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=512))]
    pub threads: Option<u16>,
    /// The configuration's fields.
    #[command(flatten)]
    pub fields: ConfigFlags,
}

/// The fields of [`Config`] that were given as flags or variables.
#[derive(Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigFlags {
    /// This member's id: positive, never used again for another member or after its data was lost.
    #[arg(long, env = "QUORATE_ID", value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    /// Where log, state, snapshots and identity live.
    #[arg(long, env = "QUORATE_DATA_DIR", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// A founding member, ID=PEER[,CLIENT] with host:port each; repeat for each member, the same on all of
    /// them. In the variable they are separated by semicolons. Replaces all members of the file.
    #[arg(long = "member", env = "QUORATE_MEMBERS", value_delimiter = ';', value_name = "ID=PEER[,CLIENT]")]
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "member_table")]
    members: Vec<MemberFlag>,
    /// Listen here for peers. Default: the address in this member's own entry.
    #[arg(long, env = "QUORATE_LISTEN_PEER", value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen_peer: Option<String>,
    /// Listen here for clients. Default: the address in this member's own entry.
    #[arg(long, env = "QUORATE_LISTEN_CLIENT", value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen_client: Option<String>,
    /// Dial a member elsewhere than its entry says, ID=HOST:PORT; repeat for each. In the variable they are
    /// separated by semicolons. Replaces those of the file.
    #[arg(long, env = "QUORATE_PEER_DIAL", value_delimiter = ';', value_name = "ID=HOST:PORT")]
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "dial_table")]
    peer_dial: Vec<DialFlag>,
    /// The Raft log's implementation: wal, sled or memory. Fixed when the directory is created.
    #[arg(long, env = "QUORATE_LOG_STORE", value_parser = log_store, value_name = "KIND")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_store: Option<LogStoreKind>,
    #[command(flatten)]
    #[serde(flatten)]
    timing: TimingFlags,
    #[command(flatten)]
    #[serde(flatten)]
    storage: StorageFlags,
    #[command(flatten)]
    limits: LimitFlags,
}

/// Times and clocks.
#[derive(Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Timing")]
struct TimingFlags {
    /// Between a leader's heartbeats; longer than a round trip between members, and at least twice the log's
    /// slowest sync. Default: 50ms.
    #[arg(long, env = "QUORATE_HEARTBEAT", value_parser = parse_duration, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    heartbeat: Option<Duration>,
    /// The least of the random time for which a follower waits, once its leader's lease is over, before it
    /// stands for election. Default: 150ms.
    #[arg(long, env = "QUORATE_ELECTION_TIMEOUT_MIN", value_parser = parse_duration, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    election_timeout_min: Option<Duration>,
    /// The most of it. Also for how long it elects nobody else after it heard from its leader, on which the
    /// leader's lease rests. Default: 350ms.
    #[arg(long, env = "QUORATE_ELECTION_TIMEOUT_MAX", value_parser = parse_duration, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    election_timeout_max: Option<Duration>,
    /// By how much the rates of two members' clocks may differ, as a fraction. Default: 0.05.
    #[arg(long, env = "QUORATE_CLOCK_DRIFT_MAX", value_name = "FRACTION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_drift_max: Option<f64>,
    /// Taken off the lease for scheduling and timers. Default: 50ms.
    #[arg(long, env = "QUORATE_LEASE_MARGIN", value_parser = parse_duration, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    lease_margin: Option<Duration>,
    /// Between a replica's freshness certificates. Default: 100ms.
    #[arg(long, env = "QUORATE_CERTIFICATE_INTERVAL", value_parser = parse_duration, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    certificate_interval: Option<Duration>,
    /// How long a request without a deadline may take. Default: 5s.
    #[arg(long, env = "QUORATE_DEFAULT_TIMEOUT", value_parser = parse_duration, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    default_timeout: Option<Duration>,
    /// No deadline is longer. Default: 1m.
    #[arg(long, env = "QUORATE_TIMEOUT_MAX", value_parser = parse_duration, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    timeout_max: Option<Duration>,
    /// How long a shutdown may take to hand over and drain. Default: 5s.
    #[arg(long, env = "QUORATE_SHUTDOWN_TIMEOUT", value_parser = parse_duration, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    shutdown_timeout: Option<Duration>,
}

/// Disk and memory.
#[derive(Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Storage")]
struct StorageFlags {
    /// Take a snapshot when the log has grown by so many bytes. Default: 64 MiB.
    #[arg(long, env = "QUORATE_SNAPSHOT_LOG_BYTES", value_parser = byte_size::<u64>, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_log_bytes: Option<u64>,
    /// Entries kept in the log behind a snapshot. Default: 10000.
    #[arg(long, env = "QUORATE_LOG_ENTRIES_KEPT", value_name = "ENTRIES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_entries_kept: Option<u64>,
    /// Bytes of recent entries that stay decoded in memory. Default: 16 MiB.
    #[arg(long, env = "QUORATE_ENTRY_CACHE_BYTES", value_parser = byte_size::<u64>, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_cache_bytes: Option<u64>,
    /// Bytes of the state's page cache. Default: 64 MiB.
    #[arg(long, env = "QUORATE_ENGINE_CACHE_BYTES", value_parser = byte_size::<u64>, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_cache_bytes: Option<u64>,
    /// Below so many free bytes on disk, writes that add are refused. Default: 128 MiB.
    #[arg(long, env = "QUORATE_FREE_BYTES_MIN", value_parser = byte_size::<u64>, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    free_bytes_min: Option<u64>,
}

/// Bounds on requests.
#[derive(Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Limits")]
struct LimitFlags {
    /// Bytes of one key. Default: 8 KiB.
    #[arg(long, env = "QUORATE_KEY_BYTES_MAX", value_parser = byte_size::<usize>, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    key_bytes_max: Option<usize>,
    /// Bytes of one value. Default: 1 MiB.
    #[arg(long, env = "QUORATE_VALUE_BYTES_MAX", value_parser = byte_size::<usize>, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes_max: Option<usize>,
    /// Bytes of one request. Default: 1.5 MiB.
    #[arg(long, env = "QUORATE_REQUEST_BYTES_MAX", value_parser = byte_size::<usize>, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    request_bytes_max: Option<usize>,
    /// Operations of one transaction, counted through nesting. Default: 128.
    #[arg(long, env = "QUORATE_TXN_OPS_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    txn_ops_max: Option<usize>,
    /// Depth of nested transactions. Default: 8.
    #[arg(long, env = "QUORATE_TXN_DEPTH_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    txn_depth_max: Option<usize>,
    /// Pairs in one answer of a range read. Default: 10000.
    #[arg(long, env = "QUORATE_RANGE_PAIRS_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    range_pairs_max: Option<usize>,
    /// Bytes in one answer of a range read. Default: 3 MiB.
    #[arg(long, env = "QUORATE_RANGE_BYTES_MAX", value_parser = byte_size::<usize>, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    range_bytes_max: Option<usize>,
    /// Writes waiting on this member. Default: 4096.
    #[arg(long, env = "QUORATE_INFLIGHT_WRITES_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    inflight_writes_max: Option<usize>,
    /// Reads waiting on this member. Default: 8192.
    #[arg(long, env = "QUORATE_INFLIGHT_READS_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    inflight_reads_max: Option<usize>,
    /// Guards that one write may carry. Default: 32.
    #[arg(long, env = "QUORATE_GUARDS_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    guards_max: Option<usize>,
    /// The shortest time to live of a lease. Default: 500ms.
    #[arg(long, env = "QUORATE_LEASE_TTL_MIN", value_parser = parse_duration, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    lease_ttl_min: Option<Duration>,
    /// The longest time to live of a lease. Default: 365days.
    #[arg(long, env = "QUORATE_LEASE_TTL_MAX", value_parser = parse_duration, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    lease_ttl_max: Option<Duration>,
    /// Leases of the cluster at once. Default: 1000000.
    #[arg(long, env = "QUORATE_LEASES_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    leases_max: Option<usize>,
    /// Sessions of the cluster at once. Default: 20000.
    #[arg(long, env = "QUORATE_SESSIONS_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions_max: Option<usize>,
    /// Watches on one stream. Default: 10000.
    #[arg(long, env = "QUORATE_WATCHES_PER_STREAM_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    watches_per_stream_max: Option<usize>,
    /// Watches on this member. Default: 100000.
    #[arg(long, env = "QUORATE_WATCHES_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    watches_max: Option<usize>,
    /// Holders of one lock at once. Default: 100000.
    #[arg(long, env = "QUORATE_LOCK_PERMITS_MAX", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lock_permits_max: Option<u32>,
}

/// `ID=PEER[,CLIENT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MemberFlag {
    id: NodeId,
    addr: MemberAddr,
}

impl FromStr for MemberFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form =
            || format!("{text:?} is not of the form ID=PEER[,CLIENT], e.g. 1=10.0.0.1:7501,10.0.0.1:7401");
        let (id, addresses) = text.split_once('=').ok_or_else(form)?;
        let id = id.trim().parse().map_err(|_| form())?;
        let (peer, client) = addresses.split_once(',').unwrap_or((addresses, ""));
        if peer.is_empty() || client.contains(',') {
            return Err(form());
        }
        Ok(MemberFlag { id, addr: MemberAddr { peer: peer.trim().into(), client: client.trim().into() } })
    }
}

/// `ID=HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DialFlag {
    id: NodeId,
    address: String,
}

impl FromStr for DialFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not of the form ID=HOST:PORT");
        let (id, address) = text.split_once('=').ok_or_else(form)?;
        let id = id.trim().parse().map_err(|_| form())?;
        if address.contains(':') { Ok(DialFlag { id, address: address.trim().into() }) } else { Err(form()) }
    }
}

fn member_table<S: Serializer>(members: &[MemberFlag], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(members.iter().map(|member| (member.id.to_string(), &member.addr)))
}

fn dial_table<S: Serializer>(dials: &[DialFlag], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(dials.iter().map(|dial| (dial.id.to_string(), &dial.address)))
}

fn log_store(text: &str) -> Result<LogStoreKind, String> {
    match text {
        "wal" => Ok(LogStoreKind::Wal),
        "sled" => Ok(LogStoreKind::Sled),
        "memory" => Ok(LogStoreKind::Memory),
        other => Err(format!("{other:?} is not a log store: wal, sled or memory")),
    }
}

impl ServeArgs {
    /// The configuration: flags over variables over the file over the defaults. Not validated.
    ///
    /// # Errors
    /// One line: what is wrong, and where.
    pub fn load(&self) -> Result<Config, String> {
        let mut table = match &self.config {
            Some(path) => {
                let fail = |error: String| format!("configuration file {}: {error}", path.display());
                let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
                read_table(&text).map_err(fail)?
            }
            None => toml::Table::new(),
        };
        self.fields.check()?;
        let fail = |error: &dyn std::fmt::Display| format!("configuration: {}", one_line(&error.to_string()));
        let flags = toml::Table::try_from(&self.fields).map_err(|error| fail(&error))?;
        overlay(&mut table, flags);
        // By way of text, since only there keys of tables, which are strings, are read as member ids.
        let merged = toml::to_string(&table).map_err(|error| fail(&error))?;
        toml::from_str(&merged).map_err(|error| fail(&error.message()))
    }
}

impl ConfigFlags {
    /// A member named twice is a slip of the hand: neither address is more right than the other.
    fn check(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        match self.members.iter().find(|member| !seen.insert(member.id)) {
            Some(member) => Err(format!("configuration: member {} is given twice", member.id)),
            None => Ok(()),
        }
    }
}

/// Reads the file by itself first, so that its errors have a line number.
fn read_table(text: &str) -> Result<toml::Table, String> {
    toml::from_str::<Config>(text).map_err(|error| located(text, &error))?;
    toml::from_str(text).map_err(|error| located(text, &error))
}

fn located(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let at = line.map_or(String::new(), |line| format!("line {line}: "));
    let why = one_line(error.message());
    // Of the numbers most are sizes, and on the command line those have units.
    let number = why.contains("expected u64") || why.contains("expected usize");
    let hint = if number { "; sizes are in bytes, e.g. 67108864" } else { "" };
    format!("{at}{why}{hint}")
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Tables with one entry per member: an entry of the file must not slip in among those of the command line.
const PER_MEMBER: [&str; 2] = ["members", "peer_dial"];

/// Lays `over` on `table`: what it has wins; tables are merged, but for those per member.
fn overlay(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(over))
                if !PER_MEMBER.contains(&key.as_str()) =>
            {
                overlay(below, over)
            }
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
