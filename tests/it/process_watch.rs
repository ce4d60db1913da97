//! Watches on real processes: many readers under load, one of which does not read; the member they are
//! connected to is killed again and again; a follower that is left behind; the command line.
//!
//! The truth is the history itself, read at the end by a watch that begins at the beginning; it must have
//! every acknowledged write at its revision. What each reader heard must be that, filtered: nothing left out,
//! nothing twice, in order, each transaction as one.
//!
//! Small by default. At full scale: `QUORATE_WATCH_READERS=1000 QUORATE_WATCH_PUTS=5000
//! QUORATE_WATCH_SECONDS=60 QUORATE_WATCH_KILL_EVERY=5`, with a release build as `QUORATE_TEST_BIN`.

mod command;
mod readers;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::StreamExt;
use quorate::{
    client::Client,
    pb::{
        convert::{RequestKind, from_status},
        v1::{self, election_client::ElectionClient, watch_client::WatchClient},
    },
    recipes::{KvApi, LockOptions, Recipes, WatchApi},
    types::{CallOptions, KeyRange, Level, NodeId, Put, Watch, WatchUpdate},
};
use tokio::sync::mpsc;

use self::readers::{Scale, Truth};
use crate::support::{
    SOON,
    cluster::{Cluster, Spec},
    eventually,
    load::{Acknowledged, Load, Workload, connect},
    setting,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_hears_every_event_once_while_its_member_is_killed() {
    let scale = Scale::from_environment();
    let mut cluster = Cluster::three().await;
    let readers = scale.start(&cluster).await;
    let load = scale.load(connect(&cluster), Duration::from_secs(scale.seconds));
    let kill = async {
        let mut kills = 0;
        let ends = tokio::time::Instant::now() + Duration::from_secs(scale.seconds);
        loop {
            tokio::time::sleep(Duration::from_secs(scale.kill_every)).await;
            if tokio::time::Instant::now() >= ends {
                return kills;
            }
            let victim = readers.connected_to();
            cluster.kill(victim);
            cluster.launch(victim, &[]);
            cluster.wait_ready(victim).await;
            kills += 1;
        }
    };
    let (written, kills) = tokio::join!(load, kill);
    println!("{kills} kills of the member that the readers are connected to");
    assert!(kills > 0, "nothing was killed: the run is too short");
    readers.finish(&cluster, written).await;
}

/// The middle of so many puts, one after the other.
async fn put_p50(client: &Client, puts: usize) -> Duration {
    let mut took = Vec::new();
    for _ in 0..puts {
        let began = Instant::now();
        let put = Put { key: "other".into(), value: "v".into(), ..Put::default() };
        client.put(put, CallOptions::default()).await.expect("a put");
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_other_keys_cost_a_put_nothing() {
    let many = setting("QUORATE_WATCH_KEYS", 500);
    let cluster = Cluster::three().await;
    let client = connect(&cluster);
    let puts = 400;
    put_p50(&client, puts).await;
    let before = put_p50(&client, puts).await;
    let mut watches = Vec::new();
    for n in 0..many {
        let mut watch =
            client.watch(Watch::new(KeyRange::key(format!("watched/{n}")))).await.expect("a stream");
        let first = tokio::time::timeout(SOON, watch.next()).await.expect("soon");
        assert!(matches!(first, Some(Ok(WatchUpdate::Created(_)))), "{first:?}");
        watches.push(watch);
    }
    let with = put_p50(&client, puts).await;
    drop(watches);
    let after = put_p50(&client, puts).await;
    println!(
        "a put: p50 {before:?}; beside {many} watchers of other keys {with:?}; without them again {after:?}"
    );
    // A scan of all watches by each put would cost more than that; the machine's noise does not.
    assert!(
        with < before.max(after) * 3 + Duration::from_millis(3),
        "{with:?}, else {before:?} and {after:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_about_as_fast_as_answers() {
    let scale = Scale::from_environment();
    let cluster = Cluster::three().await;
    let readers = scale.start(&cluster).await;
    let written = scale.load(connect(&cluster), Duration::from_secs(scale.seconds)).await;
    readers.finish(&cluster, written).await;
}

/// A watch on one member, over the generated client: no resumption.
async fn watch_at(cluster: &Cluster, id: NodeId, watch: Watch) -> tonic::Streaming<v1::WatchResponse> {
    let (requests, receiver) = mpsc::channel(4);
    let create = v1::watch_request::Request::Create(watch.into());
    requests.send(v1::WatchRequest { request: Some(create) }).await.expect("a request");
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut service = WatchClient::new(cluster.node(id).channel());
    service.watch(requests).await.expect("a stream").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_tells_everything_even_what_it_got_by_a_snapshot() {
    let entries = setting("QUORATE_SNAPSHOT_ENTRIES", 3_000);
    let flags = ["--snapshot-log-bytes", "65536", "--log-entries-kept", "100"].map(str::to_owned).to_vec();
    let cluster = Cluster::start(Spec { flags, proxied: true, ..Spec::default() }).await;
    let leader = cluster.leader().await;
    let away = cluster.ids().into_iter().find(|id| *id != leader).expect("three members");
    let mut stream = watch_at(&cluster, away, Watch::new(KeyRange::prefix("s/"))).await;
    let created = stream.message().await.expect("a response").expect("the first");
    assert!(created.created && !created.canceled, "{created:?}");
    let had = cluster.node(away).status().await.expect("a status").last_log_index;

    cluster.network().isolate(away);
    let acknowledged = Acknowledged::default();
    let load = Load::start(&cluster, Workload::small("s/"), acknowledged.clone());
    acknowledged.grows_by(entries, Duration::from_secs(600)).await;
    let node = cluster.node(leader);
    eventually("the leader has purged what the follower lacks", SOON, async || {
        let first = node.status().await.map_err(|error| error.to_string())?.first_log_index;
        if first > had + 1 { Ok(()) } else { Err(format!("first {first}, the follower had {had}")) }
    })
    .await;
    load.finish().await;
    cluster.network().heal();

    let last = cluster.node(leader).put("s/end", "").await.expect("a put");
    let (mut keys, mut told) = (BTreeSet::new(), 0);
    while told < last {
        let response = tokio::time::timeout(SOON, stream.message()).await.expect("it goes on");
        let response = response.expect("a response").expect("no end");
        let revision = response.header.expect("a header").revision;
        assert!(revision > told, "{revision} behind {told}");
        told = revision;
        for event in response.events {
            let key = String::from_utf8(event.kv.expect("a pair").key.to_vec()).expect("text");
            assert!(keys.insert(key.clone()), "{key} twice");
        }
    }
    let snapshot = cluster.node(away).status().await.expect("a status").snapshot_index;
    assert!(snapshot > had, "it has caught up without a snapshot");
    let stored = cluster.node(away).keys("s/").await.expect("an eventual read");
    assert_eq!(keys, stored, "the follower told what it has");
    assert!(keys.len() > entries);
}

/// Such a member goes on to answer, and does not know what it misses.
#[tokio::test(flavor = "multi_thread")]
async fn watches_and_observers_leave_a_member_that_is_cut_off() {
    let cluster = Cluster::start(Spec { proxied: true, ..Spec::default() }).await;
    let client = connect(&cluster);
    let mut stream = client.watch(Watch::new(KeyRange::key("k"))).await.expect("a stream");
    let first = stream.next().await.expect("an update").expect("no error");
    let WatchUpdate::Created(header) = first else { panic!("{first:?}") };
    let away = header.member_id;
    let mut leaders = client.observe("e", 0).await.expect("observed");
    assert_eq!(leaders.next().await.expect("told").expect("no error").leader, None);
    let mut bare = watch_at(&cluster, away, progress_of("k")).await;
    assert!(!next_progress(&mut bare).await.out_of_touch);
    let mut observing = ElectionClient::new(cluster.node(away).channel());
    let observe = v1::ObserveRequest { name: "e".into(), after_revision: 0 };
    let mut observing = observing.observe(observe).await.expect("a stream").into_inner();
    observing.message().await.expect("the present").expect("leader");
    cluster.network().isolate(away);

    let cut = Instant::now();
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != away).collect();
    eventually("the others go on", SOON, async || {
        cluster.node(others[0]).put("k", "v").await.map_err(|error| error.to_string())
    })
    .await;
    let update = tokio::time::timeout(SOON, stream.next()).await.expect("told").expect("no end");
    let Ok(WatchUpdate::Events { header, .. }) = update else { panic!("{update:?}") };
    assert_ne!(header.member_id, away);
    let told = cut.elapsed();
    println!("a watch on the member that was cut off went on elsewhere after {told:.1?}");
    assert!(told < Duration::from_secs(20), "{told:?}");

    let other = Client::connect(others.iter().map(|id| cluster.client_addr(*id))).expect("a client");
    let leader = other.campaign(LockOptions::new("e")).await.expect("elected");
    let change = tokio::time::timeout(SOON, leaders.next()).await.expect("told").expect("no end");
    let elected = change.expect("no error").leader.expect("a leader");
    assert_eq!(elected.create_revision, leader.token());

    // What other clients are told at the member itself: that it tells nothing.
    eventually("it says that it has lost touch", SOON, async || {
        let progress = next_progress(&mut bare).await;
        if progress.out_of_touch { Ok(()) } else { Err(format!("{progress:?}")) }
    })
    .await;
    let end = tokio::time::timeout(SOON, observing.message()).await.expect("an end").expect_err("an error");
    assert_eq!(from_status(&end, "member", RequestKind::Read).reason(), "not_ready", "{end:?}");
    cluster.network().heal();
    eventually("it is in touch again", SOON, async || {
        let progress = next_progress(&mut bare).await;
        if progress.out_of_touch { Err(format!("{progress:?}")) } else { Ok(()) }
    })
    .await;
}

/// A watch that often says how far it has come.
fn progress_of(key: &'static str) -> Watch {
    Watch { progress_interval: Some(Duration::from_millis(200)), ..Watch::new(KeyRange::key(key)) }
}

async fn next_progress(stream: &mut tonic::Streaming<v1::WatchResponse>) -> v1::WatchResponse {
    loop {
        let response = tokio::time::timeout(SOON, stream.message()).await.expect("it goes on");
        let response = response.expect("a response").expect("no end");
        if response.progress {
            return response;
        }
    }
}

/// 1,000 small events before: a client's watch from there meets compaction where it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_the_past_ends_where_it_is_compacted_and_one_of_the_future_waits() {
    use quorate::recipes::KvApi;
    let cluster = Cluster::three().await;
    let client = connect(&cluster);
    let node = cluster.node(cluster.leader().await);
    let mut last = 0;
    for n in 0..20 {
        last = node.put("c", &n.to_string()).await.expect("a put");
    }
    let options = quorate::types::CallOptions::default;
    client.compact(last - 5, options()).await.expect("compacted");
    // The watch may be opened on any member; one that is behind would begin it, and end it later.
    for id in cluster.ids() {
        cluster.node(id).get("c", Level::Linearizable).await.expect("it has applied that");
    }
    let from = |start_revision| Watch { start_revision, ..Watch::new(KeyRange::key("c")) };
    let mut gone = client.watch(from(last - 6)).await.expect("a stream");
    let error = gone.next().await.expect("an end").expect_err("it is compacted");
    let compacted = last - 5;
    assert_eq!(error, quorate::Error::Compacted { requested: last - 6, compacted });
    assert!(gone.next().await.is_none());
    let mut kept = client.watch(from(last - 5)).await.expect("a stream");
    let mut future = client.watch(from(last + 2)).await.expect("a stream");
    for watch in [&mut kept, &mut future] {
        let first = watch.next().await.expect("an update").expect("no error");
        assert!(matches!(first, WatchUpdate::Created(_)), "{first:?}");
    }
    for revision in last - 5..=last {
        assert_eq!(readers::revision_of(kept.next().await), revision);
    }
    for _ in 0..2 {
        node.put("c", "later").await.expect("a put");
    }
    assert_eq!(readers::revision_of(future.next().await), last + 2);
    Truth::read(&cluster, "", last - 5, "c").await;
    node.get("c", Level::Eventual).await.expect("the members go on");
}
