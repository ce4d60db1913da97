//! Faults of clocks, disks and files, and of history: compaction.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use super::{Kind, Planned, Stage, Struck, Victim};
use crate::{
    recipes::KvApi,
    torture::{TortureError, cluster::Cluster, workload::options},
    types::NodeId,
};

/// The largest difference of a rate from 1 that is within the bound: two members may then differ by twice
/// that, and leases allow for 0.05.
const RATE_WITHIN: f64 = 0.02;

/// How much of history a compaction leaves, in revisions.
const KEPT: u64 = 500;

/// A disk with less than this is full: what a ballast leaves, and a little more.
const FULL_BELOW: u64 = 8 << 20;

impl Stage {
    /// Puts a clock wrong for a while.
    pub(super) async fn clock(&self, planned: &Planned, nodes: &[NodeId]) -> Struck {
        let (id, beyond) = (nodes[0], planned.kind == Kind::ClockBeyond);
        let mut rng = SmallRng::seed_from_u64(planned.seed);
        let (rate, jump) = match (beyond, planned.victim) {
            // What hurts most: a leader that believes in its lease for long, a follower that does not wait.
            (true, Victim::Leader) => (0.2, 0),
            (true, _) if rng.random_bool(0.5) => (4.0, 0),
            (true, _) => (1.0, rng.random_range(1..5)),
            (false, _) => (1.0 + rng.random_range(-RATE_WITHIN..RATE_WITHIN), 0),
        };
        let jumped = self.jump(id, Duration::from_secs(jump));
        let cluster = self.cluster.lock().await;
        let before = cluster.log_length(id);
        let set = cluster.set_clock(id, rate, jumped);
        drop(cluster);
        self.endure(planned.lasts).await;
        let cluster = self.cluster.lock().await;
        let landed = set.is_ok() && cluster.log_behind(id, before).contains("clock is put wrong");
        if let Err(error) = cluster.set_clock(id, 1.0, jumped) {
            self.recorder.trouble(error.to_string());
        }
        let what = match jump {
            0 => format!("the clock of n{id} runs at {rate:.3}"),
            jump => format!("the clock of n{id} jumps ahead by {jump} s"),
        };
        let breaks = beyond.then(|| format!("clock rates differ by less than the bound: {what}"));
        Struck { breaks, ..Struck::new(what, nodes, landed) }
    }

    /// Fills a member's disk for a while. A member that ended is started again.
    pub(super) async fn fill_disk(&self, planned: &Planned, nodes: &[NodeId]) -> Struck {
        let left = SmallRng::seed_from_u64(planned.seed).random_range(0..4) * (1 << 20);
        let id = nodes[0];
        let filled = {
            let cluster = self.cluster.lock().await;
            cluster.disk(id).is_some_and(|disk| disk.fill(left).is_ok())
        };
        if !filled {
            return Struck::new(format!("the disk of n{id} could not be filled"), nodes, false);
        }
        self.endure(planned.lasts).await;
        let onlooker = self.cluster.lock().await.onlooker().clone();
        let sees_it = onlooker.status(id).await.is_ok_and(|status| status.free_disk_bytes <= FULL_BELOW);
        let mut cluster = self.cluster.lock().await;
        let landed = sees_it || !cluster.is_alive(id);
        if let Some(Err(error)) = cluster.disk(id).map(|disk| disk.relieve()) {
            self.recorder.trouble(format!("the disk of n{id} stays full: {error}"));
        }
        drop(cluster);
        self.start(nodes).await;
        Struck::new(format!("the disk of n{id} is full but for {} MiB", left >> 20), nodes, landed)
    }

    /// Damages a file of a member that is down, and starts it. If it refuses to start, its state and
    /// snapshots are put back as they were. Not its log: what it promised since is there.
    pub(super) async fn corrupt(&self, planned: &Planned, nodes: &[NodeId]) -> Struck {
        let id = nodes[0];
        let done = self.damage(planned, id).await;
        let (what, landed) = match done {
            Ok(what) => (what, true),
            Err(error) => (error.to_string(), false),
        };
        let refused = !self.start(nodes).await;
        if refused {
            let mut cluster = self.cluster.lock().await;
            if let Err(error) = cluster.kill(id).and_then(|_| restore(&cluster, id)) {
                self.recorder.trouble(error.to_string());
            }
            drop(cluster);
            self.start(nodes).await;
        }
        let then = if refused { "; it refused to start, and got its files back" } else { "" };
        Struck::new(format!("{what}{then}"), nodes, landed)
    }

