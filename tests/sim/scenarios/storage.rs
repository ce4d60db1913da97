//! Crashes that lose what was not synced.

use std::{sync::Arc, time::Duration};

use quorate::{
    mutant::Mutant,
    recipes::KvApi,
    types::{CallOptions, Level},
};

use super::{Scenario, Stage};
use crate::world::{Loss, ms, now};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("h1_leader_loses_its_end", 3, |s| Box::pin(leader_loses_its_end(s)))
            .falls(Mutant::LeaderRestored, "state machine safety"),
        Scenario::new("acknowledged_before_durable", 5, |s| Box::pin(acknowledged_before_durable(s)))
            .falls(Mutant::AcknowledgedBeforeDurable, "durable quorum"),
        Scenario::new("h3_applied_before_durable", 3, |s| Box::pin(applied_before_durable(s)))
            .falls(Mutant::ApplyBeforeDurable, "monotonic member"),
        Scenario::new("h9_shown_unrecovered", 3, |s| Box::pin(shown_unrecovered(s)))
            .falls(Mutant::ShownUnrecovered, "monotonic member"),
        Scenario::new("a_vote_that_is_forgotten", 3, |s| Box::pin(vote_is_forgotten(s)))
            .falls(Mutant::VoteNotPersisted, "election safety"),
        Scenario::new("read_at_the_compact_revision", 3, |s| Box::pin(at_the_compact_revision(s)))
            .falls(Mutant::CompactionTooFar, "linearizable: "),
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

/// Of five, the leader and two more have slow disks: two that are quick are no quorum. The slow ones lose
/// what they had in memory.
async fn acknowledged_before_durable(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let client = stage.client_of(&[leader]);
    stage.put_surely(&client, "k").await;
    let slow = [vec![leader], stage.others(leader)[..2].to_vec()].concat();
    slow.iter().for_each(|id| stage.member(*id).disk.stall(Duration::from_secs(3)));
    for _ in 0..3 {
        stage.put(&client, "k", 0).await;
    }
    for id in &slow {
        stage.crash(*id, Loss::All, true).await;
        stage.member(*id).disk.stall(Duration::ZERO);
    }
    let everybody = stage.client_of(&[1, 2, 3, 4, 5]);
    stage.put_surely(&everybody, "k").await;
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

/// Of three, one is cut off, and the second is elected by the third, whose disk stands still. The third
/// crashes, and meets the first one again: there is a term in which it may have voted.
async fn vote_is_forgotten(stage: Arc<Stage>) {
    let old = stage.leader(None).await;
    let [heir, voter] = stage.others(old)[..] else { return };
    let client = stage.client_of(&[old]);
    stage.put_surely(&client, "k").await;
    stage.member(voter).disk.stall(Duration::from_secs(60));
    let elections = stage.world().ledger.elections();
    stage.isolate(old).await;
    // It is the first to miss its leader.
    stage.member(heir).leap(Duration::from_secs(3));
    stage.until(|| stage.world().ledger.elections() > elections).await;
    let names = [old, heir, voter].map(|id| stage.member(id).name());
    stage
        .order(move |sim| {
            let [old, heir, voter] = names.each_ref().map(String::as_str);
            sim.partition(heir, voter);
            sim.repair(old, voter);
        })
        .await;
    for id in [voter, old] {
        stage.crash(id, Loss::All, true).await;
        stage.member(id).disk.stall(Duration::ZERO);
    }
    stage.put_surely(&stage.client_of(&[old, voter]), "k").await;
}

/// What was overwritten just behind the compact revision is what that revision shows.
async fn at_the_compact_revision(stage: Arc<Stage>) {
    stage.leader(None).await;
    let client = stage.client_for(&[1, 2, 3], Duration::from_secs(2));
    stage.put_surely(&client, "k").await;
    let compact = stage.put_at(&client, "k").await;
    for _ in 0..3 {
        stage.put_surely(&client, "k").await;
    }
    while client.compact(compact, CallOptions::default()).await.is_err() {
        tokio::time::sleep(ms(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for id in [1, 2, 3] {
        stage.read_at(&stage.client_of(&[id]), Level::Linearizable, (id, compact)).await;
    }
}
