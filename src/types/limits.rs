//! What a client may ask for, and how much of it at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds on requests. Each is shown by `quorate status`, named in the error of a request that exceeds it
/// (with the actual value), and a field of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one key. Keys live in memory on every member.
    pub key_bytes_max: usize,
    /// Bytes of one value.
    pub value_bytes_max: usize,
    /// Bytes of one encoded request. Less than the peers' message size, so that one entry always fits.
    pub request_bytes_max: usize,
    /// Operations in one transaction, compares included, counted through nesting.
    pub txn_ops_max: usize,
    /// Depth of nested transactions.
    pub txn_depth_max: usize,
    /// Pairs in the answer of one `Range`; `Scan` has no such bound.
    pub range_pairs_max: usize,
    /// Bytes of keys and values in the answer of one `Range`: beyond it the answer says `more`.
    pub range_bytes_max: usize,
    /// Writes that wait for the log or for apply on one member; the next one is refused as overload.
    pub inflight_writes_max: usize,
    /// Reads that wait or run on one member; the next one is refused as overload.
    pub inflight_reads_max: usize,
    /// Guards that one write may carry.
    pub guards_max: usize,
    /// The shortest time to live of a lease. Below some elections it would mostly end for want of a leader.
    #[serde(with = "humantime_serde")]
    pub lease_ttl_min: Duration,
    /// The longest time to live of a lease.
    #[serde(with = "humantime_serde")]
    pub lease_ttl_max: Duration,
    /// Leases that the cluster may have at once, sessions among them; the next grant is refused.
    pub leases_max: usize,
    /// Sessions that the cluster may have at once; the next one is refused.
    pub sessions_max: usize,
    /// Watches on one stream; the next one is cancelled with this reason.
    pub watches_per_stream_max: usize,
    /// Watches on one member; the next one is cancelled with this reason.
    pub watches_max: usize,
    /// Holders of one lock at once (`permits`).
    pub lock_permits_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            key_bytes_max: 8 << 10,
            value_bytes_max: 1 << 20,
            request_bytes_max: 1536 << 10,
            txn_ops_max: 128,
            txn_depth_max: 8,
            range_pairs_max: 10_000,
            range_bytes_max: 3 << 20,
            inflight_writes_max: 4096,
            inflight_reads_max: 8192,
            guards_max: 32,
            lease_ttl_min: Duration::from_millis(500),
            lease_ttl_max: Duration::from_secs(365 * 24 * 3600),
            leases_max: 1_000_000,
            sessions_max: 20_000,
            watches_per_stream_max: 10_000,
            watches_max: 100_000,
            lock_permits_max: 100_000,
        }
    }
}
