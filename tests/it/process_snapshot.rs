//! A follower that was away for so long that the log it needs is gone: it comes back by a snapshot, while
//! writes go on. 3,000 entries by default; `QUORATE_SNAPSHOT_ENTRIES=200000` is the long run.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::{
    SOON,
    cluster::{Cluster, Spec},
    eventually,
    load::{Acknowledged, Load, Workload},
    setting,
};

/// Small thresholds, so that snapshots are taken and the log is purged within seconds.
const FLAGS: [&str; 4] = ["--snapshot-log-bytes", "65536", "--log-entries-kept", "100"];

fn spec(log_store: &'static str) -> Spec {
    Spec { log_store, flags: FLAGS.map(str::to_owned).to_vec(), ..Spec::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_left_behind_comes_back_by_snapshot_with_the_wal_log() {
    left_behind("wal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_left_behind_comes_back_by_snapshot_with_the_sled_log() {
    left_behind("sled").await;
}

async fn left_behind(log_store: &'static str) {
    let entries = setting("QUORATE_SNAPSHOT_ENTRIES", 3_000);
    let mut cluster = Cluster::start(spec(log_store)).await;
    let leader = cluster.leader().await;
    let away = cluster.ids().into_iter().find(|id| *id != leader).expect("three members");
    let had = cluster.node(away).status().await.expect("a status").last_log_index;
    cluster.kill(away);

    let acknowledged = Acknowledged::default();
    let load = Load::start(&cluster, Workload::small("away/"), acknowledged.clone());
    acknowledged.grows_by(entries, Duration::from_secs(600)).await;
    let node = cluster.node(leader);
    eventually("the leader has purged what the follower lacks", SOON, async || {
        let first = node.status().await.map_err(|error| error.to_string())?.first_log_index;
        if first > had + 1 { Ok(()) } else { Err(format!("first {first}, the follower had {had}")) }
    })
    .await;

    cluster.launch(away, &[]);
    cluster.wait_ready(away).await;
    // It shows what the snapshot holds a moment before it says that it is installed.
    let node = cluster.node(away);
    eventually("the follower has come back by a snapshot", SOON, async || {
        let back = node.status().await.map_err(|error| error.to_string())?;
        let installed = cluster.log(away).contains("installed a snapshot");
        if installed && back.snapshot_index > had { Ok(()) } else { Err(format!("{installed}, {back:?}")) }
    })
    .await;
    acknowledged.grows_by(50, SOON).await;
    load.finish().await;
    acknowledged.verify(&cluster, "away/").await;
}

/// They are looked for once a second, and a quick machine writes much in a second.
async fn all_have_snapshots(cluster: &Cluster) {
    for id in cluster.ids() {
        let node = cluster.node(id);
        eventually(&format!("member {id} has a snapshot"), SOON, async || {
            let index = node.status().await.map_err(|error| error.to_string())?.snapshot_index;
            if index > 0 { Ok(()) } else { Err("none".to_owned()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_restart_from_snapshots_and_short_logs() {
    let mut cluster = Cluster::start(spec("wal")).await;
    let acknowledged = Acknowledged::default();
    let load = Load::start(&cluster, Workload::small("all/"), acknowledged.clone());
    acknowledged.grows_by(2_000, Duration::from_secs(120)).await;
    all_have_snapshots(&cluster).await;
    for id in cluster.ids() {
        cluster.kill(id);
    }
    cluster.launch_all(&[]);
    cluster.wait_all_ready().await;
    load.finish().await;
    acknowledged.verify(&cluster, "all/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_is_rebuilt_from_snapshot_and_log() {
    let mut cluster = Cluster::start(spec("wal")).await;
    let acknowledged = Acknowledged::default();
    let load = Load::start(&cluster, Workload::small("damaged/"), acknowledged.clone());
    acknowledged.grows_by(1_000, Duration::from_secs(120)).await;
    load.finish().await;
    for id in cluster.ids() {
        cluster.kill(id);
    }
    let state = cluster.data_dir(2).join("state");
    let damaged = crate::support::damage_files_below(&state);
    assert!(damaged > 0, "no file below {}", state.display());
    cluster.launch_all(&[]);
    cluster.wait_all_ready().await;
    acknowledged.verify(&cluster, "damaged/").await;
    assert!(cluster.log(2).contains("rebuil"), "it must say loudly that it rebuilds");
}

fn snapshots_in(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("snapshots")).expect("a directory").map(|entry| entry.expect("a file"));
    files.map(|file| file.path()).filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
}

/// Flips a byte of the newest snapshot: `per_mille` of its length from its beginning.
fn damage_snapshot(dir: &Path, per_mille: usize) {
    let path = snapshots_in(dir, ".snapshot").into_iter().max().expect("a snapshot");
    let mut bytes = fs::read(&path).expect("a readable file");
    let at = (bytes.len() * per_mille / 1000).max(25);
    bytes[at] ^= 0xff;
    fs::write(&path, bytes).expect("a writable file");
}

/// A new snapshot has taken the place of the damaged one, which is kept.
async fn taken_anew(dir: &Path) {
    eventually("a new snapshot", SOON, async || {
        let (new, old) = (snapshots_in(dir, ".snapshot").len(), snapshots_in(dir, ".damaged").len());
        if (new, old) == (1, 1) { Ok(()) } else { Err(format!("{new} sound, {old} damaged")) }
    })
    .await;
}

/// The leader would send the same bytes for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_left_behind_comes_back_though_the_snapshot_is_damaged() {
    let mut cluster = Cluster::start(spec("wal")).await;
    let leader = cluster.leader().await;
    let away = cluster.ids().into_iter().find(|id| *id != leader).expect("three members");
    cluster.kill(away);
    let acknowledged = Acknowledged::default();
    let load = Load::start(&cluster, Workload::small("bad/"), acknowledged.clone());
    acknowledged.grows_by(2_000, Duration::from_secs(120)).await;
    load.finish().await;
    let node = cluster.node(leader);
    eventually("the log is purged", SOON, async || {
        let first = node.status().await.map_err(|error| error.to_string())?.first_log_index;
        if first > 1000 { Ok(()) } else { Err(format!("it begins at {first}")) }
    })
    .await;
    damage_snapshot(cluster.data_dir(leader).as_ref(), 500);
    cluster.launch(away, &[]);
    cluster.wait_ready(away).await;
    acknowledged.verify(&cluster, "bad/").await;
    taken_anew(cluster.data_dir(leader).as_ref()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_keeps_no_member_with_state_and_log_from_starting() {
    let mut cluster = Cluster::start(spec("wal")).await;
    let acknowledged = Acknowledged::default();
    let load = Load::start(&cluster, Workload::small("own/"), acknowledged.clone());
    acknowledged.grows_by(1_000, Duration::from_secs(120)).await;
    all_have_snapshots(&cluster).await;
    load.finish().await;
    for id in cluster.ids() {
        cluster.kill(id);
    }
    // Its header; and its middle, which nobody needs now.
    damage_snapshot(cluster.data_dir(1).as_ref(), 0);
    damage_snapshot(cluster.data_dir(2).as_ref(), 500);
    cluster.launch_all(&[]);
    cluster.wait_all_ready().await;
    acknowledged.verify(&cluster, "own/").await;
    taken_anew(cluster.data_dir(1).as_ref()).await;
    taken_anew(cluster.data_dir(2).as_ref()).await;
}
