//! The command line that scripts rely on: the shape of its JSON, its exit codes, its one line of error.

use serde_json::{Value, json};

use crate::support::{
    cli::{self, Done},
    cluster::{Cluster, Spec},
    ports,
};

/// The fields of a JSON object, sorted.
fn fields(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

const HEADER: [&str; 6] = ["applied_index", "cluster_id", "member_id", "request_id", "revision", "term"];

/// The header of a write has its place in the log too.
const WRITE_HEADER: [&str; 7] =
    ["applied_index", "cluster_id", "index", "member_id", "request_id", "revision", "term"];

const EVIDENCE: [&str; 9] = [
    "leader_contact_age_ms",
    "leader_id",
    "level_asked",
    "level_served",
    "mechanism",
    "read_index",
    "served_by",
    "staleness_bound_ms",
    "waited_us",
];

/// The object of a failure, after a check of the line on standard error.
fn error_of(done: &Done) -> Value {
    assert_eq!(done.stderr.trim_end().lines().count(), 1, "one line of error: {done:?}");
    let json = done.json();
    assert_eq!(fields(&json["error"]), ["maybe_committed", "message", "reason", "retryable"]);
    json["error"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_promised_shape() {
    let cluster = Cluster::three().await;
    let put = cluster.cli(&["-o", "json", "put", "k", "v"]).expect(0).json();
    assert_eq!(fields(&put["header"]), WRITE_HEADER);
    let revision = &put["header"]["revision"];

    let get = cluster.cli(&["get", "k", "--consistency", "linearizable", "-o", "json"]).expect(0).json();
    assert_eq!(fields(&get), ["count", "evidence", "header", "kvs", "more"]);
    assert_eq!(fields(&get["header"]), HEADER);
    assert_eq!(fields(&get["evidence"]), EVIDENCE);
    assert_eq!(fields(&get["evidence"]["served_by"]), ["id", "role"]);
    assert_eq!(fields(&get["evidence"]["waited_us"]), ["apply", "queue", "quorum"]);
    let kv = json!({"key": "k", "value": "v", "create_revision": revision,
        "mod_revision": revision, "version": 1, "lease": 0});
    assert_eq!(get["kvs"], json!([kv]));
    assert_eq!((&get["count"], &get["more"]), (&json!(1), &json!(false)));
    assert_eq!(get["evidence"]["mechanism"], "read_index");

    let del = cluster.cli(&["del", "k", "-o", "json"]).expect(0).json();
    assert_eq!(fields(&del["header"]), WRITE_HEADER);
    assert!(del["header"]["index"].as_u64() > put["header"]["index"].as_u64(), "{put} {del}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_lists_the_living_and_the_dead() {
    let mut cluster = Cluster::three().await;
    cluster.kill(3);
    let status = cluster.cli(&["status", "-o", "json", "--timeout", "3s"]);
    let members = status.json();
    let members = members.as_array().expect("an array");
    assert_eq!(members.len(), 3, "{status:?}");
    for member in members.iter().filter(|member| member.get("error").is_none()) {
        for field in
            ["id", "role", "term", "leader_id", "revision", "applied_index", "commit_index", "version"]
        {
            assert!(member.get(field).is_some(), "`{field}` is missing: {member}");
        }
    }
    let dead: Vec<_> = members.iter().filter(|member| member.get("error").is_some()).collect();
    assert_eq!(dead.len(), 1, "{members:?}");
    assert_eq!(dead[0]["endpoint"], cluster.client_addr(3));
}

/// Each stage that something went through, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn status_says_where_time_goes() {
    let cluster = Cluster::start(Spec { members: 1, ..Spec::default() }).await;
    let count = |stage: &str| {
        let status = cluster.cli(&["status", "-o", "json"]).expect(0).json();
        status[0]["stages"][stage]["count"].as_u64().unwrap_or(0)
    };
    assert_eq!(count("write"), 0);
    cluster.cli(&["put", "k", "v"]).expect(0);
    cluster.cli(&["put", "k", "w"]).expect(0);
    assert_eq!((count("write"), count("propose")), (2, 2));
    assert!(count("log_sync") >= 2 && count("commit") >= 2 && count("apply") >= 2);
    let rounds = count("round");
    cluster.cli(&["get", "k", "--consistency", "linearizable"]).expect(0);
    assert_eq!(count("round"), rounds + 1);
    let table = cluster.cli(&["status", "--stages"]).expect(0).stdout.clone();
    for word in ["STAGE", "P99", "log_sync", "catch_up"] {
        assert!(table.contains(word), "{word} is missing: {table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_happened() {
    let cluster = Cluster::start(Spec { members: 1, ..Spec::default() }).await;
    cluster.cli(&["put", "k", "v"]).expect(0);
    cluster.cli(&["get", "k"]).expect(0);
    cluster.cli(&["get", "missing"]).expect(1);
    cluster.cli(&["del", "missing"]).expect(1);
    cluster.cli(&["txn", "if value(k) = \"other\"\nthen put k x"]).expect(1);
    cluster.cli(&["frobnicate"]).expect(2);
    cluster.cli(&["get", "k", "--consistency", "perfect"]).expect(2);
    // What makes no sense in itself is usage; what depends on the store is the server's answer.
    cluster.cli(&["put", "", "v"]).expect(2);
    cluster.cli(&["get", "k", "--revision", "1000"]).expect(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_one_line_and_one_object() {
    let cluster = Cluster::start(Spec { members: 1, ..Spec::default() }).await;
    let future = cluster.cli(&["get", "k", "--revision", "1000", "-o", "json"]).expect(3);
    assert_eq!(error_of(&future)["reason"], "future_revision");

    let nobody = ports::free_addr();
    let unreachable =
        cli::run(&["--endpoints", &nobody, "--timeout", "2s", "-o", "json", "get", "k"]).expect(3);
    let error = error_of(&unreachable);
    assert_eq!(error["maybe_committed"], false, "nothing was sent: {error}");
    assert!(unreachable.took.as_secs() < 5, "{unreachable:?}");
}

#[test]
fn mistyped_arguments_are_one_line_and_one_object_too() {
    let typo = cli::run(&["gett", "k", "-o", "json"]).expect(2);
    let error = error_of(&typo);
    assert_eq!(error["reason"], "invalid");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("'get'")), "the tip is kept: {error}");
    cli::run(&["put", "k", "v", "--consistency", "eventual"]).expect(2);
    cli::run(&["serve", "--endpoints", "a:1"]).expect(2);
    cli::run(&["get", "k", "--timeout", "0s"]).expect(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_of_two_clusters_are_told() {
    let one = Cluster::start(Spec { members: 1, ..Spec::default() }).await;
    let other = Cluster::start(Spec { members: 1, ..Spec::default() }).await;
    let endpoints = format!("{},{}", one.client_addr(1), other.client_addr(1));
    for command in ["status", "hash", "members"] {
        let told = cli::run(&["--endpoints", &endpoints, command]).expect(3);
        assert!(told.stderr.contains("belongs to cluster"), "{command}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_text_survive() {
    let cluster = Cluster::start(Spec { members: 1, ..Spec::default() }).await;
    let value = [0xff, 0x00, 0xfe];
    let put = quorate::pb::v1::PutRequest {
        key: "bytes".into(),
        value: value.to_vec().into(),
        ..quorate::pb::v1::PutRequest::default()
    };
    cluster.node(1).kv().put(put).await.expect("a write");
    let kv = cluster.cli(&["get", "bytes", "-o", "json"]).expect(0).json()["kvs"][0].clone();
    assert_eq!((&kv["key"], &kv["value_base64"], kv.get("value")), (&json!("bytes"), &json!("/wD+"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_goes_through_to_the_logs() {
    let cluster = Cluster::three().await;
    let put = ["-o", "json", "--request-id", "find-me-in-the-logs", "put", "k", "v"];
    let follower = cluster.leader().await % 3 + 1;
    let answer = cluster.cli_at(follower, &put).expect(0).json();
    assert_eq!(answer["header"]["request_id"], "find-me-in-the-logs");
}
