//! Arguments: what can be typed, as clap reads it. Meaning is added by the commands; examples are in
//! `help`.

use std::{ffi::OsString, num::NonZeroU64, os::unix::ffi::OsStringExt, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};

use super::{
    bench_command::BenchArgs, check_command::CheckArgs, help, serve_args::ServeArgs,
    torture_command::TortureArgs,
};
use crate::types::{Consistency, Guard, Level, Revision, Route, SortBy};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, about = help::ABOUT, after_help = help::TOP)]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// What all commands understand.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Whom to ask, at which consistency, and how to print the answer. One line of help each; `scope` says
/// which command has which.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Client options")]
pub struct GlobalArgs {
    /// Members [env: QUORATE_ENDPOINTS] [default: 127.0.0.1:7401,…2,…3]
    #[arg(long, global = true, env = "QUORATE_ENDPOINTS", value_delimiter = ',', value_name = "HOST:PORT")]
    #[arg(default_value = "127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403")]
    #[arg(hide_default_value = true, hide_env = true)]
    pub endpoints: Vec<String>,
    /// Whether they were typed, rather than taken from the variable or the default.
    #[arg(skip)]
    pub endpoints_typed: bool,
    /// What a read must see: `get --help` [default: linearizable]
    #[arg(long, global = true, value_enum, default_value = "linearizable", value_name = "LEVEL")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub consistency: LevelName,
    /// bounded: how old the answer may be at most [default: 500ms]
    #[arg(long, global = true, value_parser = positive, value_name = "AGE")]
    pub max_age: Option<Duration>,
    /// session: the highest revision that was seen before
    #[arg(long, global = true, value_name = "REVISION")]
    pub min_revision: Option<Revision>,
    /// Who serves a read: any, leader, follower, or an id
    #[arg(long, global = true, default_value = "any", value_name = "ROUTE")]
    pub route: Route,
    /// For the whole command, over all attempts
    #[arg(long, global = true, value_parser = positive, value_name = "TIME", default_value = "5s")]
    pub timeout: Duration,
    /// The output's form: simple, json or table
    #[arg(short, long, global = true, value_enum, default_value = "simple", value_name = "FORM")]
    #[arg(hide_possible_values = true)]
    pub output: OutputForm,
    /// Say what proves the answer; JSON always does
    #[arg(long, global = true)]
    pub evidence: bool,
    /// The request's name in the members' logs [default: random]
    #[arg(long, global = true, value_name = "ID")]
    pub request_id: Option<String>,
}

