//! A member of one, served to the generated clients: the whole way from a socket to the state and back.

use std::{net::TcpListener, time::Duration};

use futures::{StreamExt, stream};
use quorate::{
    config::{Config, MemberAddr},
    error::Error,
    pb::{
        convert::{self, RequestKind},
        v1::{
            self, cluster_client::ClusterClient, kv_client::KvClient, maintenance_client::MaintenanceClient,
            watch_client::WatchClient,
        },
    },
    server::{self, ServerError},
    types::KeyRange,
};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

struct Member {
    channel: Channel,
    address: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), ServerError>>,
    _dir: TempDir,
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}

fn config(dir: &TempDir) -> Config {
    let own = MemberAddr { peer: free_address(), client: free_address() };
    let data_dir = dir.path().join("data");
    Config { id: 1, data_dir, members: [(1, own)].into(), ..Config::default() }
}

async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(found) = probe().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 10 s");
}

async fn start() -> Member {
    let dir = TempDir::new().expect("a directory");
    let config = config(&dir);
    let address = config.members[&1].client.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(server::run(config, async { stopped.await.unwrap_or(()) }));
    let uri = format!("http://{address}");
    let connect = async || Channel::from_shared(uri.clone()).expect("a uri").connect().await.ok();
    let channel = eventually("a connection", connect).await;
    eventually("readiness", async || (health(&channel).await == ServingStatus::Serving).then_some(())).await;
    Member { channel, address, stop, running, _dir: dir }
}

async fn health(channel: &Channel) -> ServingStatus {
    let request = HealthCheckRequest { service: "quorate.v1.Kv".into() };
    HealthClient::new(channel.clone()).check(request).await.expect("an answer").into_inner().status()
}

