//! The queue: who holds, who waits, who is next.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use quorate::{
    Error,
    recipes::{KvApi, LeaseApi, lock},
    types::{CallOptions, Delete, KeyRange, LockMode, LockProgress, Put},
};

use super::fixture::{LONG, Nodes, acquire_of};
use crate::support::{SOON, eventually};

/// How many wait at once in the tests of order.
const WAITERS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_hold_one_at_a_time_in_the_order_in_which_they_came_and_tokens_grow() {
    let nodes = Arc::new(Nodes::three().await);
    let (inside, order) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let mut tasks = tokio::task::JoinSet::new();
    let first = nodes.ask(0, "fifo", LockMode::Exclusive).await;
    for rank in 1..WAITERS {
        let asker = nodes.ask(rank, "fifo", LockMode::Exclusive).await;
        assert_eq!(asker.position(), rank as u64);
        let (nodes, inside, order) = (nodes.clone(), inside.clone(), order.clone());
        tasks.spawn(async move {
            let held = asker.granted().await;
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
            order.lock().expect("no panic").push((rank, held.fencing_token));
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            nodes.release(&held).await.expect("it is held");
        });
    }
    let state = lock::inspect(nodes.node(0), &"fifo".into(), CallOptions::default()).await.expect("a state");
    assert_eq!(state.places.len(), WAITERS);
    assert_eq!(state.places.iter().filter(|place| place.holds).count(), 1);
    assert_eq!(state.places[0].kv.create_revision, first.held().fencing_token);

    nodes.release(&first.held()).await.expect("it is held");
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    let order = order.lock().expect("no panic").clone();
    assert_eq!(order.iter().map(|(rank, _)| *rank).collect::<Vec<_>>(), (1..WAITERS).collect::<Vec<_>>());
    assert!(order.windows(2).all(|pair| pair[0].1 < pair[1].1), "{order:?}");
    assert!(order[0].1 > first.held().fencing_token);
}

#[tokio::test]
async fn those_who_share_hold_together_but_not_past_one_who_does_not() {
    let nodes = Nodes::three().await;
    let first = nodes.ask(0, "rw", LockMode::Shared).await;
    let second = nodes.ask(1, "rw", LockMode::Shared).await;
    let (one, two) = (first.held(), second.held());
    let mut writer = nodes.ask(2, "rw", LockMode::Exclusive).await;
    assert_eq!(writer.position(), 2);
    let mut late = nodes.ask(0, "rw", LockMode::Shared).await;
    assert_eq!(late.position(), 3);

    nodes.release(&two).await.expect("it is held");
    assert!(writer.still_waits().await && late.still_waits().await);
    nodes.release(&one).await.expect("it is held");
    let writing = writer.granted().await;
    assert!(late.still_waits().await);
    nodes.release(&writing).await.expect("it is held");
    late.granted().await;
}

#[tokio::test]
async fn permits_let_so_many_hold_and_the_next_in_turn() {
    let nodes = Nodes::three().await;
    let mode = LockMode::Permits(2);
    let (first, second) = (nodes.ask(0, "p", mode).await, nodes.ask(1, "p", mode).await);
    let (one, two) = (first.held(), second.held());
    let (third, mut fourth) = (nodes.ask(2, "p", mode).await, nodes.ask(0, "p", mode).await);
    let mut alone = nodes.ask(1, "p", LockMode::Exclusive).await;
    assert_eq!((third.position(), fourth.position(), alone.position()), (2, 3, 4));

    nodes.release(&two).await.expect("it is held");
    let three = third.granted().await;
    assert!(fourth.still_waits().await);
    nodes.release(&one).await.expect("it is held");
    let four = fourth.granted().await;
    assert!(alone.still_waits().await);
    nodes.release(&three).await.expect("it is held");
    nodes.release(&four).await.expect("it is held");
    alone.granted().await;
}

#[tokio::test]
async fn who_waits_for_a_number_of_places_to_go_is_neither_let_in_nor_left_out_by_those_behind() {
    let nodes = Nodes::three().await;
    let mode = LockMode::Permits(2);
    let (one, two) = (nodes.ask(0, "n", mode).await.held(), nodes.ask(1, "n", mode).await.held());
    let (mut third, mut fourth) = (nodes.ask(2, "n", mode).await, nodes.ask(0, "n", mode).await);
    let (fifth, data) = (nodes.ask(1, "n", mode).await, "n/0data");
    let put = Put { key: data.into(), value: "".into(), ..Put::default() };
    nodes.node(0).put(put, CallOptions::default()).await.expect("a write");
    fifth.acquiring.give_up().await;
    let delete = Delete { keys: KeyRange::key(data), prev_kv: false };
    nodes.node(0).delete(delete, CallOptions::default()).await.expect("a write");
    assert!(third.still_waits().await && fourth.still_waits().await);

    nodes.release(&two).await.expect("it is held");
    let three = third.granted().await;
    assert!(fourth.still_waits().await);
    nodes.release(&three).await.expect("it is held");
    fourth.granted().await;
    nodes.release(&one).await.expect("it is held");
}

