//! Crashes that lose what was not synced.

use std::{sync::Arc, time::Duration};

use quorate::{mutant::Mutant, types::Level};

use super::{Scenario, Stage};
use crate::world::{Loss, ms, now};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("h1_leader_loses_its_end", 3, Some(Mutant::LeaderRestored), |s| {
            Box::pin(leader_loses_its_end(s))
        }),
        Scenario::new("snapshot_over_a_log_that_is_lost", 3, None, |s| Box::pin(snapshot_before_durable(s))),
        Scenario::new("h3_applied_before_durable", 3, Some(Mutant::ApplyBeforeDurable), |s| {
            Box::pin(applied_before_durable(s))
        }),
        Scenario::new("h9_shown_unrecovered", 3, Some(Mutant::ShownUnrecovered), |s| {
            Box::pin(shown_unrecovered(s))
        }),
        Scenario::new("follower_behind_a_purged_log", 3, None, |s| Box::pin(behind_a_purged_log(s))),
        Scenario::new("two_snapshots_in_short_order", 3, None, |s| Box::pin(two_snapshots(s))),
    ]
}

/// The leader's disk is slow: the others commit what it has not synced. It crashes, loses that, and is back
/// before anybody has missed it.
async fn leader_loses_its_end(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let client = stage.client_of(&[leader]);
    stage.put_surely(&client, "k").await;
    stage.member(leader).disk.stall(Duration::from_secs(2));
    for _ in 0..3 {
        stage.put(&client, "k", 0).await;
    }
    stage.crash(leader, Loss::All, true).await;
    stage.member(leader).disk.stall(Duration::ZERO);
    let everybody = stage.client_of(&[1, 2, 3]);
    for _ in 0..10 {
        stage.put(&everybody, "k", 0).await;
        stage.read(&everybody, Level::Eventual, leader).await;
        tokio::time::sleep(ms(50)).await;
    }
    stage.put_surely(&everybody, "k").await;
}

/// A follower's disk stands still while it hears of entries and then of a snapshot over them. It answers, and
/// crashes.
async fn snapshot_before_durable(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let follower = stage.others(leader)[0];
    let client = stage.client_of(&[leader]);
    stage.put_surely(&client, "k").await;
    stage.member(follower).disk.stall(Duration::from_secs(20));
    for _ in 0..60 {
        stage.put(&client, "k", 400).await;
    }
    // The leader has purged what it holds for unacknowledged; when it begins anew, only a snapshot helps.
    stage.isolate(follower).await;
    tokio::time::sleep(ms(900)).await;
    stage.join(follower).await;
    tokio::time::sleep(ms(3000)).await;
    stage.crash(follower, Loss::All, true).await;
    stage.member(follower).disk.stall(Duration::ZERO);
    for _ in 0..10 {
        stage.put(&client, "k", 400).await;
        tokio::time::sleep(ms(50)).await;
    }
}

/// A follower whose disk stands still shows what the others have committed, crashes, and shows what it had.
async fn applied_before_durable(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let follower = stage.others(leader)[0];
    let client = stage.client_of(&[leader]);
    let reader = stage.client_of(&[follower]);
    stage.put_surely(&client, "k").await;
    stage.read(&reader, Level::Linearizable, follower).await;
    stage.member(follower).disk.stall(Duration::from_secs(20));
    for _ in 0..5 {
        stage.put(&client, "k", 0).await;
    }
    tokio::time::sleep(ms(300)).await;
    stage.read(&reader, Level::Eventual, follower).await;
    stage.crash(follower, Loss::Log, true).await;
    stage.isolate(follower).await;
    stage.member(follower).disk.stall(Duration::ZERO);
    show_for(&stage, follower).await;
}

/// Reads what a member shows alone, for some seconds.
async fn show_for(stage: &Stage, id: u64) {
    let reader = stage.client_of(&[id]);
    let until = now() + Duration::from_secs(3);
    while now() < until {
        stage.read(&reader, Level::Eventual, id).await;
        tokio::time::sleep(ms(100)).await;
    }
}

/// A follower that has shown everything restarts without its engine, and hears nothing of what is committed.
async fn shown_unrecovered(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let follower = stage.others(leader)[0];
    let client = stage.client_of(&[leader]);
    let reader = stage.client_of(&[follower]);
    for _ in 0..5 {
        stage.put(&client, "k", 0).await;
    }
    stage.read(&reader, Level::Linearizable, follower).await;
    stage.isolate(follower).await;
    stage.crash(follower, Loss::All, true).await;
    show_for(&stage, follower).await;
}

/// A follower is away while the log that it needs is purged.
async fn behind_a_purged_log(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let follower = stage.others(leader)[0];
    let client = stage.client_of(&[leader]);
    stage.put_surely(&client, "k").await;
    stage.crash(follower, Loss::Some, false).await;
    for _ in 0..80 {
        stage.put(&client, "k", 300).await;
    }
    stage.start(follower).await;
    for _ in 0..20 {
        stage.put(&client, "k", 300).await;
        stage.read(&stage.client_of(&[follower]), Level::Eventual, follower).await;
    }
}

/// The same, and again as soon as it is back, while it is still installing.
async fn two_snapshots(stage: Arc<Stage>) {
    behind_a_purged_log(stage.clone()).await;
    let leader = stage.leader(None).await;
    let follower = stage.others(leader)[0];
    let client = stage.client_of(&[leader]);
    for _ in 0..3 {
        stage.isolate(follower).await;
        for _ in 0..40 {
            stage.put(&client, "k", 300).await;
        }
        stage.heal().await;
        let installed = || stage.world().coverage().get("snapshot installed").copied().unwrap_or(0);
        let before = installed();
        stage.until(|| installed() > before).await;
    }
}
