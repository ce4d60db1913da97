//! The counter of which every increment is read, added to and written back under a lock, by clients that are
//! stopped past their lease while they hold it, as leaders are killed. With guards it is exact. Without, it
//! loses increments: the lock alone does not stop a holder that sleeps.
//!
//! `QUORATE_COUNTER_CLIENTS=16 QUORATE_COUNTER_INCREMENTS=2000` is the long run.

use std::time::{Duration, Instant};

use quorate::{
    Error,
    client::{Client, ClientBuilder},
    recipes::{KvApi, LockGuard, LockOptions, Recipes},
    types::{CallOptions, Consistency, KeyRange, Put, Range},
};
use tokio::task::JoinSet;

use crate::support::{cluster::Cluster, deaf::Deaf, setting};

const TTL: Duration = Duration::from_secs(2);

/// How long a holder is stopped: past its lease, and a look of the leader's.
const STOPPED: Duration = Duration::from_millis(4500);

/// Between two kills of the leader.
const KILL_EVERY: Duration = Duration::from_secs(8);

/// What one run did.
struct Outcome {
    acknowledged: u64,
    counted: u64,
    refused: u64,
    stopped: u64,
    kills: u64,
    took: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn with_guards_the_counter_is_exact_and_without_it_loses_increments() {
    let mut cluster = Cluster::three().await;
    let guarded = run(&mut cluster, "guarded", true).await;
    println!(
        "with guards:    {} increments acknowledged, {} counted, {} refused as LOCK_LOST and done again \
         ({} holders stopped, {} leaders killed, {:.0?})",
        guarded.acknowledged, guarded.counted, guarded.refused, guarded.stopped, guarded.kills, guarded.took
    );
    let bare = run(&mut cluster, "bare", false).await;
    println!(
        "without guards: {} increments acknowledged, {} counted: {} lost \
         ({} holders stopped, {} leaders killed, {:.0?})",
        bare.acknowledged,
        bare.counted,
        bare.acknowledged - bare.counted,
        bare.stopped,
        bare.kills,
        bare.took
    );
    assert_eq!(guarded.counted, guarded.acknowledged);
    assert!(guarded.refused > 0, "no holder came late: the test shows nothing");
    assert!(bare.counted < bare.acknowledged, "no increment was lost without guards: the test shows nothing");
}

/// Lets all clients make their increments of `key`.
async fn run(cluster: &mut Cluster, key: &'static str, with_guard: bool) -> Outcome {
    let (clients, increments) =
        (setting("QUORATE_COUNTER_CLIENTS", 4), setting("QUORATE_COUNTER_INCREMENTS", 15));
    let began = Instant::now();
    let mut counting = JoinSet::new();
    for number in 0..clients {
        let endpoints = ClientBuilder::new(cluster.endpoints()).timeout(Duration::from_secs(30));
        let client = endpoints.build().expect("a client");
        let counter = Counter { store: Deaf::new(&client), client, key, with_guard };
        counting.spawn(counter.count(number, increments));
    }
    let (mut acknowledged, mut refused, mut stopped, mut kills) = (0, 0, 0, 0);
    let mut next_kill = tokio::time::Instant::now() + KILL_EVERY / 2;
    loop {
        tokio::select! {
            counted = counting.join_next() => match counted {
                Some(counted) => {
                    let counted = counted.expect("no panic");
                    acknowledged += counted.acknowledged;
                    refused += counted.refused;
                    stopped += counted.stopped;
                }
                None => break,
            },
            () = tokio::time::sleep_until(next_kill) => {
                let leader = cluster.leader().await;
                cluster.kill(leader);
                kills += 1;
                cluster.launch(leader, &[]);
                cluster.wait_ready(leader).await;
                next_kill = tokio::time::Instant::now() + KILL_EVERY;
            }
        }
    }
    let client = Client::connect(cluster.endpoints()).expect("a client");
    let counted = read(&client, key).await;
    Outcome { acknowledged, counted, refused, stopped, kills, took: began.elapsed() }
}

async fn read(client: &Client, key: &'static str) -> u64 {
    let how = CallOptions { timeout: Some(Duration::from_secs(30)), ..CallOptions::default() };
    let answer = client.range(Range::new(KeyRange::key(key)), Consistency::default(), how).await;
    let pairs = answer.expect("a read").result.kvs;
    pairs.first().map_or(0, |kv| String::from_utf8_lossy(&kv.value).parse().expect("a number"))
}

/// What one client did.
#[derive(Default)]
struct Counted {
    acknowledged: u64,
    refused: u64,
    stopped: u64,
}

struct Counter {
    client: Client,
    /// The same, through which keep-alives can be held up.
    store: Deaf<Client>,
    key: &'static str,
    with_guard: bool,
}

impl Counter {
    async fn count(self, number: u64, increments: u64) -> Counted {
        let mut counted = Counted::default();
        // One stop for each client, at different times; in a long run one in 500 turns.
        let stops_at = |turn: u64| turn % 500 == (3 + number) % increments.clamp(1, 500);
        let mut stopped_at = None;
        while counted.acknowledged < increments {
            let turn = counted.acknowledged;
            let stops = stops_at(turn) && stopped_at != Some(turn);
            if stops {
                stopped_at = Some(turn);
                counted.stopped += 1;
            }
            match self.increment(stops).await {
                Ok(()) => counted.acknowledged += 1,
                Err(Error::LockLost { .. }) => counted.refused += 1,
                // The lock was not to be had, or its lease did not outlive an election: nothing was written.
                Err(error) => assert!(!error.maybe_committed(), "the outcome must be known: {error}"),
            }
        }
        counted
    }

    async fn increment(&self, stops: bool) -> Result<(), Error> {
        let options = LockOptions { ttl: TTL, ..LockOptions::new(format!("lock-{}", self.key)) };
        let guard = self.store.lock(options).await?;
        let written = self.add_one(&guard, stops).await;
        let _ = guard.release().await;
        written
    }

    /// Between reading and writing a process may be stopped for any time, whatever it has looked at before.
    async fn add_one(&self, guard: &LockGuard<Deaf<Client>>, stops: bool) -> Result<(), Error> {
        let value = read(&self.client, self.key).await + 1;
        if stops {
            self.store.set(true);
            tokio::time::sleep(STOPPED).await;
            self.store.set(false);
        }
        let put = Put { key: self.key.into(), value: value.to_string().into(), ..Put::default() };
        if self.with_guard {
            self.client.guarded(guard).put(put, CallOptions::default()).await.map(drop)
        } else {
            self.client.put(put, CallOptions::default()).await.map(drop)
        }
    }
}
