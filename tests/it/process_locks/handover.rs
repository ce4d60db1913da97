//! A lock that goes from client to client while members are killed. `QUORATE_HANDOVERS=1000` is the long run.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::{
    Error,
    client::Client,
    recipes::{KvApi, LockGuard, LockOptions, Recipes},
    types::{CallOptions, Put, Revision},
};
use rand::{RngExt, seq::IndexedRandom};
use tokio::task::JoinSet;

use crate::support::{SOON, cluster::Cluster, load::connect, random, setting};

const CLIENTS: usize = 6;
const TTL: Duration = Duration::from_secs(3);

/// A wait longer than this is a waiter that was forgotten: some elections, some leases that ran out, and all
/// others before it.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What was seen: for each grant that wrote under its guard, the revision of the write and the token.
#[derive(Default)]
struct Seen {
    grants: Mutex<Vec<(Revision, Revision)>>,
    lost: AtomicUsize,
    longest: Mutex<Duration>,
    inside: AtomicUsize,
    done: AtomicBool,
}

impl Seen {
    fn waited(&self, time: Duration) {
        let mut longest = self.longest.lock().expect("no panic");
        *longest = time.max(*longest);
    }

    fn count(&self) -> usize {
        self.grants.lock().expect("no panic").len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_waiter_is_forgotten_and_tokens_grow_while_members_are_killed() {
    let wanted = setting("QUORATE_HANDOVERS", 30);
    let mut random = random();
    let mut cluster = Cluster::three().await;
    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(take_turns(connect(&cluster), seen.clone(), wanted));
    }
    let (began, mut kills) = (Instant::now(), 0);
    while !seen.done.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(random.random_range(500..2500))).await;
        let victim = *cluster.ids().choose(&mut random).expect("members");
        cluster.kill(victim);
        kills += 1;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1000))).await;
        cluster.launch(victim, &[]);
        cluster.wait_ready(victim).await;
        assert!(*seen.longest.lock().expect("no panic") < WAIT_MAX, "somebody waited too long");
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no panic");
    }
    let mut grants = seen.grants.lock().expect("no panic").clone();
    grants.sort_unstable();
    assert!(grants.windows(2).all(|pair| pair[0].1 < pair[1].1), "tokens in order of writes: {grants:?}");
    println!(
        "{} hand-overs and {kills} kills in {:.1?}; longest wait {:.2?}; {} locks lost to elections",
        grants.len(),
        began.elapsed(),
        *seen.longest.lock().expect("no panic"),
        seen.lost.load(Ordering::Relaxed),
    );
}

async fn take_turns(client: Client, seen: Arc<Seen>, wanted: usize) {
    while !seen.done.load(Ordering::Relaxed) {
        let began = Instant::now();
        let options = LockOptions { ttl: TTL, wait: Some(WAIT_MAX), ..LockOptions::new("baton") };
        let guard = match client.lock(options).await {
            Ok(guard) => guard,
            // No session could be opened, or it did not outlive an outage: another turn.
            Err(error) if !is_forgotten(&error) => continue,
            Err(error) => panic!("nobody gave the lock within {WAIT_MAX:?}: {error}"),
        };
        seen.waited(began.elapsed());
        turn(&client, guard, &seen).await;
        if seen.count() >= wanted {
            seen.done.store(true, Ordering::Relaxed);
        }
    }
}

fn is_forgotten(error: &Error) -> bool {
    matches!(error, Error::Deadline { waiting_for, .. } if waiting_for == quorate::recipes::lock::THE_LOCK)
}

/// One grant: writes under its guard, alone as long as it is held.
async fn turn(client: &Client, guard: LockGuard<Client>, seen: &Seen) {
    let token = guard.token();
    let put = Put { key: "turn".into(), value: token.to_string().into(), ..Put::default() };
    let how = CallOptions { timeout: Some(SOON), ..CallOptions::default() };
    let others = seen.inside.fetch_add(1, Ordering::SeqCst);
    let held = guard.is_held();
    let work = Duration::from_millis(rand::random_range(0..150));
    tokio::time::sleep(work).await;
    match client.guarded(&guard).put(put, how).await {
        Ok(answer) => {
            assert!(others == 0 || !held || !guard.is_held(), "two hold it");
            seen.grants.lock().expect("no panic").push((answer.header.revision, token));
        }
        Err(_) => drop(seen.lost.fetch_add(1, Ordering::Relaxed)),
    }
    seen.inside.fetch_sub(1, Ordering::SeqCst);
    // What is lost is somebody else's by now; what is not known ends with its lease.
    let _ = guard.release().await;
}
