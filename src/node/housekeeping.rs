//! What goes on in the background: certificates, snapshots, compaction, checkpoints, a look at the disk.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::Inner;
use crate::{
    env::blocking,
    raft::{
        snapshots::SnapshotStore,
        state_machine::{check_snapshot, inspect},
    },
    state::Step,
};

/// Between two looks at the disk's free space, and at the log's growth.
const LOOK: Duration = Duration::from_secs(1);
/// After this time, or so many entries, the state's engine is flushed. It need not be durable; but what is
/// not flushed takes memory, and time when it is. (While each chunk was a batch of its own there, 100,000
/// single puts took 7 s to flush at once, and 300 MB.)
const CHECKPOINT: Duration = Duration::from_secs(5);
const CHECKPOINT_ENTRIES: u64 = 10_000;
/// Between two looks at whether it is time.
const CHECKPOINT_LOOK: Duration = Duration::from_millis(50);
/// Between two looks for something to compact.
const COMPACT: Duration = Duration::from_millis(200);
/// Between two steps of a compaction that another one waits for.
const COMPACT_PAUSE: Duration = Duration::from_millis(2);
/// Between two steps otherwise, as a multiple of what the step took: nobody waits for this, but reads and
/// writes share the processor with it.
const COMPACT_REST: u32 = 4;
/// Bytes of blocks looked at in one step: about a millisecond.
const COMPACT_STEP_BYTES: usize = 32 << 10;
/// And where another compaction waits: as much must be forgotten as is written.
const COMPACT_LATE_BYTES: usize = 256 << 10;

impl Inner {
    /// Starts the background tasks.
    pub fn spawn_housekeeping(self: &Arc<Self>) {
        self.spawn(renew_certificates(self.clone()));
        self.spawn(take_snapshots(self.clone()));
        self.spawn(keep_commit(self.clone()));
        self.spawn(watch_disk(self.clone()));
        self.spawn(checkpoint(self.clone()));
        self.spawn(compact(self.clone()));
    }
}

/// Asks for a freshness certificate at an interval.
async fn renew_certificates(node: Arc<Inner>) {
    loop {
        if let Ok(round) = node.rounds.join("").await {
            node.certificates.add(node.proof_of(&round), round.index);
        }
        sleep(node.config.certificate_interval).await;
    }
}

