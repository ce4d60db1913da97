//! Leaders that are not any more, and what they answer.

use std::{sync::Arc, time::Duration};

use quorate::{mutant::Mutant, types::Level};

use super::{Scenario, Stage};
use crate::world::{Loss, ms, now};

const LINEARIZABLE: Level = Level::Linearizable;

/// How much two clocks may differ in rate: as the configuration says.
const DRIFT: f64 = 0.05;

/// What clocks may differ by in this time is longer than an election.
const LONG_PROMISE: Duration = Duration::from_secs(10);

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("h2_voters_forget_a_lease", 3, |s| Box::pin(voters_forget(s)))
            .falls(Mutant::VoteUnguarded, "lease: read lease"),
        Scenario::new("read_without_a_round", 3, |s| Box::pin(old_leader(s, Level::Linearizable)))
            .falls(Mutant::ReadWithoutRound, "linearizable: read linearizable"),
        Scenario::new("question_to_a_leader_in_a_minority_of_five", 5, |s| Box::pin(minority(s)))
            .falls(Mutant::QuestionIsQuorum, "linearizable: read linearizable"),
        Scenario::new("read_before_the_first_commit_of_a_new_leader", 3, |s| {
            Box::pin(before_the_first_commit(s))
        })
        .falls(Mutant::FirstCommitUnawaited, "linearizable: read linearizable"),
        Scenario::new("certificate_from_receipt", 3, |s| Box::pin(late_proof(s)))
            .falls(Mutant::CertificateFromReceipt, "bounded: read bounded"),
        Scenario::new("round_shared_with_a_later_read", 3, |s| Box::pin(late_proof(s)))
            .falls(Mutant::RoundShared, "linearizable: read linearizable"),
        Scenario::new("held_leader_and_late_answers", 3, |s| Box::pin(held(s)))
            .falls(Mutant::ReadWithoutRound, "linearizable: read linearizable"),
        Scenario::new("paused_leader_and_late_acknowledgements", 3, |s| Box::pin(paused(s)))
            .falls(Mutant::SuspensionIgnored, "lease: read lease"),
        Scenario::new("clocks_as_far_apart_as_they_may_be", 3, |s| Box::pin(apart(s)))
            .promising(LONG_PROMISE)
            .falls(Mutant::LeaseWithoutMargin, "lease: read lease"),
        Scenario::new("partial_partition_of_five", 5, |s| Box::pin(partial_partition(s)))
            .falls(Mutant::QuorumUnprobed, "liveness: the member that reaches everybody does not lead"),
    ]
}

/// A write is committed that its next leader has, and does not know to be committed. When that one leads, its
/// disk is slow: there is a while between its election and the first commit of its term.
async fn before_the_first_commit(stage: Arc<Stage>) {
    let old = stage.leader(None).await;
    let [heir, other] = stage.others(old)[..] else { return };
    let (client, reader) = (stage.client_for(&[old], ms(600)), stage.client_of(&[heir]));
    stage.put_surely(&client, "k").await;
    // The third cannot be elected: its log is shorter.
    stage.cut(old, other).await;
    stage.member(heir).disk.stall(ms(50));
    let cut = async {
        tokio::time::sleep(ms(25)).await;
        stage.cut_one_way(old, heir).await;
    };
    tokio::join!(stage.put(&client, "k", 0), cut);
    stage.member(heir).disk.stall(ms(250));
    let until = now() + Duration::from_secs(4);
    while now() < until {
        stage.read(&reader, LINEARIZABLE, heir).await;
        stage.read(&reader, Level::Lease, heir).await;
        tokio::time::sleep(ms(7)).await;
    }
}

/// The machine of a leader sleeps while the others elect another. What they had acknowledged was on its way,
/// arrives when it wakes up, and looks young: its timers have not seen the time go by. (Here it is the
/// others' timers that leap ahead: turmoil cannot stop a host.)
async fn paused(stage: Arc<Stage>) {
    const SLEEP: Duration = Duration::from_millis(1500);
    let leader = stage.leader(None).await;
    let others = stage.others(leader);
    let (old, new) = (stage.client_of(&[leader]), stage.client_of(&others));
    stage.put_surely(&old, "k").await;
    stage.read(&old, Level::Lease, leader).await;
    stage.hold(leader).await;
    others.iter().for_each(|id| stage.member(*id).leap(SLEEP));
    stage.member(leader).clock.sleep_through(SLEEP);
    tokio::time::sleep(ms(30)).await;
    stage.release_and_isolate(leader).await;
    let until = now() + Duration::from_millis(1200);
    let read = |level: Level| {
        let (stage, old) = (stage.clone(), old.clone());
        async move {
            while now() < until {
                stage.read(&old, level, leader).await;
                tokio::time::sleep(ms(7)).await;
            }
        }
    };
    let write = async {
        while now() < until {
            stage.put(&new, "k", 0).await;
            tokio::time::sleep(ms(10)).await;
        }
    };
    tokio::join!(read(Level::Lease), read(LINEARIZABLE), write);
}

/// A voter's clock is as much faster than its leader's as the configuration allows. Somebody stands for
/// election at the very moment at which the voter's promise ends.
async fn apart(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let [heir, voter] = stage.others(leader)[..] else { return };
    let (old, new) = (stage.client_of(&[leader]), stage.client_of(&[heir]));
    stage.put_surely(&old, "k").await;
    tokio::time::sleep(ms(200)).await;
    // It has all entries, and misses its leader long before the voter does.
    stage.cut(leader, heir).await;
    stage.member(heir).leap(LONG_PROMISE * 3);
    tokio::time::sleep(Duration::from_secs(4)).await;
    stage.isolate(leader).await;
    let ends = now() + LONG_PROMISE;
    stage.member(voter).leap(LONG_PROMISE.mul_f64(DRIFT));
    tokio::time::sleep(LONG_PROMISE.mul_f64(1.0 - 2.0 * DRIFT)).await;
    let elections = stage.world().ledger.elections();
    let stand = async {
        while now() < ends && stage.world().ledger.elections() == elections {
            stage.member(heir).leap(ms(200));
            tokio::time::sleep(ms(20)).await;
        }
    };
    tokio::join!(stand, contend(&stage, (leader, Level::Lease), (&old, &new)));
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

/// A leader and one follower are cut off from the other three, whose timers leap ahead: they elect another at
/// once, while their leader believes that it has just heard from a quorum. The follower, which follows it
/// on, is asked all the time.
async fn minority(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let [follower, ref rest @ ..] = stage.others(leader)[..] else { return };
    let (old, new) = (stage.client_of(&[follower]), stage.client_of(rest));
    stage.put_surely(&old, "k").await;
    for other in rest {
        stage.cut(leader, *other).await;
        stage.cut(follower, *other).await;
    }
    rest.iter().for_each(|id| stage.member(*id).leap(Duration::from_millis(1500)));
    contend(&stage, (follower, LINEARIZABLE), (&old, &new)).await;
}

/// Writes through the new side, and reads from a member of the old one, side by side.
async fn contend(
    stage: &Stage,
    (member, level): (u64, Level),
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
            stage.read(old, level, member).await;
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
    stage.hold(leader).await;
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
