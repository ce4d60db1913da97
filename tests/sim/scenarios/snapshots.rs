//! Members that need a snapshot, since what they lack is not in the log any more.

use std::{sync::Arc, time::Duration};

use quorate::{Client, mutant::Mutant, types::Level};

use super::{Scenario, Stage, watches::Watcher};
use crate::world::{Loss, ms, now};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("snapshot_over_a_log_that_is_lost", 3, |s| Box::pin(over_a_lost_log(s)))
            .falls(Mutant::SnapshotBeforeDurable, "durable quorum"),
        Scenario::new("snapshot_over_a_longer_log", 3, |s| Box::pin(over_a_longer_log(s))),
        Scenario::new("follower_behind_a_purged_log", 3, |s| Box::pin(behind_a_purged_log(s)))
            .falls(Mutant::SessionsForgotten, "states differ"),
        Scenario::new("two_snapshots_in_short_order", 3, |s| Box::pin(two_snapshots(s)))
            .falls(Mutant::ReplacementUntold, "watch of"),
    ]
}

/// How long a sync of a follower's disk takes that is slower than its leader's patience with an append.
const SLOW: Duration = Duration::from_millis(900);

/// How often a leader is given a snapshot to send. It looks for one once a second.
const ROUNDS: u32 = 7;

/// A follower's disk is slow. It hears of entries, that they are committed, and then of a snapshot over them:
/// no need to install it. If it answers, the leader counts what a crash would take.
async fn over_a_lost_log(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let follower = stage.others(leader)[0];
    let client = stage.client_of(&[leader]);
    stage.put_surely(&client, "k").await;
    stage.member(follower).disk.stall(SLOW);
    for round in 1..=ROUNDS {
        let look = Duration::from_secs((2 * round).into());
        while now() + ms(450) < look {
            tokio::time::sleep(ms(4)).await;
        }
        while now() + ms(110) < look {
            stage.put(&client, "k", 500).await;
        }
        while now() < look + ms(800) && !counts_too_much(&stage, leader, follower).await {
            tokio::time::sleep(ms(4)).await;
        }
        if counts_too_much(&stage, leader, follower).await {
            let what = format!("durable quorum: n{leader} counts what is not on the disk of n{follower}");
            return stage.world().trace.violation(what);
        }
    }
    stage.crash(follower, Loss::All, true).await;
    stage.member(follower).disk.stall(Duration::ZERO);
    for _ in 0..10 {
        stage.put(&client, "k", 400).await;
        tokio::time::sleep(ms(50)).await;
    }
}

/// A follower's disk is slow, and it takes a while until an entry is committed, since the third one's is not
/// quick. So the follower gets a snapshot of what its log has, with more behind it, and does not know that it
/// is committed.
async fn over_a_longer_log(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let others = stage.others(leader);
    let client = stage.client_of(&[leader]);
    stage.put_surely(&client, "k").await;
    stage.member(others[0]).disk.stall(SLOW);
    stage.member(others[1]).disk.stall(ms(50));
    let until = Duration::from_secs(ROUNDS.into());
    let write = async |pause: u64| {
        while now() < until {
            stage.put(&client, "k", 200).await;
            tokio::time::sleep(ms(pause)).await;
        }
    };
    tokio::join!(write(1), write(2), write(3), write(5));
}

/// Whether the leader counts more of a follower's log than is on its disk.
async fn counts_too_much(stage: &Stage, leader: u64, follower: u64) -> bool {
    let Some(node) = stage.member(leader).node() else { return false };
    let lag = node.status().await.lag;
    let matched = lag.iter().find(|lag| lag.id == follower).and_then(|lag| lag.matched_index);
    let entries = stage.world().ledger.entries();
    let last = matched.and_then(|matched| entries.iter().find(|entry| entry.at.index == matched));
    last.is_some_and(|last| !stage.member(follower).disk.log().holds(last.at))
}

/// Writes until a follower that does not hear of it needs what the leader's log has no more.
async fn leave_behind(stage: &Stage, leader: u64, client: &Client) {
    let Some(node) = stage.member(leader).node() else { return };
    let behind = node.status().await.last_log_index;
    let until = now() + Duration::from_secs(8);
    while now() < until && node.status().await.first_log_index <= behind + 1 {
        stage.put(client, "k", 300).await;
    }
}

/// A follower is away while the log that it needs is purged. What sessions were answered comes with the
/// snapshot.
async fn behind_a_purged_log(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let follower = stage.others(leader)[0];
    let (client, numbered) = (stage.client_of(&[leader]), stage.clients.client(true));
    stage.put_surely(&numbered, "k").await;
    stage.crash(follower, Loss::Some, false).await;
    stage.put_surely(&numbered, "k").await;
    leave_behind(&stage, leader, &client).await;
    stage.start(follower).await;
    for _ in 0..20 {
        stage.put(&client, "k", 300).await;
        stage.read(&stage.client_of(&[follower]), Level::Eventual, follower).await;
    }
}

/// A follower that is watched needs a snapshot, and again one as soon as it is back, while it may still be
/// installing the first.
async fn two_snapshots(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let follower = stage.others(leader)[0];
    let client = stage.client_of(&[leader]);
    stage.put_surely(&client, "k").await;
    let watcher = Watcher::begin(&stage, &stage.client_of(&[follower])).await;
    let installed = || stage.world().coverage().get("snapshot installed").copied().unwrap_or(0);
    for pause in [20, 60, 120] {
        stage.isolate(follower).await;
        leave_behind(&stage, leader, &client).await;
        stage.join(follower).await;
        tokio::time::sleep(ms(pause)).await;
    }
    stage.until(|| installed() > 0).await;
    for _ in 0..20 {
        stage.put(&client, "k", 300).await;
    }
    watcher.hear_all(&stage, &client).await;
}
