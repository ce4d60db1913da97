//! Leases on real processes: neither early nor late while leaders fail, and no storm when many end at once.
//! `QUORATE_LEASES=100000` is the long run of the storm.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use quorate::{
    client::Client,
    recipes::{KvApi, LeaseApi, LockOptions, Recipes},
    types::{CallOptions, Grant, KeyRange, Level, Put, Range},
};
use rand::RngExt;
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::support::{
    SOON, cli,
    cluster::{Cluster, Spec, signal},
    eventually,
    load::connect,
    setting,
};

const TTL: Duration = Duration::from_secs(2);

/// After its time a lease may live so much longer: the leader's looks, a commit, and an election with the new
/// leader's full time to live again.
const LATE_MAX: Duration = Duration::from_secs(1);
const ELECTION_MAX: Duration = Duration::from_secs(3);

fn patient() -> CallOptions {
    CallOptions { timeout: Some(SOON), ..CallOptions::default() }
}

async fn leased_key(client: &Client, key: &str, ttl: Duration) -> u64 {
    let granted = client.grant(Grant { id: 0, ttl, session: false }, patient()).await.expect("a lease");
    let lease = granted.result.id;
    let put = Put { key: key.to_owned().into(), value: "here".into(), lease, ..Put::default() };
    client.put(put, patient()).await.expect("a key with a lease");
    lease
}

async fn exists(client: &Client, key: &str) -> bool {
    let range = Range::new(KeyRange::key(key.to_owned()));
    client.range(range, Level::Linearizable.into(), patient()).await.expect("a read").result.count > 0
}

