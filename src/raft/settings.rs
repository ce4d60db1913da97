//! How openraft is set up: from a member's configuration, and what is not for it to decide.

use std::time::Duration;

use openraft::SnapshotPolicy;

use crate::{config::Config, error::Error, mutant::Mutant};

/// Entries purged from the log at once, at least.
const PURGE_BATCH: u64 = 512;

/// openraft's settings for a member.
///
/// # Errors
/// [`Error::Invalid`] for what openraft refuses.
pub fn settings(config: &Config) -> Result<openraft::Config, Error> {
    let millis = |time: Duration| time.as_millis() as u64;
    let wanted = openraft::Config {
        cluster_name: "quorate".to_owned(),
        heartbeat_interval: millis(config.heartbeat),
        election_timeout_min: millis(config.election_timeout_min),
        election_timeout_max: millis(config.election_timeout_max),
        // A leader that lost an unsynced tail must not resume its term (hazard H1).
        enable_leader_restore: Some(Mutant::LeaderRestored.is_on()),
        // Asked by our own call: openraft's default takes silence for a grant (hazard H4).
        enable_pre_vote: Some(true),
        allow_log_reversion: Some(false),
        // Decided by bytes, by the node.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: config.log_entries_kept,
        purge_batch_size: PURGE_BATCH.min(config.log_entries_kept.max(1)),
        install_snapshot_timeout: 60_000,
        quorum_loss_probe_interval: Some(millis(config.election_timeout_max * 2))
            .filter(|_| !Mutant::QuorumUnprobed.is_on()),
        ..Default::default()
    };
    wanted.validate().map_err(|error| Error::Invalid(format!("configuration: {error}")))
}
