//! What a client may ask for, and how much of it at once.

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
        }
    }
}
