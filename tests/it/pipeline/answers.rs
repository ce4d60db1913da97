//! What a call in a stream is answered, beside the same request as a call of its own.

use quorate::{
    error::Error,
    pb::{
        convert::error::to_failure,
        v1::{self, pipeline_answer::Answer, pipeline_call::Request},
    },
    types::{KeyRange, Level},
};
use tonic::{Response, Status};

use super::{Pipe, error, failure, get, one_member, put, read, written};
use crate::support::node::NodeClient;

/// The same request as a call of its own, in the same form.
async fn alone(node: &NodeClient, request: Request) -> Result<Answer, Status> {
    let mut kv = node.kv();
    Ok(match request {
        Request::Range(request) => Answer::Range(kv.range(request).await.map(Response::into_inner)?),
        Request::Put(request) => Answer::Put(kv.put(request).await.map(Response::into_inner)?),
        Request::Delete(request) => Answer::Delete(kv.delete(request).await.map(Response::into_inner)?),
        Request::Txn(request) => Answer::Txn(kv.txn(request).await.map(Response::into_inner)?),
    })
}

/// Without what two answers to one request differ in: where it stands in the log, and times.
fn comparable(mut answer: Answer) -> Answer {
    let header = |header: &mut Option<v1::Header>| {
        let header = header.as_mut().expect("a header");
        assert!(header.member_id == 1 && header.revision > 0 && !header.request_id.is_empty(), "{header:?}");
        *header = v1::Header { cluster_id: header.cluster_id, ..Default::default() };
    };
    let write = |write: &mut Option<v1::WriteEvidence>| {
        let write = write.as_mut().expect("what proves the write");
        assert!(write.log_index > 0 && write.log_term > 0, "{write:?}");
        *write = v1::WriteEvidence { deduplicated: write.deduplicated, ..Default::default() };
    };
    match &mut answer {
        Answer::Range(answer) => {
            header(&mut answer.header);
            let evidence = answer.evidence.as_mut().expect("evidence");
            assert!(evidence.waited.is_some());
            evidence.waited = None;
            evidence.staleness_bound_ms = evidence.staleness_bound_ms.map(|_| 0);
            evidence.leader_contact_age_ms = evidence.leader_contact_age_ms.map(|_| 0);
            evidence.read_index = evidence.read_index.map(|_| 0);
        }
        Answer::Put(answer) => {
            header(&mut answer.header);
            write(&mut answer.write);
            answer.prev_kv = answer.prev_kv.take().map(|kv| v1::KeyValue {
                key: kv.key,
                value: kv.value,
                ..Default::default()
            });
        }
        Answer::Delete(answer) => {
            header(&mut answer.header);
            write(&mut answer.write);
        }
        Answer::Txn(answer) => {
            header(&mut answer.header);
            write(&mut answer.write);
        }
        Answer::Failure(_) => {}
    }
    answer
}

fn delete(key: &str) -> Request {
    let keys = Some(KeyRange::key(key.to_owned()).into());
    Request::Delete(v1::DeleteRequest { keys, prev_kv: true, ..Default::default() })
}

