//! Everything that can be set about a member, in one documented struct. Precedence on the command line:
//! flags, then `QUORATE_*` variables, then the file (TOML), then the defaults here.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    types::{Limits, NodeId},
};

/// A founding member's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberAddr {
    /// Where its peers reach it, `host:port`.
    pub peer: String,
    /// Where clients reach it, `host:port`; empty if it listens for none.
    #[serde(default)]
    pub client: String,
}

/// Which implementation keeps the Raft log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStoreKind {
    /// A write-ahead log in segments, one `fdatasync` per group of appends.
    #[default]
    Wal,
    /// sled, with a `sync_data` of its own file behind each flush. Slower: docs/adr.
    Sled,
    /// Memory: nothing survives the process. For tests.
    Memory,
}

/// One member's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This member's id: positive, a key of `members`, never used again for another member or after its data
    /// was lost.
    pub id: NodeId,
    /// Where log, state, snapshots and identity live. Created if missing.
    pub data_dir: PathBuf,
    /// The founding members. Must be the same on each of them.
    pub members: BTreeMap<NodeId, MemberAddr>,
    /// Listen here for peers; empty: the port of this member's own entry in `members`, on its host.
    pub listen_peer: String,
    /// Listen here for clients; empty: as `members` says; if that is empty too, no listener for clients.
    pub listen_client: String,
    /// Dial these members elsewhere than `members` says: through a proxy or an address translation.
    pub peer_dial: BTreeMap<NodeId, String>,
    /// The Raft log's implementation. Fixed when the directory is created.
    pub log_store: LogStoreKind,

    /// Between a leader's heartbeats. Longer than a round trip between members, since a heartbeat that is not
    /// answered within it is lost; at least twice the slowest sync of the log (hazard H6).
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// A follower that heard nothing for `election_timeout_max`, which its leader's lease may last, and then
    /// for a random time between this and `election_timeout_max`, asks for votes.
    #[serde(with = "humantime_serde")]
    pub election_timeout_min: Duration,
    /// See `election_timeout_min`. It is also what this member promises its leader: for so long after it
    /// heard from it, it elects nobody else. The shortest promise bounds the leader's lease
    /// (docs/runbook.md, "Change the timeouts").
    #[serde(with = "humantime_serde")]
    pub election_timeout_max: Duration,
    /// By how much the rates of two members' clocks may differ, as a fraction (ε). Shortens the lease.
    pub clock_drift_max: f64,
    /// Taken off the lease besides, for scheduling and timer granularity.
    #[serde(with = "humantime_serde")]
    pub lease_margin: Duration,
    /// Between a replica's requests for a freshness certificate.
    #[serde(with = "humantime_serde")]
    pub certificate_interval: Duration,

    /// How long a request without a deadline may take.
    #[serde(with = "humantime_serde")]
    pub default_timeout: Duration,
    /// No deadline is longer than this.
    #[serde(with = "humantime_serde")]
    pub timeout_max: Duration,
    /// How long a shutdown may take to hand over leadership and drain.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,

    /// Take a snapshot when the log grew by this many bytes since the last one, or by the size of the last
    /// one if that is more.
    pub snapshot_log_bytes: u64,
    /// Entries kept in the log behind a snapshot, for followers that are a little late.
    pub log_entries_kept: u64,
    /// Bytes of recent entries that stay decoded in memory.
    pub entry_cache_bytes: usize,
    /// Bytes of sled's page cache.
    pub engine_cache_bytes: u64,
    /// Below so many free bytes, writes that add are refused.
    pub free_bytes_min: u64,

    /// Bounds on requests.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            id: 0,
            data_dir: PathBuf::new(),
            members: BTreeMap::new(),
            listen_peer: String::new(),
            listen_client: String::new(),
            peer_dial: BTreeMap::new(),
            log_store: LogStoreKind::default(),
            heartbeat: Duration::from_millis(50),
            election_timeout_min: Duration::from_millis(150),
            election_timeout_max: Duration::from_millis(350),
            clock_drift_max: 0.05,
            lease_margin: Duration::from_millis(50),
            certificate_interval: Duration::from_millis(100),
            default_timeout: Duration::from_secs(5),
            timeout_max: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(5),
            snapshot_log_bytes: 64 << 20,
            log_entries_kept: 10_000,
            entry_cache_bytes: 16 << 20,
            engine_cache_bytes: 64 << 20,
            free_bytes_min: 128 << 20,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Checks what can be checked without touching the machine; the error names field, bound and value.
    pub fn validate(&self) -> Result<(), Error> {
        let checks =
            [self.check_members(), self.check_least(), self.check_proportions(), self.limits.check_least()];
        let wrong = checks.into_iter().find_map(Result::err);
        wrong.map_or(Ok(()), |text| Err(Error::Invalid(format!("configuration: {text}"))))
    }

    fn check_members(&self) -> Result<(), String> {
        if self.id == 0 {
            return Err("id is 0: give each member a positive id".into());
        }
        if !self.members.contains_key(&self.id) {
            let ids: Vec<_> = self.members.keys().collect();
            return Err(format!("members {ids:?} do not contain this member's id {}", self.id));
        }
        if self.members.contains_key(&0) {
            return Err("members contain the id 0: ids are positive".into());
        }
        if self.data_dir.as_os_str().is_empty() {
            return Err("data_dir is empty".into());
        }
        let mut taken = BTreeMap::new();
        for (id, addr) in &self.members {
            if !addr.peer.contains(':') {
                return Err(format!("member {id} has no peer address of the form host:port"));
            }
            for address in [&addr.peer, &addr.client].into_iter().filter(|address| !address.is_empty()) {
                if let Some(other) = taken.insert(address, id) {
                    return Err(format!("address {address} is given to member {other} and to member {id}"));
                }
            }
        }
        Ok(())
    }

    /// Below these no member works: a timer that never rests, a cache that sled refuses.
    fn check_least(&self) -> Result<(), String> {
        let ms = Duration::from_millis;
        for (field, value, least) in [
            ("heartbeat", self.heartbeat, ms(10)),
            ("certificate_interval", self.certificate_interval, ms(10)),
            ("default_timeout", self.default_timeout, ms(1)),
            ("timeout_max", self.timeout_max, ms(1)),
            ("shutdown_timeout", self.shutdown_timeout, ms(100)),
        ] {
            if value < least {
                return Err(format!("{field} is {value:?}: it must be at least {least:?}"));
            }
        }
        for (field, value, least) in [
            ("snapshot_log_bytes", self.snapshot_log_bytes, 1 << 10),
            ("engine_cache_bytes", self.engine_cache_bytes, 1 << 20),
        ] {
            at_least(field, value, least)?;
        }
        Ok(())
    }

    fn check_proportions(&self) -> Result<(), String> {
        if self.election_timeout_min < self.heartbeat * 3 {
            return Err(format!(
                "election_timeout_min is {:?}: it must be at least three times the heartbeat of {:?}",
                self.election_timeout_min, self.heartbeat
            ));
        }
        if self.election_timeout_max <= self.election_timeout_min {
            return Err(format!(
                "election_timeout_max is {:?}: it must exceed election_timeout_min, {:?}",
                self.election_timeout_max, self.election_timeout_min
            ));
        }
        if !(0.0..0.5).contains(&self.clock_drift_max) {
            return Err(format!(
                "clock_drift_max is {}: it must be at least 0 and below 0.5",
                self.clock_drift_max
            ));
        }
        if self.lease(self.promise()).is_zero() {
            return Err(format!("lease_margin is {:?}: it leaves nothing of the lease", self.lease_margin));
        }
        let largest = self.limits.value_bytes_max.saturating_add(self.limits.key_bytes_max);
        if self.limits.request_bytes_max < largest {
            return Err(format!(
                "limits.request_bytes_max is {}: it must hold the largest key and value, {largest} bytes",
                self.limits.request_bytes_max
            ));
        }
        Ok(())
    }

    /// For how long this member elects nobody else after it heard from its leader.
    pub fn promise(&self) -> Duration {
        self.election_timeout_max
    }

    /// How long after the send time of a quorum-acknowledged message the leader may answer by its lease, if
    /// no member of that quorum promised less than `promise`.
    pub fn lease(&self, promise: Duration) -> Duration {
        promise.mul_f64(1.0 - self.clock_drift_max).saturating_sub(self.lease_margin)
    }

    /// How long a restarted voter refuses to vote, if it promised no more than `promise` before: the message
    /// that it gave that promise for is forgotten (hazard H2).
    pub fn vote_guard(&self, promise: Duration) -> Duration {
        promise.mul_f64(1.0 + self.clock_drift_max) + self.lease_margin
    }
}