/// Keeps a lease alive for a while, then lets it end; fails if its key goes too early or too late.
async fn live_and_let_die(client: Client, number: u64) {
    let key = format!("leased/{number}");
    let lease = leased_key(&client, &key, TTL).await;
    let life = Duration::from_millis(rand::rng().random_range(0..8_000));
    let (born, mut acknowledged_from, mut tried_until) = (Instant::now(), None, Instant::now());
    while born.elapsed() < life {
        let sent = Instant::now();
        let kept = client.keep_alive(lease, patient()).await;
        tried_until = Instant::now();
        match kept {
            Ok(_) => acknowledged_from = Some(sent),
            // It may have ended, if an election took longer than its time.
            Err(_) => break,
        }
        tokio::time::sleep(TTL / 8).await;
    }
    let mut seen = Instant::now();
    loop {
        let asked = Instant::now();
        if !exists(&client, &key).await {
            break;
        }
        seen = asked;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let gone = Instant::now();
    if let Some(from) = acknowledged_from {
        assert!(gone >= from + TTL, "lease {number} ended {:?} after its keep-alive", gone - from);
    }
    // A new leader gives it its full time again, once for each that was killed meanwhile: at most one here.
    let due = tried_until + TTL + TTL + LATE_MAX + ELECTION_MAX;
    assert!(seen <= due, "lease {number} lived {:?} after its last keep-alive", seen - tried_until);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_end_neither_early_nor_late_while_a_leader_is_killed() {
    let mut cluster = Cluster::three().await;
    let client = connect(&cluster);
    let mut lives = JoinSet::new();
    (0..40).for_each(|number| drop(lives.spawn(live_and_let_die(client.clone(), number))));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    while let Some(life) = lives.join_next().await {
        life.expect("within its bounds");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_ends_no_lease_that_others_keep_alive() {
    let cluster = Cluster::three().await;
    let client = connect(&cluster);
    let lease = leased_key(&client, "kept", TTL).await;
    let old = cluster.leader().await;
    cluster.pause(old);
    let paused = Instant::now();
    let (mut resumed, mut kept) = (false, 0);
    // Long past the time on the clock of the one that is paused, and then long enough for it to act on that.
    while paused.elapsed() < TTL * 6 {
        if !resumed && paused.elapsed() > TTL * 3 {
            cluster.resume(old);
            resumed = true;
        }
        // One that the paused leader does not answer is followed by the next: while nobody leads, no
        // time runs.
        let soon = CallOptions { timeout: Some(TTL / 4), ..CallOptions::default() };
        kept += u32::from(client.keep_alive(lease, soon).await.is_ok());
        tokio::time::sleep(TTL / 8).await;
    }
    assert!(kept > 5 && exists(&client, "kept").await, "{kept} keep-alives");
    client.revoke(lease, patient()).await.expect("it lived until it was revoked");
    assert!(!exists(&client, "kept").await);
}

/// Nobody but the keeper talks to the cluster: nothing else leads the client away from the old leader.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_kept_past_a_leader_that_is_cut_off() {
    let cluster = Cluster::start(Spec { proxied: true, ..Spec::default() }).await;
    let ttl = Duration::from_secs(6);
    let options = LockOptions { ttl, ..LockOptions::new("kept") };
    let guard = connect(&cluster).lock(options).await.expect("the lock");
    let old = cluster.leader().await;
    cluster.network().isolate(old);
    let cut = Instant::now();
    while cut.elapsed() < ttl * 2 {
        assert!(guard.is_held(), "it was lost {:?} after the leader was cut off", cut.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    guard.release().await.expect("it is held");
}

/// `quorate lease keep-alive`. Ends with the test.
struct Keeping {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Keeping {
    fn start(cluster: &Cluster, lease: &str) -> Keeping {
        let mut command = cli::command();
        command.args(["--endpoints", &cluster.endpoints().join(","), "lease", "keep-alive", lease]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Keeping { child, lines }
    }

    /// Whether it renews the lease once more, or ends.
    fn renews(&mut self) -> bool {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line or the end");
        line.contains("from now on")
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_that_keeps_a_lease_outlasts_an_outage_and_heeds_a_signal() {
    let mut cluster = Cluster::three().await;
    let lease = cluster.cli(&["lease", "grant", "--ttl", "3s"]).expect(0).stdout.trim().to_owned();
    let mut keeping = Keeping::start(&cluster, &lease);
    assert!(keeping.renews());

    // Longer than the lease has: without a quorum nobody can end it, and the next leader begins anew.
    let leader = cluster.leader().await;
    let gone = [leader, leader % 3 + 1];
    gone.iter().for_each(|id| cluster.kill(*id));
    tokio::time::sleep(Duration::from_secs(7)).await;
    cluster.launch_all(&[]);
    cluster.wait_all_ready().await;
    // What it said before the outage.
    for _ in 0..4 {
        assert!(keeping.renews(), "it has given up");
    }
    cluster.cli(&["lease", "ttl", &lease]).expect(0);

    // It hears a signal also while it waits for an answer.
    cluster.ids().iter().for_each(|id| cluster.pause(*id));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    signal(keeping.child.id(), Signal::INT);
    let asked = Instant::now();
    let code = eventually("it has ended", SOON, async || match keeping.child.try_wait() {
        Ok(Some(status)) => Ok(status.code()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(code, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(1), "after {:?}", asked.elapsed());
}

/// Latencies of one put after the other while `busy` says so.
async fn put_latencies(client: &Client, mut busy: impl AsyncFnMut() -> bool) -> Vec<Duration> {
    let mut latencies = Vec::new();
    while latencies.len() < 200 || busy().await {
        let began = Instant::now();
        let put = Put { key: "beside".into(), value: vec![b'v'; 256].into(), ..Put::default() };
        client.put(put, patient()).await.expect("a put");
        latencies.push(began.elapsed());
    }
    latencies.sort();
    latencies
}

fn p99(latencies: &[Duration]) -> Duration {
    latencies[latencies.len() * 99 / 100]
}

async fn count(client: &Client) -> u64 {
    let range = Range { count_only: true, ..Range::new(KeyRange::prefix("storm/")) };
    client.range(range, Level::Linearizable.into(), patient()).await.expect("a count").result.count
}

#[tokio::test(flavor = "multi_thread")]
async fn many_leases_that_end_at_once_do_not_hold_up_the_writes() {
    let leases: u64 = setting("QUORATE_LEASES", 1_500);
    let ttl = Duration::from_secs(5) + Duration::from_millis(leases);
    let cluster = Cluster::three().await;
    let client = connect(&cluster);
    let quiet = put_latencies(&client, async || false).await;
    let granting = Instant::now();
    let mut grants = JoinSet::new();
    for worker in 0..64 {
        let client = client.clone();
        grants.spawn(async move {
            for number in (worker..leases).step_by(64) {
                leased_key(&client, &format!("storm/{number}"), ttl).await;
            }
        });
    }
    while let Some(granted) = grants.join_next().await {
        granted.expect("leases are granted");
    }
    println!("{leases} leases with a key each in {:?}", granting.elapsed());
    eventually("the first lease ends", ttl + SOON, async || {
        if count(&client).await < leases { Ok(()) } else { Err("all there".to_owned()) }
    })
    .await;
    let began = Instant::now();
    let storm = put_latencies(&client, async || count(&client).await > 0).await;
    let (quiet, storm, took) = (p99(&quiet), p99(&storm), began.elapsed());
    println!("all ended within {took:?}; p99 of a put: quiet {quiet:?}, meanwhile {storm:?}");
    assert!(storm < quiet * 2 + Duration::from_millis(100), "quiet {quiet:?}, meanwhile {storm:?}");
}
