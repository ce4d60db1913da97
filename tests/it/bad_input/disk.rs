//! A disk that is nearly full, and one that is full.

use std::{fs, path::Path, process::Command};

use quorate::{error::Error, pb::v1, types::Level};

use crate::support::{
    SOON, cli,
    cluster::{Cluster, Spec},
    eventually,
};

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_writes_are_refused_and_the_rest_goes_on() {
    let mut cluster = super::one_member().await;
    cluster.node(1).put("k", "v").await.expect("a write");
    cluster.kill(1);
    cluster.launch(1, &["--free-bytes-min", "1000000000000000000"]);
    cluster.wait_ready(1).await;
    let node = cluster.node(1);
    let refused = eventually("a write is refused", SOON, async || match node.put("more", "v").await {
        Ok(_) => Err("accepted".to_owned()),
        Err(error) => Ok(error),
    })
    .await;
    assert!(matches!(refused, Error::NoSpace { needed: 1_000_000_000_000_000_000, .. }), "{refused:?}");
    node.get("k", Level::Linearizable).await.expect("reads go on");
    let keys = v1::Keys { of: Some(v1::keys::Of::Key("k".into())) };
    let delete = v1::DeleteRequest { keys: Some(keys), prev_kv: false, ..Default::default() };
    node.kv().delete(delete).await.expect("deletes go on");
    let revision = node.status().await.expect("a status").header.expect("a header").revision;
    node.kv()
        .compact(v1::CompactRequest { revision, ..Default::default() })
        .await
        .expect("compaction goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leaders_disk_decides() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let entry = cluster.ids().into_iter().find(|id| *id != leader).expect("a follower");
    cluster.kill(entry);
    cluster.launch(entry, &["--free-bytes-min", "1000000000000000000"]);
    cluster.wait_ready(entry).await;
    assert_ne!(cluster.leader().await, entry, "a follower that was away for a moment");
    cluster.node(entry).put("k", "v").await.expect("a write that the leader takes");
}

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(size: &str) -> Option<SmallDisk> {
        let disk = SmallDisk(tempfile::tempdir().expect("a temporary directory"));
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], disk.0.path()).then_some(disk)
    }

    fn grow_to(&self, size: &str) {
        assert!(mount(&["-o", &format!("remount,size={size}")], self.0.path()), "a remount");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let done = Command::new("mount").args(arguments).arg(at).output();
    done.is_ok_and(|output| output.status.success())
}

/// What the first member has set aside as damaged.
fn damaged(cluster: &Cluster) -> Vec<String> {
    let state = fs::read_dir(cluster.data_dir(1).join("state")).expect("the state's directory");
    let names = state.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("damaged")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let Some(disk) = SmallDisk::mount("32m") else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    let spec = Spec {
        members: 1,
        flags: ["--free-bytes-min", "0"].map(str::to_owned).to_vec(),
        data_root: Some(disk.0.path().to_owned()),
        ..Spec::default()
    };
    let mut cluster = Cluster::start(spec).await;
    let node = cluster.node(1);
    let value = "x".repeat(100_000);
    let mut acknowledged = 0;
    while acknowledged < 1_000 && node.put(&format!("k/{acknowledged:04}"), &value).await.is_ok() {
        acknowledged += 1;
    }
    assert!(acknowledged < 1_000, "100 MB fit into 32 MB");
    // Refused or ended: either way it says so, and comes back when there is space.
    eventually("it says that the disk is full", SOON, async || {
        let says = cluster.log(1).contains("make space, then start again");
        if says { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
    cluster.kill(1);
    let refused = cli::finish(cluster.serve_command(1, &[])).expect(3).stderr;
    assert!(refused.contains("disk full under ") && refused.contains("make space"), "{refused}");
    assert_eq!(damaged(&cluster), Vec::<String>::new(), "a full disk is no damage");
    disk.grow_to("256m");
    cluster.launch(1, &[]);
    cluster.wait_ready(1).await;
    let found = cluster.node(1).keys("k/").await.expect("an eventual read").len();
    assert!(found >= acknowledged, "{found} keys of {acknowledged}");
}
