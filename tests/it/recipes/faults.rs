//! What locks and elections make of members that end, that are full, or whose answers are late.

use std::time::Duration;

use futures::StreamExt;
use quorate::{
    Error,
    recipes::{KeptLease, election, lock},
    types::{CallOptions, Held, LockMode, LockProgress},
};
use tokio::task::JoinHandle;

use super::{
    faulty::{Faulty, RETRY_AFTER},
    fixture::{LONG, Nodes, acquire_of},
};
use crate::support::{SOON, eventually};

/// Waits for a lock over a store with faults, behind somebody who holds it.
async fn waits(nodes: &Nodes, store: &Faulty, name: &str) -> JoinHandle<Result<Held, Error>> {
    let session = nodes.lease(LONG).await;
    let asked = acquire_of(name, session, LockMode::Exclusive);
    let mut waiter = lock::acquire(store, asked, CallOptions::default()).await.expect("a place");
    let first = waiter.next().await.expect("a place");
    assert!(matches!(first, LockProgress::Queued { position: 1, .. }), "{first:?}");
    tokio::spawn(async move {
        loop {
            if let LockProgress::Granted(held) = waiter.next().await? {
                return Ok(held);
            }
        }
    })
}

async fn granted(waiter: JoinHandle<Result<Held, Error>>) -> Held {
    let granted = tokio::time::timeout(SOON, waiter).await.expect("in time").expect("no panic");
    granted.expect("a grant")
}

#[tokio::test]
async fn a_waiter_among_many_members_gets_over_those_that_end() {
    let nodes = Nodes::three().await;
    let holder = nodes.ask(0, "ends", LockMode::Exclusive).await.held();
    let store = Faulty::new(nodes.node(1));
    let waiter = waits(&nodes, &store, "ends").await;
    store.ends(true);
    nodes.release(&holder).await.expect("it is held");
    eventually("it has asked those that end", SOON, async || match store.refused() {
        0 | 1 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    store.ends(false);
    granted(waiter).await;
}

#[tokio::test]
async fn a_member_that_has_too_many_watches_is_asked_again_when_it_said() {
    let nodes = Nodes::three().await;
    let holder = nodes.ask(0, "full", LockMode::Exclusive).await.held();
    let (waits_on, observes) = (Faulty::new(nodes.node(1)), Faulty::new(nodes.node(2)));
    [&waits_on, &observes].iter().for_each(|store| store.is_full(true));
    let waiter = waits(&nodes, &waits_on, "full").await;
    let mut leaders =
        election::observe(&observes, &"full".into(), 0, CallOptions::default()).await.expect("observed");
    let first = leaders.next().await.expect("told").expect("no error").leader.expect("a leader");
    assert_eq!(first.create_revision, holder.fencing_token);
    let observer = tokio::spawn(async move { leaders.next().await });

    let looks = 4;
    tokio::time::sleep(RETRY_AFTER * looks).await;
    let (waiter_asked, observer_asked) = (waits_on.refused(), observes.refused());
    // A waiter has two watches.
    assert!(waiter_asked <= 2 * (looks as usize + 1), "it asked {waiter_asked} times");
    assert!((1..=looks as usize + 1).contains(&observer_asked), "it asked {observer_asked} times");

    [&waits_on, &observes].iter().for_each(|store| store.is_full(false));
    nodes.release(&holder).await.expect("it is held");
    let held = granted(waiter).await;
    let change = tokio::time::timeout(SOON, observer).await.expect("in time").expect("no panic");
    let leader = change.expect("told").expect("no error").leader.expect("a leader");
    assert_eq!(leader.create_revision, held.fencing_token);
}

#[tokio::test]
async fn a_lease_whose_grant_was_answered_late_is_renewed_before_it_is_lost() {
    let nodes = Nodes::three().await;
    let (store, ttl) = (Faulty::new(nodes.node(1)), Duration::from_secs(4));
    store.grants_late(ttl * 3 / 4);
    let lease = KeptLease::grant(&store, ttl, CallOptions::default()).await.expect("a lease");
    lease.hold().await.expect("it lives");
    tokio::time::sleep(ttl / 2).await;
    assert!(lease.is_held(), "it was first renewed when it was lost already");
}
