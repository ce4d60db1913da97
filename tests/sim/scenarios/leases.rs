//! Leases: whoever counts them down must lead, and what was told of them must stay true.

use std::{sync::Arc, time::Duration};

use quorate::{
    Client,
    mutant::Mutant,
    recipes::LeaseApi,
    types::{CallOptions, Grant},
};

use super::{Scenario, Stage};
use crate::{
    workload::Leased,
    world::{Loss, ms, now},
};

const TTL: Duration = Duration::from_secs(1);

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("expired_by_an_old_leader", 3, |s| Box::pin(expired_by_an_old_leader(s)))
            .falls(Mutant::ExpiredByOldLeader, "leases: "),
        Scenario::new("keep_alive_and_the_end_of_its_lease", 3, |s| Box::pin(hanging_end(s)))
            .falls(Mutant::EndGivenUp, "leases: "),
    ]
}

async fn grant(stage: &Stage, client: &Client) -> Leased {
    loop {
        let alive_from = now();
        let grant = Grant { id: 0, ttl: TTL, session: false };
        if let Ok(granted) = client.grant(grant, CallOptions::default()).await {
            let id = granted.result.id;
            stage.world().trace.event("script", format!("has lease {id}"));
            return Leased { id, ttl: TTL, alive_from, left_at: now() };
        }
        tokio::time::sleep(ms(10)).await;
    }
}

/// Keeps a lease alive. Gives when the last keep-alive that was answered was sent.
async fn keep(stage: &Stage, client: &Client, lease: u64, until: Duration) -> Option<Duration> {
    let mut alive_from = None;
    while now() < until {
        let sent = now();
        if client.keep_alive(lease, CallOptions::default()).await.is_ok() {
            stage.world().trace.event("script", format!("keeps lease {lease} alive, asked at {sent:?}"));
            alive_from = Some(sent);
        }
        tokio::time::sleep(ms(23)).await;
    }
    alive_from
}

/// Its holder is done with it.
fn leave(stage: &Stage, leased: Leased, alive_from: impl IntoIterator<Item = Duration>) {
    let alive_from = alive_from.into_iter().fold(leased.alive_from, Duration::max);
    stage.clients.history().leases.push(Leased { alive_from, left_at: now(), ..leased });
}

/// A leader that is cut off counts down what its holder keeps alive at the next one, and then reaches that.
async fn expired_by_an_old_leader(stage: Arc<Stage>) {
    let old = stage.leader(None).await;
    let (here, there) = (stage.client_of(&[old]), stage.client_of(&stage.others(old)));
    let leased = grant(&stage, &here).await;
    stage.isolate(old).await;
    let kept = keep(&stage, &there, leased.id, now() + Duration::from_millis(2500)).await;
    stage.join(old).await;
    let later = keep(&stage, &there, leased.id, now() + Duration::from_secs(2)).await;
    leave(&stage, leased, kept.into_iter().chain(later));
}

/// One member is down, and the leader's own disk stands still: the end of a lease is on the third member, and
/// is not committed for long. Its holder comes just then.
async fn hanging_end(stage: Arc<Stage>) {
    let leader = stage.leader(None).await;
    let down = stage.others(leader)[0];
    let client = stage.client_of(&[leader]);
    stage.crash(down, Loss::Some, false).await;
    let leased = grant(&stage, &client).await;
    stage.member(leader).disk.stall(Duration::from_secs(8));
    tokio::time::sleep(TTL).await;
    let (lease, until) = (leased.id, now() + Duration::from_secs(8));
    let keeping = (0..8u64).map(|number| {
        let (stage, client) = (stage.clone(), client.clone());
        async move {
            tokio::time::sleep(ms(number * 7)).await;
            keep(&stage, &client, lease, until).await
        }
    });
    let kept = futures::future::join_all(keeping).await;
    stage.start(down).await;
    leave(&stage, leased, kept.into_iter().flatten());
}
