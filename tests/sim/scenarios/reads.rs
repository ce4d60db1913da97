//! Leaders that are not any more, and what they answer.

use std::{sync::Arc, time::Duration};

use quorate::{mutant::Mutant, types::Level};

use super::{Scenario, Stage};
use crate::world::{Loss, ms, now};

const LINEARIZABLE: Level = Level::Linearizable;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("h2_voters_forget_a_lease", 3, Some(Mutant::VoteUnguarded), |s| {
            Box::pin(voters_forget(s))
        }),
        Scenario::new("read_without_a_round", 3, Some(Mutant::ReadWithoutRound), |s| {
            Box::pin(old_leader(s, Level::Linearizable))
        }),
        Scenario::new("certificate_from_receipt", 3, Some(Mutant::CertificateFromReceipt), |s| {
            Box::pin(late_proof(s))
        }),
        Scenario::new("round_shared_with_a_later_read", 3, Some(Mutant::RoundShared), |s| {
            Box::pin(late_proof(s))
        }),
        Scenario::new("paused_leader_and_late_answers", 3, Some(Mutant::ReadWithoutRound), |s| {
            Box::pin(held(s))
        }),
        Scenario::new("partial_partition_of_five", 5, None, |s| Box::pin(partial_partition(s))),
    ]
}

/// The followers of a leader that is cut off restart at once, and elect another while its lease runs.
async fn voters_forget(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let others = stage.others(leader);
    let (old, new) = (stage.client_of(&[leader]), stage.client_of(&others));
    stage.put_surely(&old, "k").await;
    stage.isolate(leader).await;
    for id in &others {
        stage.crash(*id, Loss::Some, true).await;
    }
    contend(&stage, (leader, Level::Lease), (&old, &new)).await;
}

/// A leader is cut off, and another is elected; both are asked all the time.
async fn old_leader(stage: Arc<Stage>, level: Level) {
    let leader = stage.leader(None).await;
    let (old, new) = (stage.client_of(&[leader]), stage.client_of(&stage.others(leader)));
    stage.put_surely(&old, "k").await;
    stage.isolate(leader).await;
    contend(&stage, (leader, level), (&old, &new)).await;
}

/// Writes through the new side, and reads from the old leader, side by side.
async fn contend(
    stage: &Stage,
    (leader, level): (u64, Level),
    (old, new): (&quorate::Client, &quorate::Client),
) {
    let until = now() + Duration::from_secs(4);
    let write = async {
        while now() < until {
            stage.put(new, "k", 0).await;
            tokio::time::sleep(ms(10)).await;
        }
    };
    let read = async {
        while now() < until {
            stage.read(old, level, leader).await;
            tokio::time::sleep(ms(7)).await;
        }
    };
    tokio::join!(write, read);
}

/// A follower's questions for read indexes are long on their way: what it is told was true when it was said.
async fn late_proof(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let follower = stage.others(leader)[0];
    let (client, reader) = (stage.client_of(&[leader]), stage.client_of(&[follower]));
    stage.put_surely(&client, "k").await;
    let (a, b) = (stage.member(leader).name(), stage.member(follower).name());
    stage
        .order(move |sim| {
            sim.set_link_latency(a.as_str(), b.as_str(), ms(20));
            sim.set_link_max_message_latency(a.as_str(), b.as_str(), ms(40));
        })
        .await;
    let until = now() + Duration::from_secs(5);
    let write = async {
        while now() < until {
            stage.put(&client, "k", 0).await;
            tokio::time::sleep(ms(5)).await;
        }
    };
    // Each at its own pace, so that they do not wait for the same round.
    let read = |level: Level, pause: u64| {
        let (stage, reader) = (stage.clone(), reader.clone());
        async move {
            while now() < until {
                stage.read(&reader, level, follower).await;
                tokio::time::sleep(ms(pause)).await;
            }
        }
    };
    let bounded = read(Level::Bounded { max_age: ms(10) }, 3);
    let (one, two, three) = (read(LINEARIZABLE, 11), read(LINEARIZABLE, 29), read(LINEARIZABLE, 47));
    tokio::join!(write, bounded, one, two, three);
}

/// Nothing that the leader and the others send to each other arrives until another leads; then all of it
/// does.
async fn held(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let others = stage.others(leader);
    let (old, new) = (stage.client_of(&[leader]), stage.client_of(&others));
    stage.put_surely(&old, "k").await;
    let name = stage.member(leader).name();
    let names: Vec<_> = others.iter().map(|id| stage.member(*id).name()).collect();
    stage.order(move |sim| names.iter().for_each(|other| sim.hold(name.as_str(), other.as_str()))).await;
    contend(&stage, (leader, Level::Linearizable), (&old, &new)).await;
    stage.heal().await;
    for _ in 0..20 {
        stage.read(&old, Level::Linearizable, leader).await;
        stage.read(&old, Level::Lease, leader).await;
        stage.put(&new, "k", 0).await;
    }
}

/// Of five, one reaches everybody, the others only it: writes go on, or go on again once it leads.
async fn partial_partition(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let hub = stage.others(leader)[0];
    let ends = stage.others(hub);
    let client = stage.client_of(&[1, 2, 3, 4, 5]);
    stage.put_surely(&client, "k").await;
    for (at, a) in ends.iter().enumerate() {
        for b in &ends[at + 1..] {
            stage.cut(*a, *b).await;
        }
    }
    let until = now() + Duration::from_secs(15);
    let mut last = false;
    while now() < until {
        last = stage.put(&client, "k", 0).await;
        stage.read(&client, Level::Linearizable, hub).await;
        tokio::time::sleep(ms(50)).await;
    }
    if !last {
        stage.world().trace.violation("liveness: the member that reaches everybody does not lead after 15 s");
    }
}
