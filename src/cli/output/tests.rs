use std::time::Duration;

use super::{table::render, *};
use crate::{
    error::Error,
    pb::v1,
    types::{
        DeleteResult, Evidence, Header, Level, Mechanism, MemberRole, OpResult, RangeAnswer, RangeResult,
        TxnResult, Waited, WriteAnswer, WriteEvidence,
    },
};

fn text(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    json(&mut out, value).expect("memory");
    String::from_utf8(out).expect("UTF-8")
}

fn header() -> Header {
    Header {
        cluster_id: u64::MAX,
        member_id: 2,
        term: 3,
        revision: 17,
        applied_index: 40,
        request_id: "r-1".into(),
    }
}

fn pair(key: &'static [u8], value: &'static [u8]) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: 5,
        mod_revision: 17,
        version: 2,
        lease: 0,
    }
}

fn written<T>(result: T) -> WriteAnswer<T> {
    let write = WriteEvidence { log_index: 41, log_term: 3, deduplicated: false };
    WriteAnswer { header: header(), result, write }
}

const HEADER: &str = concat!(
    r#""header":{"cluster_id":18446744073709551615,"member_id":2,"term":3,"#,
    r#""revision":17,"applied_index":40,"request_id":"r-1""#
);

#[test]
fn a_read_has_exactly_the_shape_that_scripts_rely_on() {
    let evidence = Evidence {
        level_asked: Level::Bounded { max_age: Duration::from_millis(500) },
        level_served: Level::Bounded { max_age: Duration::from_millis(500) },
        mechanism: Mechanism::Certificate,
        served_by: 2,
        role: MemberRole::Follower,
        leader_id: None,
        read_index: Some(39),
        staleness_bound: None,
        leader_contact_age: Some(Duration::from_millis(12)),
        waited: Waited { quorum: Duration::from_micros(1200), ..Waited::default() },
    };
    let result =
        RangeResult { kvs: vec![pair(b"k", b"v"), pair(b"\xff", b"\x00\xfe")], count: 3, more: true };
    let answer = RangeAnswer { header: header(), result, evidence };
    let expected = [
        "{",
        HEADER,
        r#"},"kvs":[{"key":"k","value":"v","create_revision":5,"mod_revision":17,"version":2,"lease":0},"#,
        r#"{"key_base64":"/w==","value_base64":"AP4=","create_revision":5,"mod_revision":17,"#,
        r#""version":2,"lease":0}],"#,
        r#""count":3,"more":true,"evidence":{"level_asked":"bounded","level_served":"bounded","#,
        r#""mechanism":"certificate","served_by":{"id":2,"role":"follower"},"#,
        r#""leader_id":null,"read_index":39,"staleness_bound_ms":null,"#,
        r#""leader_contact_age_ms":12,"waited_us":{"quorum":1200,"apply":0,"queue":0}}}"#,
        "\n",
    ];
    assert_eq!(text(&RangeObject::new(answer, false)), expected.concat());
}

#[test]
fn a_pair_without_its_value_has_no_field_for_it() {
    let expected = r#"{"key":"k","create_revision":5,"mod_revision":17,"version":2,"lease":0}"#;
    assert_eq!(text(&PairObject::key_only(pair(b"k", b""))), format!("{expected}\n"));
}

#[test]
fn writes_have_the_log_index_in_the_header() {
    let put = text(&PutObject::from(written(None)));
    assert_eq!(put, format!("{{{HEADER},\"index\":41}},\"prev_kv\":null}}\n"));
    let result = DeleteResult { deleted: 1, prev_kvs: vec![] };
    let deleted = text(&DeleteObject::from(written(result)));
    assert_eq!(deleted, format!("{{{HEADER},\"index\":41}},\"deleted\":1,\"prev_kvs\":[]}}\n"));
    let compacted = text(&CompactObject::from(written(())));
    assert_eq!(compacted, format!("{{{HEADER},\"index\":41}}}}\n"));
}