/// A time, which must not be 0.
fn positive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("it must be longer than 0".into()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// How old a `bounded` answer may be, if nothing else is said.
const MAX_AGE: Duration = Duration::from_millis(500);

impl GlobalArgs {
    /// Level and route of a read.
    ///
    /// # Errors
    /// If the level and its parameter do not fit.
    pub fn consistency(&self) -> Result<Consistency, String> {
        let name = self.consistency;
        if self.max_age.is_some() && name != LevelName::Bounded {
            return Err("--max-age needs --consistency bounded".into());
        }
        if self.min_revision.is_some() && name != LevelName::Session {
            return Err("--min-revision needs --consistency session".into());
        }
        if name == LevelName::LeaderLocal && self.route == Route::Follower {
            return Err("--consistency leader-local contradicts --route follower".into());
        }
        let level = match name {
            LevelName::Linearizable => Level::Linearizable,
            LevelName::Log => Level::Log,
            LevelName::Lease => Level::Lease,
            LevelName::LeaseOrIndex => Level::LeaseOrIndex,
            LevelName::LeaderLocal => Level::LeaderLocal,
            LevelName::Bounded => Level::Bounded { max_age: self.max_age.unwrap_or(MAX_AGE) },
            LevelName::Session => Level::Session { min_revision: self.min_revision.unwrap_or(0) },
            LevelName::Eventual => Level::Eventual,
        };
        Ok(Consistency { level, route: self.route })
    }
}

/// The levels, as they are typed. docs/consistency.md has promise, mechanism and failure of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LevelName {
    /// Every write acknowledged before the read began; no clock is trusted.
    Linearizable,
    /// The same, by sending a marker through the log.
    Log,
    /// Linearizable if the members' clocks run about equally fast.
    Lease,
    /// `lease`, or a quorum round when the lease has run out.
    LeaseOrIndex,
    /// Whatever the member that believes to lead has applied.
    LeaderLocal,
    /// At most --max-age old (500 ms if not given), provably.
    Bounded,
    /// At least at --min-revision (0 if not given: nothing seen yet): read your writes.
    Session,
    /// Whatever a member has applied; also without a quorum.
    Eventual,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// For people and pipes: values, raw.
    #[default]
    Simple,
    /// For programs: JSON, one object or array per command (scan: one object per line).
    Json,
    /// For people: a table.
    Table,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a member of a cluster.
    #[command(after_help = help::SERVE)]
    Serve(Box<ServeArgs>),
    /// Read a key, or a range of keys.
    #[command(after_help = help::GET)]
    Get(GetArgs),
    /// Set a key.
    #[command(after_help = help::PUT)]
    Put(PutArgs),
    /// Delete a key, or a range of keys.
    #[command(after_help = help::DEL)]
    Del(DelArgs),
    /// Compare, then do one of two lists of operations, all at one revision.
    #[command(after_help = help::TXN)]
    Txn(TxnArgs),
    /// Stream a range of any size, all at one revision.
    #[command(after_help = help::SCAN)]
    Scan(ScanArgs),
    /// Print what happens to keys, or run a command for each event.
    #[command(after_help = help::WATCH)]
    Watch(WatchArgs),
    /// Leases: keys that go when their owner does.
    #[command(subcommand, after_help = help::LEASE)]
    Lease(LeaseCommand),
    /// Hold a lock while a command runs; or look into its queue.
    #[command(after_help = help::LOCK)]
    Lock(LockArgs),
    /// Stand for election, and lead while a command runs.
    #[command(after_help = help::ELECT)]
    Elect(ElectArgs),
    /// Print who leads an election, and every change.
    #[command(after_help = help::OBSERVE)]
    Observe(ObserveArgs),
    /// Forget what was superseded at or below a revision.
    #[command(after_help = help::COMPACT)]
    Compact(CompactArgs),
    /// How each member is: role, position, lag, sizes.
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// The members of the cluster, as one of them knows it.
    #[command(after_help = help::MEMBERS)]
    Members,
    /// Members: the same as `members`.
    #[command(subcommand)]
    Member(MemberCommand),
    /// A hash of each member's state: equal states have equal hashes.
    #[command(after_help = help::HASH)]
    Hash(HashArgs),
    /// Say which promises a recorded history shows kept, and which broken.
    #[command(after_help = help::CHECK)]
    Check(Box<CheckArgs>),
    /// Torture a cluster of real processes, and say which promises were kept.
    #[command(after_help = help::TORTURE)]
    Torture(TortureArgs),
    /// Measure a cluster under load: throughput, latencies, what it costs.
    #[command(after_help = help::BENCH, args_override_self = true)]
    Bench(Box<BenchArgs>),
    /// A completion script for a shell.
    #[command(after_help = help::COMPLETION)]
    Completion(CompletionArgs),
}

/// Commands about members.
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// The members of the cluster, as one of them knows it.
    #[command(after_help = help::MEMBERS)]
    List,
}

/// Commands about leases.
#[derive(Debug, Subcommand)]
pub enum LeaseCommand {
    /// Grant a lease, and print its id.
    #[command(after_help = help::LEASE)]
    Grant(LeaseGrantArgs),
    /// End a lease: its keys go in one revision.
    Revoke {
        /// The lease.
        #[arg(value_name = "ID")]
        id: u64,
    },
    /// Renew a lease until it is interrupted; exit code 1 if the lease has ended.
    KeepAlive(KeepAliveArgs),
    /// What is left of a lease, and which keys it has.
    Ttl(LeaseTtlArgs),
    /// All leases, sessions among them.
    List,
}

/// Arguments of `lock`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct LockArgs {
    /// `inspect`, or nothing.
    #[command(subcommand)]
    pub command: Option<LockCommand>,
    /// The lock. One that is called like a subcommand: behind an option, as in `lock --ttl 10s inspect`.
    #[arg(value_name = "NAME", required = true)]
    pub name: Option<OsString>,
    /// Hold it together with others who share it.
    #[arg(long, conflicts_with = "permits")]
    pub shared: bool,
    /// Let so many hold it at once.
    #[arg(long, value_name = "N")]
    pub permits: Option<u32>,
    /// Told to whoever inspects the lock.
    #[arg(long, value_name = "VALUE")]
    pub value: Option<OsString>,
    /// How to hold it.
    #[command(flatten)]
    pub hold: HoldArgs,
}