/// Puts a key if it has the value.
fn swap(key: &str, from: &str, to: &str) -> Request {
    let Request::Put(put) = put(key, to) else { unreachable!("it is a put") };
    let compare = v1::Compare {
        keys: Some(KeyRange::key(key.to_owned()).into()),
        target: Some(v1::compare::Target::Value(from.to_owned().into())),
        ..Default::default()
    };
    let then_ops = vec![v1::Op { op: Some(v1::op::Op::Put(put)) }];
    let txn = Some(v1::Txn { compares: vec![compare], then_ops, else_ops: Vec::new() });
    Request::Txn(v1::TxnRequest { txn, exactness: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_as_a_call_of_its_own() {
    let cluster = one_member(&[]).await;
    let node = cluster.node(1);
    let mut pipe = Pipe::open(&node).await;
    node.put("k", "0").await.expect("written");
    let Request::Put(with_prev) = put("k", "1") else { unreachable!("it is a put") };
    let with_prev = Request::Put(v1::PutRequest { prev_kv: true, ..with_prev });
    let requests = [
        get("k", Level::Linearizable),
        get("nothing", Level::Linearizable),
        get("k", Level::Log),
        get("k", Level::Lease),
        get("k", Level::Eventual),
        put("k", "1"),
        with_prev,
        delete("nothing"),
        swap("k", "other", "2"),
        swap("k", "1", "1"),
    ];
    for request in requests {
        let alone = alone(&node, request.clone()).await.expect("an answer");
        let piped = pipe.call(request.clone()).await;
        assert_eq!(comparable(piped), comparable(alone), "{request:?}");
    }
    let Answer::Delete(deleted) = pipe.call(delete("k")).await else { panic!("not deleted") };
    assert_eq!((deleted.deleted, &*deleted.prev_kvs[0].value), (1, &b"1"[..]));
}

/// Requests that are refused, each for another reason.
fn refused() -> Vec<(&'static str, Request)> {
    let Request::Put(plain) = put("k", "v") else { unreachable!("it is a put") };
    let with = |exactness| Request::Put(v1::PutRequest { exactness: Some(exactness), ..plain.clone() });
    let session = Some(v1::SessionSeq { session_id: 4711, seq: 1, ack_below: 1 });
    let guard = v1::Guard { owner_key: "owner".into(), fencing_token: 7 };
    let Request::Range(old) = get("k", Level::Linearizable) else { unreachable!("it is a get") };
    let mut future = old.clone();
    future.query.as_mut().expect("a query").revision = 1 << 40;
    let mut elsewhere = old;
    let route = v1::Route { to: Some(v1::route::To::MemberId(9)) };
    elsewhere.consistency = Some(v1::Consistency { route: Some(route), ..Default::default() });
    vec![
        ("invalid", put("", "v")),
        ("too_large", put(&"k".repeat(8193), "v")),
        ("invalid", Request::Range(v1::RangeRequest::default())),
        ("invalid", Request::Txn(v1::TxnRequest::default())),
        ("invalid", Request::Delete(v1::DeleteRequest::default())),
        ("future_revision", Request::Range(future)),
        ("wrong_route", Request::Range(elsewhere)),
        ("lease_not_found", Request::Put(v1::PutRequest { lease: 99, ..plain.clone() })),
        ("session_expired", with(v1::Exactness { session, guards: Vec::new() })),
        ("lock_lost", with(v1::Exactness { session: None, guards: vec![guard] })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_that_of_a_call_of_its_own_to_the_last_byte() {
    let cluster = one_member(&[]).await;
    let node = cluster.node(1);
    let mut pipe = Pipe::open(&node).await;
    for (reason, request) in refused() {
        let status = alone(&node, request.clone()).await.expect_err(reason);
        let Answer::Failure(piped) = pipe.call(request).await else { panic!("{reason}: not refused") };
        assert_eq!((piped.code, piped.message.as_str()), (status.code().into(), status.message()));
        let expected = error(&status);
        assert_eq!(expected.reason(), reason);
        assert_eq!(failure(Answer::Failure(piped.clone())), expected);
        let id =
            quorate::pb::convert::error::request_id(&quorate::pb::convert::error::of_failure(piped.clone()));
        let id = id.expect("its id");
        assert!(id.ends_with("/0"), "{id}: the stream's, and the call's");
        assert_eq!(piped, to_failure(&expected, &id));
    }
    let answer = pipe.call(put("k", "v")).await;
    assert!(written(&answer).header.is_some(), "the stream goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_the_request_id_and_the_session_that_it_names() {
    let cluster = one_member(&[]).await;
    let node = cluster.node(1);
    let mut pipe = Pipe::open(&node).await;
    let mut sessions = v1::session_client::SessionClient::new(node.channel());
    let session = sessions.open(v1::SessionOpenRequest { ttl_ms: 60_000 }).await.expect("a session");
    let session_id = session.into_inner().session_id;
    let session = Some(v1::SessionSeq { session_id, seq: 1, ack_below: 1 });
    let exactness = Some(v1::Exactness { session, guards: Vec::new() });
    let Request::Put(once) = put("k", "v") else { unreachable!("it is a put") };
    let request = Some(Request::Put(v1::PutRequest { exactness, ..once }));
    let call = |id: u64, request_id: &str| v1::PipelineCall {
        id,
        request_id: request_id.to_owned(),
        request: request.clone(),
        ..Default::default()
    };
    pipe.send_calls(vec![call(1, "mine"), call(2, "two words")]).await;
    let mut answers = pipe.answers(2).await;
    let first = answers.remove(&1).expect("its answer");
    let header = written(&first).header.clone().expect("a header");
    assert_eq!(header.request_id, "mine");
    let refused = failure(answers.remove(&2).expect("its answer"));
    assert!(matches!(&refused, Error::Invalid(why) if why.contains("request_id")), "{refused}");
    pipe.send_calls(vec![call(3, "again")]).await;
    let again = pipe.answers(1).await.remove(&3).expect("its answer");
    let (first, again) = (written(&first).clone(), written(&again).clone());
    assert!(again.write.expect("its place").deduplicated && !first.write.expect("its place").deduplicated);
    let found = pipe.call(get("k", Level::Linearizable)).await;
    assert_eq!(read(&found).kvs[0].version, 1, "applied once");
}