    async fn damage(&self, planned: &Planned, id: NodeId) -> Result<String, TortureError> {
        let mut rng = SmallRng::seed_from_u64(planned.seed);
        let mut cluster = self.cluster.lock().await;
        cluster.kill(id)?;
        back_up(&cluster, id)?;
        let data = cluster.data_dir(id);
        let files = files_below(&data).map_err(TortureError::io("cannot list files"))?;
        let file = files.choose(&mut rng).ok_or_else(|| TortureError::Invalid("no files".to_owned()))?;
        let how = break_file(file, &mut rng).map_err(TortureError::io("cannot damage a file"))?;
        let name = file.strip_prefix(&data).unwrap_or(file).display().to_string();
        Ok(format!("n{id}: {how} of {name}"))
    }

    /// Forgets old revisions.
    pub(super) async fn compact(&self) -> Struck {
        let onlooker = self.cluster.lock().await.onlooker().clone();
        let revision = self.recorder.acknowledged().saturating_sub(KEPT).max(1);
        let status = match onlooker.leader().await {
            Some((leader, _)) => onlooker.status(leader).await.ok(),
            None => None,
        };
        let is_news = status.is_some_and(|status| status.compact_revision < revision);
        let done = onlooker.client().compact(revision, options()).await;
        let what = format!("everything before revision {revision} is forgotten");
        Struck::new(what, &[], is_news && done.is_ok())
    }
}

/// Files of the state and of snapshots: what can be made anew from the others. Those of the Raft log cannot
/// be told from a torn end, and so are left to a test that knows what was lost.
fn files_below(data: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut found, mut dirs) = (Vec::new(), vec![data.join("state"), data.join("snapshots")]);
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(dir) else { continue };
        for entry in entries {
            let entry = entry?;
            let kind = entry.metadata()?;
            let is_aside = entry.file_name().to_string_lossy().contains("damaged");
            if is_aside {
                continue;
            }
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.len() > 0 {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn break_file(file: &Path, rng: &mut SmallRng) -> io::Result<String> {
    let handle = fs::File::options().read(true).write(true).open(file)?;
    let length = handle.metadata()?.len();
    if rng.random_bool(0.5) {
        let cut = rng.random_range(1..=length.min(4096));
        handle.set_len(length - cut)?;
        return Ok(format!("the last {cut} bytes"));
    }
    let (at, mut byte) = (rng.random_range(0..length), [0]);
    handle.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << rng.random_range(0..8);
    handle.write_all_at(&byte, at)?;
    Ok(format!("a bit of byte {at}"))
}

/// What is damaged, and put back.
const PARTS: [&str; 2] = ["state", "snapshots"];

fn back_up(cluster: &Cluster, id: NodeId) -> Result<(), TortureError> {
    let data = cluster.data_dir(id);
    PARTS.iter().try_for_each(|part| copy(&data.join(part), &data.with_extension("kept").join(part)))
}

fn restore(cluster: &Cluster, id: NodeId) -> Result<(), TortureError> {
    let data = cluster.data_dir(id);
    PARTS.iter().try_for_each(|part| copy(&data.with_extension("kept").join(part), &data.join(part)))
}

/// Makes `to` what `from` is.
fn copy(from: &Path, to: &Path) -> Result<(), TortureError> {
    let failed = TortureError::io("cannot copy a member's files");
    let _ = fs::remove_dir_all(to);
    if !from.exists() {
        return Ok(());
    }
    fs::create_dir_all(to).map_err(TortureError::io("cannot create a directory"))?;
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).output();
    match copied {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))),
        Err(error) => Err(failed(error)),
    }
}