/// What can be done with a lock besides holding it.
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// Who holds a lock, and who waits; exit code 1 if nobody does.
    Inspect {
        /// The lock.
        #[arg(value_name = "NAME")]
        name: OsString,
    },
}

/// How a lock is held.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// How long it outlives its holder at most.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10s", value_name = "TIME")]
    pub ttl: Duration,
    /// How long to wait for it; 0s: not at all [default: for ever]
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    pub wait: Option<Duration>,
    /// What to run meanwhile; nothing: hold it until a signal, and print key and token.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Arguments of `elect`.
#[derive(Debug, Args)]
pub struct ElectArgs {
    /// The election.
    #[arg(value_name = "NAME")]
    pub name: OsString,
    /// What is told of the leader: its address, for example.
    #[arg(value_name = "VALUE")]
    pub value: OsString,
    /// How to lead.
    #[command(flatten)]
    pub hold: HoldArgs,
}

/// Arguments of `observe`.
#[derive(Debug, Args)]
pub struct ObserveArgs {
    /// The election.
    #[arg(value_name = "NAME")]
    pub name: OsString,
    /// Only changes after this revision; 0: the present leader first.
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    pub after: Revision,
}

/// Arguments of `lease grant`.
#[derive(Debug, Args)]
pub struct LeaseGrantArgs {
    /// How long it lives without a keep-alive.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "60s", value_name = "TIME")]
    pub ttl: Duration,
    /// Its id; 0: a random one is drawn.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "ID")]
    pub id: u64,
}

/// Arguments of `lease keep-alive`.
#[derive(Debug, Args)]
pub struct KeepAliveArgs {
    /// The lease.
    #[arg(value_name = "ID")]
    pub id: u64,
    /// Renew it once.
    #[arg(long)]
    pub once: bool,
}

/// Arguments of `lease ttl`.
#[derive(Debug, Args)]
pub struct LeaseTtlArgs {
    /// The lease.
    #[arg(value_name = "ID")]
    pub id: u64,
    /// Tell its keys too.
    #[arg(long)]
    pub keys: bool,
}

/// What a write must hold to be done.
#[derive(Debug, Default, Args)]
pub struct GuardArgs {
    /// Refuse the write (exit code 1) unless KEY was created at revision TOKEN: the fencing token that
    /// came with a lock. May be given more than once.
    #[arg(long = "guard", value_parser = OsStringValueParser::new().try_map(guard), value_name = "KEY:TOKEN")]
    pub guards: Vec<Guard>,
}

/// A key is any bytes. The token is behind the last colon, since keys may have some.
fn guard(text: OsString) -> Result<Guard, String> {
    let mut key = text.into_vec();
    let colon = key.iter().rposition(|byte| *byte == b':').filter(|at| *at > 0);
    let token = colon.map(|at| key.split_off(at));
    let token = token.and_then(|token| str::from_utf8(&token[1..]).ok()?.parse().ok());
    let fencing_token = token.ok_or("it must be KEY:TOKEN, the token a number")?;
    Ok(Guard { owner_key: key.into(), fencing_token })
}

/// Which keys: one, or a range.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// The key; with --prefix or --range-end the beginning of a range. May be empty in a range.
    #[arg(value_name = "KEY")]
    pub key: OsString,
    /// All keys that begin with KEY.
    #[arg(long, conflicts_with = "range_end")]
    pub prefix: bool,
    /// All keys from KEY up to this one, which is not included; empty: no upper bound.
    #[arg(long, value_name = "END")]
    pub range_end: Option<OsString>,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Which keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// The state at this revision; 0: the newest.
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    pub revision: Revision,
    /// At most so many pairs; 0: as many as one answer may hold.
    #[arg(long, default_value_t = 0, value_name = "PAIRS")]
    pub limit: u64,
    /// What to order by: key, version, create, mod or value.
    #[arg(long, value_enum, default_value = "key", value_name = "FIELD", hide_possible_values = true)]
    pub sort_by: SortName,
    /// From the highest down.
    #[arg(long)]
    pub desc: bool,
    /// Leave the values out.
    #[arg(long)]
    pub keys_only: bool,
    /// Only count.
    #[arg(long, conflicts_with = "keys_only")]
    pub count_only: bool,
    /// Simple output: exactly the value's bytes, without a newline behind it.
    #[arg(long, conflicts_with_all = ["prefix", "range_end", "keys_only", "count_only"])]
    pub raw: bool,
    /// Only keys last changed at or after this revision.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
    pub min_mod_revision: Revision,
    /// Only keys last changed at or before this revision.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
    pub max_mod_revision: Revision,
    /// Only keys created at or after this revision.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
    pub min_create_revision: Revision,
    /// Only keys created at or before this revision.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
    pub max_create_revision: Revision,
}

