//! The Rust client through pipelines.

use std::{sync::Arc, time::Duration};

use quorate::{
    client::{Client, ClientBuilder},
    error::Error,
    recipes::KvApi,
    types::{CallOptions, Compare, CompareTarget, Delete, KeyRange, Level, Op, Operator, Put, Range, Txn},
};
use tokio::task::JoinSet;

use crate::support::{cluster::Cluster, setting};

fn put(key: String) -> Put {
    Put { key: key.into(), value: "v".into(), ..Put::default() }
}

fn within(seconds: u64) -> CallOptions {
    CallOptions { timeout: Some(Duration::from_secs(seconds)), ..CallOptions::default() }
}

fn client(cluster: &Cluster, sessions: bool) -> Client {
    let builder = ClientBuilder::new(cluster.endpoints()).sessions(sessions).pipeline_above(0);
    builder.build().expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_same_from_a_pipeline() {
    let cluster = Cluster::three().await;
    let client = client(&cluster, true);
    let first = client.put(put("k".into()), within(5)).await.expect("written");
    assert!(first.header.revision > 0 && first.write.log_index > 0);
    for level in [Level::Linearizable, Level::Lease, Level::Eventual] {
        let range = Range::new(KeyRange::key("k"));
        let read = client.range(range, level.into(), within(5)).await.expect("read");
        assert_eq!(read.evidence.level_asked, level);
    }
    let compare =
        Compare { keys: KeyRange::key("k"), operator: Operator::Equal, target: CompareTarget::Version(1) };
    let txn = Txn { compares: vec![compare], then_ops: vec![Op::Put(put("k".into()))], else_ops: Vec::new() };
    assert!(client.txn(txn, within(5)).await.expect("decided").result.succeeded);
    let delete = Delete { keys: KeyRange::key("k"), prev_kv: true };
    let deleted = client.delete(delete, within(5)).await.expect("deleted").result;
    assert_eq!((deleted.deleted, deleted.prev_kvs[0].version), (1, 2));
    let refused = client.put(put(String::new()), within(5)).await.expect_err("an empty key");
    assert_eq!(refused.reason(), "invalid", "{refused:?}");
    let large = Put { value: vec![b'v'; 512 << 10].into(), ..put("large".into()) };
    client.put(large, within(5)).await.expect("a call of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_calls_share_a_stream_by_themselves() {
    let cluster = Cluster::three().await;
    let client = Client::connect(cluster.endpoints()).expect("a client");
    let mut calls = JoinSet::new();
    for number in 0..400 {
        let client = client.clone();
        calls.spawn(async move { client.put(put(format!("k{number}")), within(20)).await });
    }
    while let Some(written) = calls.join_next().await {
        written.expect("no panic").expect("written");
    }
    let all = Range::new(KeyRange::prefix("k"));
    let read = client.range(all, Level::Linearizable.into(), within(5)).await.expect("read");
    assert_eq!(read.result.count, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_leaves_writes_without_a_session_unknown_and_repeats_reads() {
    let mut cluster = Cluster::three().await;
    let client = client(&cluster, false);
    client.put(put("k".into()), within(5)).await.expect("written");
    // Who leads now leads on: the others are stopped at once.
    let leader = cluster.leader().await;
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    others.iter().for_each(|id| cluster.pause(*id));
    let mut writes = JoinSet::new();
    for number in 0..40 {
        let client = client.clone();
        writes.spawn(async move { client.put(put(format!("w{number}")), within(20)).await });
    }
    let reading = client.clone();
    let read = tokio::spawn(async move {
        reading.range(Range::new(KeyRange::key("k")), Level::Linearizable.into(), within(20)).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.kill(leader);
    others.iter().for_each(|id| cluster.resume(*id));
    while let Some(written) = writes.join_next().await {
        let error = written.expect("no panic").expect_err("nobody knows");
        assert!(matches!(&error, Error::Connection { maybe_committed: true, .. }), "{error:?}");
    }
    let read = read.await.expect("no panic").expect("repeated elsewhere");
    assert_eq!(read.result.kvs.len(), 1);
    client.put(put("k".into()), within(10)).await.expect("written, on another stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_a_session_are_applied_once_when_leaders_and_their_streams_die() {
    let mut cluster = Cluster::three().await;
    let builder = ClientBuilder::new(cluster.endpoints()).pipeline_above(0).retry_budget(u32::MAX);
    let client = Arc::new(builder.build().expect("a client"));
    let (writers, each) = (64u64, setting("QUORATE_PIPELINED_WRITES", 3200) / 64);
    let mut writing = JoinSet::new();
    for writer in 0..writers {
        let client = client.clone();
        writing.spawn(async move {
            for _ in 0..each {
                client.put(put(format!("counter/{writer}")), within(60)).await.expect("repeated");
            }
        });
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let leader = cluster.leader().await;
        cluster.kill(leader);
        cluster.leader_other_than(leader).await;
        cluster.launch(leader, &[]);
        cluster.wait_ready(leader).await;
    }
    while let Some(written) = writing.join_next().await {
        written.expect("no panic");
    }
    let all = Range::new(KeyRange::prefix("counter/"));
    let read = client.range(all, Level::Linearizable.into(), within(20)).await.expect("read");
    assert_eq!(read.result.count, writers);
    assert!(read.result.kvs.iter().all(|kv| kv.version == each), "{:?}", read.result.kvs);
}