#[tokio::test]
async fn a_waiter_hears_at_once_that_its_session_has_ended() {
    let nodes = Nodes::three().await;
    let holder = nodes.ask(0, "told", LockMode::Exclusive).await;
    let dying = nodes.ask(1, "told", LockMode::Exclusive).await;
    let behind = nodes.ask(2, "told", LockMode::Exclusive).await;
    let (session, began) = (dying.session, Instant::now());
    let refused = tokio::spawn(dying.refused());
    nodes.revoke(session).await;
    assert_eq!(refused.await.expect("no panic"), Error::LeaseNotFound(session));
    assert!(began.elapsed().as_secs() < 3, "told after {:?}", began.elapsed());

    // Nobody waits for the dead.
    nodes.release(&holder.held()).await.expect("it is held");
    behind.granted().await;
}

#[tokio::test]
async fn the_end_of_the_holders_session_hands_the_lock_over_and_its_late_release_hurts_nobody() {
    let nodes = Nodes::three().await;
    let holder = nodes.ask(0, "late", LockMode::Exclusive).await;
    let next = nodes.ask(1, "late", LockMode::Exclusive).await;
    nodes.revoke(holder.session).await;
    let held = next.granted().await;
    let late = nodes.release(&holder.held()).await.expect_err("it is lost");
    let (owner_key, token) = (holder.held().owner_key, holder.held().fencing_token);
    assert_eq!(late, Error::LockLost { owner_key, token, current_token: held.fencing_token });
    nodes.release(&held).await.expect("it is still held");
}

#[tokio::test]
async fn a_session_that_is_not_kept_alive_loses_the_lock() {
    let nodes = Nodes::three().await;
    let session = nodes.lease(std::time::Duration::from_secs(1)).await;
    let asked = acquire_of("short", session, LockMode::Exclusive);
    nodes.ask_as(0, session, asked).await.expect("a place").held();
    nodes.ask(1, "short", LockMode::Exclusive).await.granted().await;
}

#[tokio::test]
async fn who_stops_waiting_leaves_no_place_behind() {
    let nodes = Nodes::three().await;
    let holder = nodes.ask(0, "drop", LockMode::Exclusive).await;
    let waiter = nodes.ask(1, "drop", LockMode::Exclusive).await;
    let behind = nodes.ask(2, "drop", LockMode::Exclusive).await;
    drop(waiter.acquiring);
    eventually("the place is gone", SOON, async || match nodes.pairs("drop/").await.len() {
        2 => Ok(()),
        places => Err(format!("{places} places")),
    })
    .await;
    nodes.release(&holder.held()).await.expect("it is held");
    let held = behind.granted().await;

    // A grant is not given up by dropping what led to it.
    assert_eq!(nodes.pairs("drop/").await.len(), 1);
    nodes.release(&held).await.expect("it is held");
}

#[tokio::test]
async fn a_session_that_asks_again_finds_its_place() {
    let nodes = Nodes::three().await;
    let session = nodes.lease(LONG).await;
    let asked = acquire_of("again", session, LockMode::Exclusive);
    let first = nodes.ask_as(0, session, asked.clone()).await.expect("a place").held();
    let behind = nodes.ask(1, "again", LockMode::Exclusive).await;
    let again = quorate::types::Acquire { value: "new".into(), ..asked };
    let again = nodes.ask_as(1, session, again).await.expect("the same place").held();
    assert_eq!((&again.owner_key, again.fencing_token), (&first.owner_key, first.fencing_token));
    assert_eq!(nodes.pairs("again/").await.len(), 2);
    let own = nodes.pairs("again/").await.into_iter().find(|kv| kv.key == first.owner_key).expect("there");
    assert_eq!((&own.value[..], own.lease), (&b"new"[..], session));

    // Entered again while it waits, from another member: the later one waits on.
    let waiting = acquire_of("again", behind.session, LockMode::Exclusive);
    let other = nodes.ask_as(2, behind.session, waiting).await.expect("the same place");
    assert_eq!(other.position(), 1);
    nodes.release(&first).await.expect("it is held");
    assert_eq!(other.granted().await.fencing_token, behind.granted().await.fencing_token);
}

#[tokio::test]
async fn trying_takes_the_lock_or_leaves_no_trace() {
    let nodes = Nodes::three().await;
    let options = CallOptions::default;
    let sessions = (nodes.lease(LONG).await, nodes.lease(LONG).await);
    let asked = |session| acquire_of("try", session, LockMode::Exclusive);
    let (_, held) = lock::try_acquire(nodes.node(0), asked(sessions.0), options()).await.expect("an answer");
    let held = held.expect("it is free");
    let (header, none) =
        lock::try_acquire(nodes.node(1), asked(sessions.1), options()).await.expect("an answer");
    assert_eq!((none, nodes.pairs("try/").await.len()), (None, 1));
    assert!(header.revision >= held.fencing_token);
    let (_, again) = lock::try_acquire(nodes.node(1), asked(sessions.0), options()).await.expect("an answer");
    assert_eq!(again.expect("it is its own").fencing_token, held.fencing_token);
}