#[test]
fn results_of_a_transaction_are_named_as_in_its_json_form() {
    let nested = TxnResult { succeeded: false, results: vec![OpResult::Range(RangeResult::default())] };
    let results = vec![OpResult::Put(None), OpResult::Delete(DeleteResult::default()), OpResult::Txn(nested)];
    let answer = written(TxnResult { succeeded: true, results });
    let expected = [
        "{",
        HEADER,
        r#","index":41},"succeeded":true,"results":"#,
        r#"[{"put":{"prev_kv":null}},{"del":{"deleted":0,"prev_kvs":[]}},"#,
        r#"{"txn":{"succeeded":false,"results":[{"get":{"kvs":[],"count":0,"more":false}}]}}]}"#,
        "\n",
    ];
    assert_eq!(text(&TxnObject::from(answer)), expected.concat());
}

#[test]
fn errors_say_what_the_caller_can_do() {
    let error = Error::Connection { endpoint: "a:1".into(), why: "reset".into(), maybe_committed: true };
    let fields = concat!(
        r#""error":{"reason":"connection","#,
        r#""message":"lost the connection to a:1: reset; the write may have been applied","#,
        r#""maybe_committed":true,"retryable":false}"#
    );
    assert_eq!(text(&ErrorObject::new(&error)), format!("{{{fields}}}\n"));
    let again = ErrorObject::new(&Error::FutureRevision { requested: 9, current: 1 });
    assert!(text(&again).contains(r#""retryable":true"#));
    assert!(text(&again.definite()).contains(r#""retryable":false"#));
    assert_eq!(text(&Unreachable::new("a:1", &error)), format!("{{\"endpoint\":\"a:1\",{fields}}}\n"));
}

#[test]
fn a_members_status_has_what_the_contract_names() {
    let lag = v1::status_response::Lag { id: 3, matched_index: None, entries: 7 };
    let stage =
        v1::status_response::Stage { name: "apply".into(), count: 9, p99_us: 120, ..Default::default() };
    let status = v1::StatusResponse {
        header: Some(header().into()),
        id: 2,
        role: v1::MemberRole::RoleLeader.into(),
        commit_index: 41,
        log_bytes: 1,
        state_bytes: 2,
        version: "0.1.0".into(),
        lag: vec![lag],
        stages: vec![stage],
        ..Default::default()
    };
    let object = serde_json::to_value(StatusObject::new("a:1", &status)).expect("an object");
    let named = [
        ("endpoint", serde_json::json!("a:1")),
        ("id", 2.into()),
        ("role", "leader".into()),
        ("term", 3.into()),
        ("leader_id", serde_json::Value::Null),
        ("revision", 17.into()),
        ("applied_index", 40.into()),
        ("commit_index", 41.into()),
        ("log_bytes", 1.into()),
        ("state_bytes", 2.into()),
        ("version", "0.1.0".into()),
        (
            "stages",
            serde_json::json!({"apply": {"count": 9, "mean_us": 0, "p50_us": 0, "p99_us": 120, "max_us": 0}}),
        ),
        ("lag", serde_json::json!([{"id": 3, "matched_index": null, "entries": 7}])),
    ];
    for (name, expected) in named {
        assert_eq!(object.get(name), Some(&expected), "{name}");
    }
}

#[test]
fn tables_are_plain_where_nobody_looks_at_them() {
    let rows = || [vec!["a".to_owned(), "long value".to_owned()], vec!["bb".to_owned()]].into_iter();
    assert_eq!(render(&["KEY", "VALUE"], rows(), false), "KEY  VALUE\na    long value\nbb");
    assert!(render(&["KEY", "VALUE"], rows(), true).contains('│'));
}

#[test]
fn cells_are_short_and_one_line() {
    assert_eq!(bytes("häuser".as_bytes()), "häuser");
    assert_eq!(bytes(b"a\nb"), "a\\nb");
    assert_eq!(bytes(b"\xff"), "\\xff");
    let sizes = [0, 1023, 1024, 10 << 10, 1536 << 10, u64::MAX].map(size);
    assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "10 KiB", "1.5 MiB", "16 EiB"]);
    let times = [0, 999, 1_200, 1_500_000].map(|micros| duration(Duration::from_micros(micros)));
    assert_eq!(times, ["0 ms", "999 µs", "1.2 ms", "1.5 s"]);
}

#[test]
fn pairs_are_raw_bytes_in_simple_output() {
    let mut out = Vec::new();
    pairs(&mut out, &[pair(b"k", b"\xff\x00")], false).expect("memory");
    pairs(&mut out, &[pair(b"k", b"")], true).expect("memory");
    assert_eq!(out, b"k\t\xff\x00\nk\n");
}
