//! What a holder has in hand: its deadline, its signal, its guard.

use std::time::{Duration, Instant};

use quorate::{
    Error,
    recipes::{KvApi, LeaseApi, LockOptions, Recipes},
    types::{CallOptions, Grant, LockMode, LockProgress, Put},
};

use super::{deaf::Deaf, fixture::Nodes};
use crate::support::{SOON, eventually};

fn options(name: &str, ttl_ms: u64) -> LockOptions {
    LockOptions { ttl: Duration::from_millis(ttl_ms), ..LockOptions::new(name.to_owned()) }
}

fn put(value: &str) -> Put {
    Put { key: "data".into(), value: value.to_owned().into(), ..Put::default() }
}

async fn gone(nodes: &Nodes, prefix: &str) {
    eventually("the place is gone", SOON, async || match nodes.pairs(prefix).await.len() {
        0 => Ok(()),
        places => Err(format!("{places} places")),
    })
    .await;
}

#[tokio::test]
async fn a_lock_is_kept_as_long_as_its_guard_lives() {
    let nodes = Nodes::three().await;
    let guard = nodes.node(0).lock(options("kept", 800)).await.expect("the lock");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(guard.is_held() && !guard.lost().is_cancelled());
    let guarded = nodes.node(1).guarded(&guard);
    guarded.put(put("mine"), CallOptions::default()).await.expect("it is held");
    assert!(nodes.node(2).try_lock(options("kept", 800)).await.expect("an answer").is_none());
    let lost = guard.lost();
    guard.release().await.expect("it is held");
    assert!(lost.is_cancelled());
    gone(&nodes, "kept/").await;

    drop(nodes.node(2).lock(options("kept", 60_000)).await.expect("the lock"));
    gone(&nodes, "kept/").await;
    assert!(nodes.node(0).leases(0, 0, CallOptions::default()).await.expect("a list").leases.is_empty());
}

#[tokio::test]
async fn a_holder_whose_keep_alives_are_lost_stops_before_the_server_ends_its_lease() {
    let nodes = Nodes::three().await;
    let deaf = Deaf::new(nodes.node(0));
    let guard = deaf.lock(options("deaf", 1500)).await.expect("the lock");
    deaf.set(true);
    let began = Instant::now();
    tokio::time::timeout(SOON, guard.lost().cancelled()).await.expect("it is told");
    assert!(!guard.is_held() && guard.remaining().is_zero());
    assert!(began.elapsed() < Duration::from_millis(1500), "told after {:?}", began.elapsed());
    assert_eq!(nodes.pairs("deaf/").await.len(), 1, "nobody else has it yet");

    // Later the server does end it; the guard then refuses what a holder that was asleep would still write.
    let next = nodes.node(1).lock(options("deaf", 1500)).await.expect("the lock");
    let token = guard.token();
    let refused = nodes.node(2).guarded(&guard).put(put("late"), CallOptions::default()).await;
    let owner_key = guard.owner_key().clone();
    assert_eq!(refused.map(drop), Err(Error::LockLost { owner_key, token, current_token: next.token() }));
    assert!(next.token() > token);
    deaf.set(false);
    assert!(!guard.is_held(), "what was called lost does not come back");
    let released = guard.release().await;
    assert!(matches!(released, Err(Error::LockLost { .. })), "{released:?}");
    assert!(next.is_held());
}

#[tokio::test]
async fn a_holder_whose_lease_is_ended_by_somebody_else_hears_of_it() {
    let nodes = Nodes::three().await;
    let guard = nodes.node(0).lock(options("ended", 1500)).await.expect("the lock");
    nodes.revoke(guard.lease()).await;
    tokio::time::timeout(Duration::from_secs(1), guard.lost().cancelled()).await.expect("soon");
    assert!(!guard.is_held());
}

#[tokio::test]
async fn a_wait_ends_with_its_time_and_leaves_nothing_behind() {
    let nodes = Nodes::three().await;
    let held = nodes.node(0).lock(options("wait", 5000)).await.expect("the lock");
    let short = LockOptions { wait: Some(Duration::from_millis(300)), ..options("wait", 5000) };
    let refused = nodes.node(1).lock(short).await.err().expect("too late");
    assert!(matches!(refused, Error::Deadline { maybe_committed: false, .. }), "{refused:?}");
    eventually("one place is left", SOON, async || match nodes.pairs("wait/").await.len() {
        1 => Ok(()),
        places => Err(format!("{places} places")),
    })
    .await;
    assert!(held.is_held());
}

#[tokio::test]
async fn the_way_to_a_lock_is_told() {
    let nodes = Nodes::three().await;
    let first = nodes.node(0).lock(options("way", 5000)).await.expect("the lock");
    let (tell, mut told) = tokio::sync::mpsc::channel(8);
    let node = nodes.node(1).clone();
    let waiting = tokio::spawn(async move {
        let tell = |progress: &LockProgress| drop(tell.try_send(progress.clone()));
        node.lock_telling(options("way", 5000), tell).await
    });
    assert!(matches!(told.recv().await, Some(LockProgress::Queued { position: 1, .. })));
    first.release().await.expect("it is held");
    let second = waiting.await.expect("no panic").expect("the lock");
    assert!(matches!(told.recv().await, Some(LockProgress::Granted(held)) if held == *second.held()));
    let shared = LockOptions { mode: LockMode::Shared, ..options("way", 5000) };
    assert!(nodes.node(2).try_lock(shared).await.expect("an answer").is_none());
}

#[tokio::test]
async fn every_kind_of_write_is_guarded() {
    let nodes = Nodes::three().await;
    let guard = nodes.node(0).lock(options("all", 5000)).await.expect("the lock");
    let guarded = nodes.node(0).guarded(guard.guard());
    let how = CallOptions::default;
    let other = nodes.lease(Duration::from_secs(60)).await;
    nodes.revoke(guard.lease()).await;
    let delete = quorate::types::Delete { keys: quorate::types::KeyRange::all(), prev_kv: false };
    let grant = Grant { id: 0, ttl: Duration::from_secs(1), session: false };
    let txn = quorate::types::Txn::default();
    for (what, said) in [
        ("put", guarded.put(put("x"), how()).await.map(drop)),
        ("delete", guarded.delete(delete, how()).await.map(drop)),
        ("txn", guarded.txn(txn, how()).await.map(drop)),
        ("compact", guarded.compact(1, how()).await.map(drop)),
        ("grant", guarded.grant(grant, how()).await.map(drop)),
        ("revoke", guarded.revoke(other, how()).await.map(drop)),
    ] {
        assert!(matches!(said, Err(Error::LockLost { current_token: 0, .. })), "{what}: {said:?}");
    }
    guarded.keep_alive(other, how()).await.expect("no write");
}