#[tokio::test]
async fn many_who_try_at_once_are_never_all_refused() {
    let nodes = Nodes::three().await;
    for round in 0..10 {
        let name = format!("race-{round}");
        let sessions = futures::future::join_all((0..4).map(|_| nodes.lease(LONG))).await;
        let tries = sessions.iter().enumerate().map(|(at, session)| {
            let asked = acquire_of(&name, *session, LockMode::Exclusive);
            lock::try_acquire(nodes.node(at), asked, CallOptions::default())
        });
        let answers = futures::future::try_join_all(tries).await.expect("answers");
        assert_eq!(answers.iter().filter(|(_, held)| held.is_some()).count(), 1);
        assert_eq!(nodes.pairs(&format!("{name}/")).await.len(), 1);
    }
}

#[tokio::test]
async fn other_keys_below_the_name_are_no_places() {
    let nodes = Nodes::three().await;
    for key in
        ["near/0", "near/0000000000000001", "near/0000000000000002x/0000000000000001x", "near/fz", "near"]
    {
        let put = Put { key: key.into(), value: "v".into(), ..Put::default() };
        nodes.node(0).put(put, CallOptions::default()).await.expect("written");
    }
    let holder = nodes.ask(0, "near", LockMode::Exclusive).await;
    let waiter = nodes.ask(1, "near", LockMode::Exclusive).await;
    assert_eq!(waiter.position(), 1);
    let state = lock::inspect(nodes.node(2), &"near".into(), CallOptions::default()).await.expect("a state");
    assert_eq!(state.places.len(), 2);
    nodes.release(&holder.held()).await.expect("it is held");
    waiter.granted().await;
}

#[tokio::test]
async fn a_name_is_any_bytes() {
    let nodes = Nodes::three().await;
    for name in [&b"\x00"[..], b"/", b"\xff\xff", b"a/b/", "schloß".as_bytes()] {
        let session = nodes.lease(LONG).await;
        let mut asked = acquire_of("", session, LockMode::Exclusive);
        asked.name = bytes::Bytes::copy_from_slice(name);
        let asker = nodes.ask_as(0, session, asked).await.expect("a place");
        nodes.release(&asker.held()).await.expect("it is held");
    }
}

#[tokio::test]
async fn a_queue_longer_than_one_answer_is_read_whole() {
    let nodes = Nodes::three().await;
    let session = nodes.lease(LONG).await;
    // Values that make an answer full, in keys that are no places: one part ends among them.
    for at in 0..5_u8 {
        let value = bytes::Bytes::from(vec![at; 1 << 20]);
        let put = Put { key: format!("long/{at}").into(), value, ..Put::default() };
        nodes.node(0).put(put, CallOptions::default()).await.expect("written");
    }
    let asked = acquire_of("long", session, LockMode::Exclusive);
    let holder = nodes.ask_as(0, session, asked).await.expect("a place").held();
    let state = lock::inspect(nodes.node(1), &"long".into(), CallOptions::default()).await.expect("a state");
    let tokens: Vec<_> = state.places.iter().map(|place| place.kv.create_revision).collect();
    assert_eq!(tokens, [holder.fencing_token]);
}

#[tokio::test]
async fn a_member_that_stops_says_so_to_those_who_wait_on_it() {
    let nodes = Nodes::three().await;
    let _holder = nodes.ask(0, "stop", LockMode::Exclusive).await;
    let waiter = nodes.ask(1, "stop", LockMode::Exclusive).await;
    let refused = tokio::spawn(waiter.refused());
    nodes.node(1).shutdown().await.expect("an end");
    let error = refused.await.expect("no panic");
    assert!(matches!(error, Error::ShuttingDown | Error::Stopped(_)), "{error:?}");
}

#[tokio::test]
async fn the_place_that_was_deleted_by_hand_is_told_as_lost() {
    let nodes = Nodes::three().await;
    let _holder = nodes.ask(0, "hand", LockMode::Exclusive).await;
    let waiter = nodes.ask(1, "hand", LockMode::Exclusive).await;
    let LockProgress::Queued { owner_key, .. } = waiter.first.clone() else { panic!("it waits") };
    let delete = quorate::types::Delete { keys: KeyRange::key(owner_key), prev_kv: false };
    nodes.node(0).delete(delete, CallOptions::default()).await.expect("deleted");
    assert!(matches!(waiter.refused().await, Error::LockLost { .. }));
}

#[tokio::test]
async fn a_lease_of_many_locks_gives_all_of_them_back() {
    let nodes = Nodes::three().await;
    let session = nodes.lease(LONG).await;
    for name in ["m1", "m2", "m3"] {
        nodes.ask_as(0, session, acquire_of(name, session, LockMode::Exclusive)).await.expect("free").held();
    }
    let waiters =
        futures::future::join_all(["m1", "m2", "m3"].map(|name| nodes.ask(1, name, LockMode::Exclusive)));
    let waiters = waiters.await;
    let ended = nodes.node(2).revoke(session, CallOptions::default()).await.expect("it is there");
    assert_eq!(ended.result.deleted, 3);
    for waiter in waiters {
        waiter.granted().await;
    }
}