impl Limits {
    /// A limit of 0 would refuse everything that it bounds.
    fn check_least(&self) -> Result<(), String> {
        for (field, value) in [
            ("key_bytes_max", self.key_bytes_max),
            ("value_bytes_max", self.value_bytes_max),
            ("txn_ops_max", self.txn_ops_max),
            ("txn_depth_max", self.txn_depth_max),
            ("range_pairs_max", self.range_pairs_max),
            ("range_bytes_max", self.range_bytes_max),
            ("inflight_writes_max", self.inflight_writes_max),
            ("inflight_reads_max", self.inflight_reads_max),
            ("leases_max", self.leases_max),
            ("sessions_max", self.sessions_max),
            ("watches_per_stream_max", self.watches_per_stream_max),
            ("watches_max", self.watches_max),
            ("lock_permits_max", self.lock_permits_max as usize),
        ] {
            at_least(&format!("limits.{field}"), value as u64, 1)?;
        }
        let (least, most) = (self.lease_ttl_min, self.lease_ttl_max);
        if least.is_zero() || most < least {
            return Err(format!(
                "limits.lease_ttl_min is {least:?}, limits.lease_ttl_max {most:?}: the first must be \
                 above 0, the second not below it"
            ));
        }
        Ok(())
    }
}

fn at_least(field: &str, value: u64, least: u64) -> Result<(), String> {
    match value < least {
        true => Err(format!("{field} is {value}: it must be at least {least}")),
        false => Ok(()),
    }
}