fn put(key: &str, value: &str) -> v1::PutRequest {
    v1::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

fn range(keys: KeyRange) -> v1::RangeRequest {
    let query = v1::RangeQuery { keys: Some(keys.into()), ..Default::default() };
    v1::RangeRequest { query: Some(query), consistency: None }
}

fn error(status: &Status) -> Error {
    assert!(!status.details().is_empty(), "no details: {status:?}");
    convert::from_status(status, "member", RequestKind::Write)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_answered_with_what_proves_it() {
    let member = start().await;
    let mut kv = KvClient::new(member.channel.clone());

    let written = kv.put(put("a", "1")).await.expect("put").into_inner();
    let header = written.header.expect("a header");
    assert_eq!((header.member_id, header.revision), (1, 2));
    assert_eq!(header.request_id.len(), 16, "an id was drawn");
    assert!(written.write.expect("its evidence").log_index > 0);
    kv.put(put("b", "2")).await.expect("put");

    let read = kv.range(range(KeyRange::key("a"))).await.expect("range").into_inner();
    assert_eq!((read.count, &*read.kvs[0].value), (1, &b"1"[..]));
    let evidence = read.evidence.expect("evidence");
    assert_eq!(evidence.level_served(), v1::Level::Linearizable);
    assert_eq!((evidence.mechanism(), evidence.served_by_id), (v1::Mechanism::ReadIndex, 1));

    let swap = v1::Txn {
        compares: vec![v1::Compare {
            keys: Some(KeyRange::key("a").into()),
            target: Some(v1::compare::Target::Value("1".into())),
            ..Default::default()
        }],
        then_ops: vec![v1::Op { op: Some(v1::op::Op::Put(put("a", "3"))) }],
        ..Default::default()
    };
    let swapped = kv
        .txn(v1::TxnRequest { txn: Some(swap.clone()), ..Default::default() })
        .await
        .expect("txn")
        .into_inner();
    assert!(swapped.result.expect("a result").succeeded);
    let again =
        kv.txn(v1::TxnRequest { txn: Some(swap), ..Default::default() }).await.expect("txn").into_inner();
    assert!(!again.result.expect("a result").succeeded);

    let keys = Some(KeyRange::key("b").into());
    let deleted = kv
        .delete(v1::DeleteRequest { keys, prev_kv: true, ..Default::default() })
        .await
        .expect("delete")
        .into_inner();
    assert_eq!((deleted.deleted, &*deleted.prev_kvs[0].value), (1, &b"2"[..]));
    kv.compact(v1::CompactRequest { revision: 3, ..Default::default() }).await.expect("compact");

    let mut cluster = ClusterClient::new(member.channel.clone());
    let status = cluster.status(v1::StatusRequest {}).await.expect("status").into_inner();
    assert_eq!((status.role(), status.leader_id, status.ready), (v1::MemberRole::RoleLeader, 1, true));
    assert_eq!(status.limits["limits.key_bytes_max"], 8192);
    let members = cluster.members(v1::MembersRequest {}).await.expect("members").into_inner().members;
    assert_eq!((members.len(), &members[0].client_addr), (1, &member.address));
    let hash = v1::StateHashRequest { revision: 0 };
    let hash = MaintenanceClient::new(member.channel).state_hash(hash).await.expect("hash").into_inner();
    assert_eq!((hash.hash.len(), hash.keys), (32, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_streams_one_revision_behind_its_evidence() {
    let member = start().await;
    let mut kv = KvClient::new(member.channel);
    let value = "v".repeat(400 << 10);
    for key in ["a", "b", "c", "d", "e"] {
        kv.put(put(key, &value)).await.expect("put");
    }
    let scan = v1::ScanRequest { keys: Some(KeyRange::all().into()), ..Default::default() };
    let mut chunks = kv.scan(scan).await.expect("scan").into_inner();
    let head = chunks.message().await.expect("a chunk").expect("the first one");
    assert!(head.kvs.is_empty() && head.evidence.is_some());
    kv.put(put("f", "later")).await.expect("put");
    let (mut keys, mut count) = (Vec::new(), 0);
    while let Some(chunk) = chunks.message().await.expect("a chunk") {
        assert_eq!(chunk.header, head.header);
        keys.extend(chunk.kvs.into_iter().map(|kv| kv.key));
        count += 1;
    }
    assert_eq!(keys, ["a", "b", "c", "d", "e"]);
    assert!(count >= 2, "5 values of 400 KiB in {count} chunks");
}

/// What a watch of everything with the pairs before is told once six values of 1 MiB are deleted at once.
async fn told_of_a_large_deletion(fragment: bool) -> Vec<v1::WatchResponse> {
    let member = start().await;
    let mut kv = KvClient::new(member.channel.clone());
    let value = "v".repeat(1 << 20);
    for key in ["a", "b", "c", "d", "e", "f"] {
        kv.put(put(key, &value)).await.expect("put");
    }
    let create =
        v1::WatchCreate { keys: Some(KeyRange::all().into()), prev_kv: true, fragment, ..Default::default() };
    let create = v1::WatchRequest { request: Some(v1::watch_request::Request::Create(create)) };
    let requests = stream::iter([create]).chain(stream::pending());
    let watching = WatchClient::new(member.channel.clone()).watch(requests).await.expect("watching");
    let mut watching = watching.into_inner();
    let mut told = vec![watching.message().await.expect("a response").expect("the first")];
    let keys = Some(KeyRange::all().into());
    kv.delete(v1::DeleteRequest { keys, ..Default::default() }).await.expect("delete");
    while told.last().is_some_and(|last| last.created || last.fragment) {
        told.push(watching.message().await.expect("a response").expect("not the end"));
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_deletion_is_told_in_parts_that_any_client_takes() {
    let told = told_of_a_large_deletion(true).await;
    let [created, parts @ .., last] = &told[..] else { panic!("{} responses", told.len()) };
    assert!(created.created && parts.len() >= 4 && !last.fragment);
    let events: Vec<_> = told.iter().flat_map(|response| &response.events).collect();
    assert_eq!(events.len(), 6);
    assert!(
        events.iter().all(|event| event.deleted && event.prev_kv.as_ref().is_some_and(|kv| kv.version == 1))
    );
    let revisions: Vec<_> = told[1..].iter().filter_map(|response| response.header.as_ref()).collect();
    assert!(revisions.iter().all(|header| header.revision == 8), "{revisions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_deletion_ends_a_watch_that_wants_it_in_one_response_and_says_why() {
    let told = told_of_a_large_deletion(false).await;
    let [_, end] = &told[..] else { panic!("{} responses", told.len()) };
    assert!(end.canceled && end.events.is_empty());
    let detail = end.cancel.clone().expect("a reason");
    let limit = detail.limit.clone().expect("the limit");
    assert_eq!((limit.name.contains("without fragment"), limit.limit), (true, 4 << 20), "{limit:?}");
    assert!(limit.actual > 4 << 20, "{limit:?}");
    let message = format!(
        "one revision has at least {} bytes; the limit of a watch without fragment is 4194304",
        limit.actual
    );
    assert_eq!(end.cancel_message, message);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_gets_wrong_is_told_and_the_member_goes_on() {
    let member = start().await;
    let mut kv = KvClient::new(member.channel);

    let status = kv.put(put("", "1")).await.expect_err("an empty key");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(matches!(error(&status), Error::Invalid(_)));

    let status = kv.put(put(&"k".repeat(8193), "1")).await.expect_err("a large key");
    let what = "limits.key_bytes_max".to_owned();
    assert_eq!(error(&status), Error::TooLarge { what, limit: 8192, actual: 8193 });

    let status = kv.put(put("k", &"v".repeat(2 << 20))).await.expect_err("a large request");
    assert!(matches!(error(&status), Error::TooLarge { what, .. } if what == "limits.request_bytes_max"));

    let mut future = range(KeyRange::all());
    future.query.as_mut().expect("a query").revision = 99;
    let status = kv.range(future).await.expect_err("a future revision");
    assert_eq!(error(&status), Error::FutureRevision { requested: 99, current: 1 });

    let op = v1::Op {
        op: Some(v1::op::Op::Range(v1::RangeQuery {
            keys: Some(KeyRange::all().into()),
            ..Default::default()
        })),
    };
    let txn = v1::Txn { then_ops: vec![op; 129], ..Default::default() };
    let status =
        kv.txn(v1::TxnRequest { txn: Some(txn), ..Default::default() }).await.expect_err("129 operations");
    let what = "limits.txn_ops_max".to_owned();
    assert_eq!(error(&status), Error::TooLarge { what, limit: 128, actual: 129 });

    kv.put(put("k", "v")).await.expect("the member goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_in_order_and_watchers_of_health_are_told() {
    let member = start().await;
    let request = HealthCheckRequest { service: String::new() };
    let mut watching =
        HealthClient::new(member.channel.clone()).watch(request).await.expect("watching").into_inner();
    let first = watching.message().await.expect("a status").expect("a first one");
    assert_eq!(first.status(), ServingStatus::Serving);

    member.stop.send(()).expect("it runs");
    let last = watching.message().await.expect("a status").expect("a second one");
    assert_eq!(last.status(), ServingStatus::NotServing);
    assert!(watching.message().await.expect("an end").is_none());
    let ended = tokio::time::timeout(Duration::from_secs(10), member.running).await.expect("it ends");
    ended.expect("no panic").expect("in order");
    assert!(TcpStream::connect(member.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn an_occupied_port_is_named_before_anything_is_written() {
    let dir = TempDir::new().expect("a directory");
    let config = config(&dir);
    let address = config.members[&1].client.clone();
    let _occupied = TcpListener::bind(&address).expect("the port");
    let data_dir = config.data_dir.clone();
    let error = server::run(config, std::future::pending()).await.expect_err("occupied").to_string();
    assert!(
        error.starts_with(&format!("cannot listen for clients on {address} (members.1.client)")),
        "{error}"
    );
    assert!(!data_dir.exists());
}