/// What to order a range by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortName {
    /// Bytewise order of keys.
    Key,
    /// How often a key was put.
    Version,
    /// The revision that created it.
    Create,
    /// The revision that last changed it.
    Mod,
    /// Bytewise order of values.
    Value,
}

impl From<SortName> for SortBy {
    fn from(name: SortName) -> SortBy {
        match name {
            SortName::Key => SortBy::Key,
            SortName::Version => SortBy::Version,
            SortName::Create => SortBy::CreateRevision,
            SortName::Mod => SortBy::ModRevision,
            SortName::Value => SortBy::Value,
        }
    }
}

/// Arguments of `put`.
#[derive(Debug, Args)]
pub struct PutArgs {
    /// The key.
    pub key: OsString,
    /// The value; `-`: all bytes of standard input.
    pub value: OsString,
    /// Delete the key when this lease ends.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "ID")]
    pub lease: u64,
    /// Print the pair that was replaced.
    #[arg(long)]
    pub prev_kv: bool,
    /// What must hold.
    #[command(flatten)]
    pub guards: GuardArgs,
}

/// Arguments of `del`.
#[derive(Debug, Args)]
pub struct DelArgs {
    /// Which keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Print the pairs that were deleted.
    #[arg(long)]
    pub prev_kv: bool,
    /// What must hold.
    #[command(flatten)]
    pub guards: GuardArgs,
}

/// Arguments of `txn`.
#[derive(Debug, Args)]
pub struct TxnArgs {
    /// The transaction; `-` or nothing: standard input.
    #[arg(value_name = "TXN")]
    pub text: Option<String>,
    /// The transaction is JSON.
    #[arg(long)]
    pub json: bool,
    /// What must hold.
    #[command(flatten)]
    pub guards: GuardArgs,
}

/// Arguments of `scan`.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// All keys that begin with this; nothing: all keys.
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub prefix: OsString,
    /// Nothing else: PREFIX is one without it too. For symmetry with get.
    #[arg(long = "prefix", conflicts_with = "range_end", hide = true)]
    pub is_prefix: bool,
    /// All keys from PREFIX up to this one, which is not included.
    #[arg(long, value_name = "END")]
    pub range_end: Option<OsString>,
    /// Stop after so many pairs.
    #[arg(long, value_name = "PAIRS")]
    pub limit: Option<NonZeroU64>,
    /// The state at this revision; 0: the newest when the scan begins.
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    pub revision: Revision,
    /// Leave the values out.
    #[arg(long)]
    pub keys_only: bool,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Which keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Begin with this revision, which may be in the future; 0: with what comes next.
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    pub from_revision: Revision,
    /// Tell what was there before too, as long as it is not compacted.
    #[arg(long)]
    pub prev_kv: bool,
    /// Leave out keys being set.
    #[arg(long)]
    pub no_put: bool,
    /// Leave out keys being deleted.
    #[arg(long)]
    pub no_delete: bool,
    /// After so much silence, tell up to which revision everything was told.
    #[arg(long, value_parser = positive, value_name = "TIME")]
    pub progress: Option<Duration>,
    /// Run this for each event instead of printing it, one after the other.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Arguments of `compact`.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// What was superseded at or below it is forgotten; reads below it fail.
    pub revision: Revision,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show instead where each member's time went: how long each stage of operations took.
    #[arg(long)]
    pub stages: bool,
}

/// Arguments of `hash`.
#[derive(Debug, Args)]
pub struct HashArgs {
    /// The state at this revision; 0: what each member has applied.
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    pub revision: Revision,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// Which shell.
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests;
