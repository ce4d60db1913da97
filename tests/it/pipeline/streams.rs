//! Order, bounds, deadlines and the end of a stream.

use std::time::{Duration, Instant};

use quorate::{
    error::Error,
    pb::v1::{self, pipeline_answer::Answer, pipeline_call::Request},
    types::Level,
};
use tonic::Code;

use super::{Pipe, error, failure, get, one_member, put, read, waiting, written};
use crate::support::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_holds_up_no_other() {
    let cluster = one_member(&[]).await;
    let node = cluster.node(1);
    let mut pipe = Pipe::open(&node).await;
    let revision = node.put("k", "0").await.expect("written");
    // It waits for the very put behind it.
    pipe.send([(1, get("k", Level::Session { min_revision: revision + 1 }))]).await;
    pipe.send_calls(vec![waiting(2, Duration::from_secs(2))]).await;
    assert_eq!(read(&pipe.call(get("k", Level::Eventual)).await).kvs[0].version, 1);
    pipe.send([(3, put("k", "1"))]).await;
    let mut answers = pipe.answers(2).await;
    assert!(written(&answers[&3]).header.is_some());
    assert_eq!(&*read(&answers.remove(&1).expect("its answer")).kvs[0].value, b"1");
    let late = failure(pipe.answers(1).await.remove(&2).expect("its answer"));
    assert_eq!(late, Error::WaitTimeout { have: revision + 1, want: 1 << 40 });
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_a_deadline_of_its_own() {
    let cluster = Cluster::three().await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader);
    let mut pipe = Pipe::open(&node).await;
    assert!(written(&pipe.call(put("k", "0")).await).header.is_some());
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    others.iter().for_each(|id| cluster.pause(*id));
    let began = Instant::now();
    let timed = |id, timeout_ms, request| v1::PipelineCall {
        id,
        timeout_ms,
        request: Some(request),
        ..Default::default()
    };
    let calls = vec![
        timed(1, 1500, put("k", "1")),
        timed(2, 400, put("k", "2")),
        timed(3, 400, get("k", Level::Linearizable)),
        timed(4, 400, get("k", Level::Eventual)),
    ];
    pipe.send_calls(calls).await;
    let mut answers = pipe.answers(3).await;
    assert!(began.elapsed() < Duration::from_millis(1200), "{:?}", began.elapsed());
    assert_eq!(read(&answers[&4]).kvs.len(), 1, "it needs nobody");
    let mut late = |id| failure(answers.remove(&id).expect("its answer"));
    let (write, read) = (late(2), late(3));
    assert!(matches!(&write, Error::Deadline { maybe_committed: true, .. }), "{write:?}");
    assert!(!read.maybe_committed() && matches!(read, Error::Deadline { .. } | Error::NoQuorum), "{read:?}");
    let first = failure(pipe.answers(1).await.remove(&1).expect("its answer"));
    assert!(first.maybe_committed(), "{first:?}");
    others.iter().for_each(|id| cluster.resume(*id));
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_answered_for_each_call() {
    let cluster = one_member(&["--inflight-reads-max", "4"]).await;
    let node = cluster.node(1);
    let mut pipe = Pipe::open(&node).await;
    pipe.send_calls((0..20).map(|id| waiting(id, Duration::from_millis(600))).collect()).await;
    let answers = pipe.answers(20).await;
    let errors: Vec<_> = answers.into_values().map(failure).collect();
    let shed = errors.iter().filter(|error| matches!(error, Error::Overloaded { limit: 4, .. })).count();
    let waited = errors.iter().filter(|error| matches!(error, Error::WaitTimeout { .. })).count();
    assert_eq!((waited, shed), (4, 16), "{errors:?}");
    assert!(written(&pipe.call(put("k", "v")).await).header.is_some(), "the stream goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_more_calls_than_it_works_on_at_once() {
    let cluster = one_member(&[]).await;
    let mut pipe = Pipe::open(&cluster.node(1)).await;
    // All of them in one message: begun as places come free.
    pipe.send((0..3000).map(|id| (id, put(&format!("k{id}"), "v")))).await;
    drop(std::mem::replace(&mut pipe.messages, tokio::sync::mpsc::channel(1).0));
    let answers = pipe.answers(3000).await;
    assert!(answers.values().all(|answer| matches!(answer, Answer::Put(_))));
    let (more, status) = pipe.end().await;
    assert!(more.is_empty() && status.is_none(), "all are answered, then the stream ends: {status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_come_one_by_one() {
    let cluster = one_member(&[]).await;
    let node = cluster.node(1);
    let mut pipe = Pipe::open(&node).await;
    pipe.send([(0, put("large", &"v".repeat(900 << 10)))]).await;
    pipe.answers(1).await;
    pipe.send((0..64).map(|id| (id, get("large", Level::Eventual)))).await;
    let answers = pipe.answers(64).await;
    assert!(answers.values().all(|answer| read(answer).kvs[0].value.len() == 900 << 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_in_use_ends_the_stream_behind_the_answers_before_it() {
    let cluster = one_member(&[]).await;
    let node = cluster.node(1);
    let mut pipe = Pipe::open(&node).await;
    let calls = [waiting(7, Duration::from_millis(300)), waiting(7, Duration::from_millis(300))];
    pipe.send_calls(calls.to_vec()).await;
    let (answered, status) = pipe.end().await;
    let status = status.expect("an error");
    assert_eq!((answered, status.code()), (vec![7], Code::InvalidArgument));
    let told = error(&status);
    assert!(matches!(&told, Error::Invalid(why) if why.contains("id 7 is in use")), "{told}");
    // Free again behind its answer.
    let mut pipe = Pipe::open(&node).await;
    for value in ["1", "2"] {
        assert!(written(&pipe.call(put("k", value)).await).header.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_of() {
    let cluster = one_member(&[]).await;
    let node = cluster.node(1);
    let mut pipe = Pipe::open(&node).await;
    pipe.send_calls(vec![v1::PipelineCall { id: 5, ..Default::default() }]).await;
    let told = failure(pipe.answers(1).await.remove(&5).expect("its answer"));
    assert!(matches!(&told, Error::Invalid(why) if why.contains("request is missing")), "{told}");
    pipe.send_calls(Vec::new()).await;
    let Request::Put(large) = put("k", &"v".repeat(2 << 20)) else { unreachable!("it is a put") };
    pipe.send([(1, get("k", Level::Eventual)), (2, Request::Put(large))]).await;
    let (answered, status) = pipe.end().await;
    let told = error(&status.expect("an error"));
    assert!(answered.is_empty(), "nothing of such a message is begun");
    assert!(matches!(&told, Error::TooLarge { what, .. } if what == "limits.request_bytes_max"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stops_ends_its_streams_in_order() {
    let mut cluster = one_member(&[]).await;
    let mut pipe = Pipe::open(&cluster.node(1)).await;
    assert!(written(&pipe.call(put("k", "v")).await).header.is_some());
    let began = Instant::now();
    assert_eq!(cluster.stop(1), Some(0));
    assert!(began.elapsed() < Duration::from_secs(4), "a stream must not hold it up: {:?}", began.elapsed());
    let (answered, status) = pipe.end().await;
    assert!(answered.is_empty() && status.is_none(), "{status:?}");
}
