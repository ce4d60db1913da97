//! Requests that are well-formed gRPC, and wrong.

use std::time::Duration;

use bytes::Bytes;
use quorate::{
    error::Error,
    pb::v1::{self, compare, keys, op, range_query, route},
    types::Level,
};
use tonic::{Request, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

use super::{is_well, one_member};
use crate::support::node::NodeClient;

fn key(name: &'static str) -> Option<v1::Keys> {
    Some(v1::Keys { of: Some(keys::Of::Key(name.into())) })
}

fn interval(start: &'static str, end: &'static str) -> Option<v1::Keys> {
    let interval = keys::Interval { start: start.into(), end: Some(end.into()) };
    Some(v1::Keys { of: Some(keys::Of::Interval(interval)) })
}

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> v1::PutRequest {
    v1::PutRequest { key: key.into(), value: value.into(), ..v1::PutRequest::default() }
}

fn put_op(key: impl Into<Bytes>) -> v1::Op {
    v1::Op { op: Some(op::Op::Put(put(key, "v"))) }
}

fn then(ops: Vec<v1::Op>) -> v1::Txn {
    v1::Txn { then_ops: ops, ..v1::Txn::default() }
}

fn read(query: v1::RangeQuery, consistency: v1::Consistency) -> v1::RangeRequest {
    v1::RangeRequest { query: Some(query), consistency: Some(consistency) }
}

fn read_keys(keys: Option<v1::Keys>) -> v1::RangeRequest {
    read(v1::RangeQuery { keys, ..v1::RangeQuery::default() }, v1::Consistency::default())
}

/// The error has this reason, and its text these words.
fn check(name: &str, error: &Error, (reason, words): (&str, &str)) {
    assert_eq!(error.reason(), reason, "{name}: {error:?}");
    assert!(error.to_string().contains(words), "{name}: the text should say {words:?}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_writes_are_refused_with_limit_and_actual_value() {
    let cluster = one_member().await;
    let node = cluster.node(1);
    let cases = [
        ("an empty key", put("", "v"), ("invalid", "key is empty")),
        (
            "a long key",
            put(vec![b'k'; 8193], "v"),
            ("too_large", "has 8193 bytes; the limit limits.key_bytes_max is 8192"),
        ),
        ("a big value", put("k", vec![0; (1 << 20) + 1]), ("too_large", "has 1048577 bytes; the limit")),
        ("an unknown lease", v1::PutRequest { lease: 77, ..put("k", "v") }, ("lease_not_found", "77")),
    ];
    for (name, request, expected) in cases {
        check(name, &node.refusal(node.kv().put(request)).await, expected);
    }
    let empty = v1::DeleteRequest { keys: interval("b", "a"), prev_kv: false, ..Default::default() };
    check("an inverted range", &node.refusal(node.kv().delete(empty)).await, ("invalid", ""));
    let none = v1::DeleteRequest { keys: None, prev_kv: false, ..Default::default() };
    check("no keys", &node.refusal(node.kv().delete(none)).await, ("invalid", "keys"));
    let huge = node.refusal(node.kv().put(put("k", vec![0; 8 << 20]))).await;
    assert!(!matches!(huge, Error::Connection { .. }), "a request over the message limit: {huge:?}");
    is_well(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_allowed_key_and_value_are_accepted() {
    let cluster = one_member().await;
    let largest = put(vec![b'k'; 8192], vec![0; 1 << 20]);
    cluster.node(1).kv().put(largest).await.expect("a write of exactly the limits");
    cluster.node(1).kv().put(put("empty", "")).await.expect("an empty value");
    is_well(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_transactions_are_refused_as_a_whole() {
    let cluster = one_member().await;
    let node = cluster.node(1);
    let many = |count: usize| (0..count).map(|n| put_op(format!("k{n}"))).collect();
    let nested = |inner: v1::Txn| v1::Op { op: Some(op::Op::Txn(inner)) };
    let deep = (0..20).fold(then(vec![put_op("k")]), |inner, _| then(vec![nested(inner)]));
    let old = v1::RangeQuery { keys: key("k"), revision: 1, ..v1::RangeQuery::default() };
    let old = v1::Op { op: Some(op::Op::Range(old)) };
    let delete = v1::DeleteRequest { keys: interval("a", "z"), prev_kv: false, ..Default::default() };
    let delete = v1::Op { op: Some(op::Op::Delete(delete)) };
    let unset = v1::Compare { keys: key("k"), operator: compare::Operator::Equal as i32, target: None };
    let without_target = v1::Txn { compares: vec![unset], ..v1::Txn::default() };
    let cases = [
        ("129 operations", then(many(129)), ("too_large", "has 129 operations; the limit")),
        (
            "129, two of them nested",
            then([many(127), vec![nested(then(many(2)))]].concat()),
            ("too_large", ""),
        ),
        ("a key put twice", then(vec![put_op("same"), put_op("same")]), ("invalid", "same")),
        ("a put inside a delete", then(vec![put_op("k"), delete]), ("invalid", "k")),
        ("20 levels", deep, ("too_large", "")),
        ("a past revision", then(vec![old]), ("invalid", "revision")),
        ("an operation without content", then(vec![v1::Op { op: None }]), ("invalid", "")),
        ("a comparison with nothing", without_target, ("invalid", "target")),
    ];
    for (name, txn, expected) in cases {
        let request = v1::TxnRequest { txn: Some(txn), ..Default::default() };
        check(name, &node.refusal(node.kv().txn(request)).await, expected);
    }
    node.txn(then(many(128))).await.expect("128 operations are allowed");
    is_well(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_reads_say_what_there_is() {
    let cluster = one_member().await;
    let node = cluster.node(1);
    for value in ["1", "2", "3"] {
        node.put("k", value).await.expect("a write");
    }
    node.kv().compact(v1::CompactRequest { revision: 3, ..Default::default() }).await.expect("a compaction");
    let at = |revision| v1::RangeQuery { keys: key("k"), revision, ..v1::RangeQuery::default() };
    let any = v1::Consistency::default;
    let to_nobody = v1::Route { to: Some(route::To::MemberId(99)) };
    let no_level = v1::Consistency { level: 99, ..any() };
    let nowhere = v1::Consistency { route: Some(to_nobody), ..any() };
    let unsorted = v1::RangeQuery { sort_by: 99, ..at(0) };
    let cases = [
        ("no keys", read_keys(None), ("invalid", "keys")),
        ("an inverted range", read_keys(interval("b", "a")), ("invalid", "")),
        ("a future revision", read(at(1000), any()), ("future_revision", "1000")),
        ("a compacted revision", read(at(2), any()), ("compacted", "2")),
        ("an unknown level", read(at(0), no_level), ("invalid", "level")),
        ("an unknown member", read(at(0), nowhere), ("wrong_route", "99")),
        ("an unknown order", read(unsorted, any()), ("invalid", "sort_by")),
    ];
    for (name, request, expected) in cases {
        check(name, &node.refusal(node.kv().range(request)).await, expected);
    }
    let future = v1::CompactRequest { revision: 1000, ..Default::default() };
    check("compact the future", &node.refusal(node.kv().compact(future)).await, ("future_revision", "1000"));
    let hurried = node.within(Duration::from_millis(300));
    let error = hurried
        .get("k", Level::Session { min_revision: 1000 })
        .await
        .expect_err("a session ahead of the store");
    assert!(matches!(error.reason(), "wait_timeout" | "deadline"), "{error:?}");
    is_well(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_metadata_is_refused() {
    let cluster = one_member().await;
    let node = cluster.node(1);
    let long = "x".repeat(65);
    let cases = [("grpc-timeout", "banana", "invalid"), ("x-request-id", long.as_str(), "too_large")];
    for (name, value, reason) in cases {
        let mut request = Request::new(read_keys(key("k")));
        request.metadata_mut().insert(name, value.parse().expect("printable"));
        check(name, &node.refusal(node.kv().range(request)).await, (reason, name));
    }
    is_well(&cluster).await;
}

/// A put of a later version of the protocol.
#[derive(Clone, PartialEq, prost::Message)]
struct NovelPut {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
    #[prost(string, tag = "999")]
    novelty: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_ignored() {
    let cluster = one_member().await;
    let node = cluster.node(1);
    let message = NovelPut { key: "novel".into(), value: "v".into(), novelty: "from the future".into() };
    call::<_, v1::PutResponse>(&node, "/quorate.v1.Kv/Put", message)
        .await
        .expect("a put with an unknown field");
    let answer = node.get("novel", Level::Linearizable).await.expect("a read");
    assert_eq!(&*answer.result.kvs[0].value, b"v");

    let unknown = call::<_, v1::PutResponse>(&node, "/quorate.v1.Kv/Teleport", NovelPut::default()).await;
    assert_eq!(unknown.expect_err("an unknown method").code(), tonic::Code::Unimplemented);
    let garbled = call::<_, v1::PutResponse>(&node, "/quorate.v1.Kv/Range", NovelPut::default()).await;
    garbled.expect_err("a message of another type");
    is_well(&cluster).await;
}

/// Calls a method by its path, with any message.
async fn call<M, R>(node: &NodeClient, path: &'static str, message: M) -> Result<R, tonic::Status>
where
    M: prost::Message + 'static,
    R: prost::Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(node.channel());
    grpc.ready().await.expect("a connection");
    let codec = ProstCodec::<M, R>::default();
    let answer = grpc.unary(Request::new(message), PathAndQuery::from_static(path), codec).await?;
    Ok(answer.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_and_a_limit_that_are_allowed_work() {
    let cluster = one_member().await;
    let node = cluster.node(1);
    for key in ["a", "b", "c"] {
        node.put(key, key).await.expect("a write");
    }
    let query = v1::RangeQuery {
        keys: interval("a", "z"),
        limit: 2,
        sort_by: range_query::SortBy::ModRevision as i32,
        descending: true,
        ..v1::RangeQuery::default()
    };
    let answer = node.kv().range(read(query, v1::Consistency::default())).await.expect("a read").into_inner();
    let keys: Vec<_> = answer.kvs.iter().map(|kv| &*kv.key).collect();
    assert_eq!((keys, answer.count, answer.more), (vec![&b"c"[..], b"b"], 3, true));
}