/// Takes a snapshot when the log has grown by more than the last snapshot's size (and the configured
/// least): what is written for snapshots stays in proportion to what is written for the log. And when
/// the newest one is damaged. One that may not fit on the disk waits for space: a disk that fills up
/// while it is written would end this member.
async fn take_snapshots(node: Arc<Inner>) {
    inspect_snapshot(node.snapshots.clone()).await;
    let (mut taken_at, mut waits) = (0, false);
    loop {
        sleep(LOOK).await;
        let applied = node.applied_bytes.load(Ordering::Relaxed);
        let last_size = node.snapshots.newest().ok().flatten().map_or(0, |file| file.size());
        let log_bytes = applied - taken_at;
        let wanting = node.snapshots.wanting() && node.state.position().applied.is_some();
        if !wanting && log_bytes < node.config.snapshot_log_bytes.max(last_size) {
            continue;
        }
        let needed = snapshot_room(last_size, log_bytes, node.config.free_bytes_min);
        // What cannot be read is reported by `watch_disk`, and is no reason to let the log grow.
        let free = node.dir.free_bytes().unwrap_or(u64::MAX);
        if free < needed {
            if !waits {
                warn!(free, needed, log_bytes, "no space for a snapshot: the log grows until there is");
            }
            waits = true;
            continue;
        }
        info!(log_bytes, last_size, "taking a snapshot");
        (taken_at, waits) = (applied, false);
        if node.raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

/// Reads the newest snapshot once after the start, beside everything else: damage is found while the state is
/// there to take another, and not on the day when the snapshot is needed.
async fn inspect_snapshot(snapshots: Arc<SnapshotStore>) {
    let inspected = blocking(move || match snapshots.newest()? {
        Some(file) => inspect(&snapshots, &file, check_snapshot),
        None => Ok(()),
    });
    match inspected.await.map_err(io::Error::other).flatten() {
        // It was replaced meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warn!(%error, "cannot read the newest snapshot"),
        Ok(()) => {}
    }
}

/// Free bytes without which no snapshot is begun. It holds no more than the last one and what came since, and
/// a fifth for its own form. Of the reserve half stays for the log, which grows meanwhile; the other half may
/// be used, since a snapshot is what lets the log shrink.
fn snapshot_room(last_size: u64, log_bytes: u64, reserve: u64) -> u64 {
    let expected = last_size.saturating_add(log_bytes);
    expected.saturating_add(expected / 5).saturating_add(reserve / 2)
}

/// Makes the committed position durable, which the log else writes with its next entries: a member that
/// restarts without a quorum then knows that it has recovered, unless it stopped in the middle of writes
/// (hazard H9).
async fn keep_commit(node: Arc<Inner>) {
    let mut kept = None;
    loop {
        sleep(LOOK).await;
        let applied = node.state.position().applied;
        if applied != kept {
            kept = applied;
            if node.log.barrier().await.is_err() {
                // Raft meets the same error, and ends this member.
                return;
            }
        }
    }
}

async fn watch_disk(node: Arc<Inner>) {
    let mut low = false;
    loop {
        match node.dir.free_bytes() {
            Ok(free) => {
                node.free.store(free, Ordering::Relaxed);
                let is_low = free < node.config.free_bytes_min;
                if is_low != low {
                    low = is_low;
                    let reserve = node.config.free_bytes_min;
                    match low {
                        true => {
                            warn!(free, reserve, "disk space is low: as leader it refuses writes that add")
                        }
                        false => info!(free, reserve, "disk space is no longer low"),
                    }
                }
            }
            Err(error) => error!(%error, "cannot read the disk's free space"),
        }
        sleep(LOOK).await;
    }
}

/// Hands the engine's buffers to the operating system now and then, off the apply path: before much has
/// gathered, since the engine holds all of it in memory, and after a while in any case, so that little is
/// replayed after a crash.
async fn checkpoint(node: Arc<Inner>) {
    let applied = || node.state.position().applied.map_or(0, |at| at.index);
    let (mut flushed_to, mut flushed_at) = (applied(), node.env.now());
    loop {
        sleep(CHECKPOINT_LOOK).await;
        let behind = applied().saturating_sub(flushed_to);
        if behind == 0 || (behind < CHECKPOINT_ENTRIES && node.env.now().since(flushed_at) < CHECKPOINT) {
            continue;
        }
        (flushed_to, flushed_at) = (applied(), node.env.now());
        let state = node.state.clone();
        match blocking(move || state.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return node.fail(error.to_string()),
            Err(panic) => return node.fail(panic.to_string()),
        }
    }
}

/// Drops what compactions made superfluous, in steps.
async fn compact(node: Arc<Inner>) {
    let mut bytes = COMPACT_STEP_BYTES;
    loop {
        let (compactor, began) = (node.compactor.clone(), Instant::now());
        let step = match blocking(move || compactor.step(bytes)).await {
            Ok(Ok(step)) => step,
            Ok(Err(error)) => return node.fail(error.to_string()),
            Err(panic) => return node.fail(panic.to_string()),
        };
        let rest = (began.elapsed() * COMPACT_REST).clamp(COMPACT_PAUSE, COMPACT);
        let (next_bytes, pause) = match step {
            Step::More => (COMPACT_STEP_BYTES, rest),
            Step::Late => (COMPACT_LATE_BYTES, COMPACT_PAUSE),
            Step::Idle | Step::Paused => (COMPACT_STEP_BYTES, COMPACT),
        };
        bytes = next_bytes;
        sleep(pause).await;
    }
}
