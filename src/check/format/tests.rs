//! What is written is read again, and what is wrong is told.

use super::*;
use crate::{
    check::history::{
        About, Action, Condition, Delivery, DeliveryKind, Event, Expected, Fault, FaultKind, FinalState,
        Found, Leadership, Operation, Outcome, Seen, Step, Text,
    },
    types::{Level, Mechanism, MemberRole},
};

fn text(text: &str) -> Text {
    text.into()
}

fn found(value: &str) -> Found {
    Found { value: text(value), mod_revision: 17, create_revision: 4, version: 2 }
}

fn actions() -> Vec<Action> {
    let (key, value, lock) = (text("a\"ä"), text("3.17"), text("l"));
    let steps = vec![
        Step::Read(text("x"), Some(None)),
        Step::Write(text("x"), text("1")),
        Step::List(text("y"), Some(vec![text("1"), text("2")])),
        Step::Append(text("y"), text("3")),
    ];
    let when = vec![
        Condition { key: text("x"), expected: Expected::Value(None) },
        Condition { key: text("y"), expected: Expected::Value(Some(text("1"))) },
        Condition { key: text("z"), expected: Expected::ModRevision(0) },
    ];
    vec![
        Action::Read { key: key.clone(), found: Some(Some(found("3.17"))) },
        Action::Read { key: key.clone(), found: Some(None) },
        Action::Write { key: key.clone(), value: value.clone() },
        Action::Delete { key: key.clone(), existed: Some(true) },
        Action::Cas { key: key.clone(), old: None, new: value.clone(), swapped: Some(false) },
        Action::Range {
            prefix: text(""),
            found: Some(vec![(text("a"), found("1")), (text("b"), found("2"))]),
        },
        Action::Txn { when, steps, applied: Some(true) },
        Action::Acquire { lock: lock.clone(), token: Some(4), sure_until: Some(99) },
        Action::Renew { lock: lock.clone(), token: 4, sure_until: Some(199) },
        Action::Release { lock: lock.clone(), token: 4 },
        Action::Guarded { lock, token: 4, key: key.clone(), value: value.clone(), done: Some(true) },
        Action::Grant { ttl: 5, lease: Some(7) },
        Action::KeepAlive { lease: 7, ttl: Some(0) },
        Action::Revoke { lease: 7 },
        Action::Attach { lease: 7, key, value },
    ]
}

fn operation(index: u64, action: Action) -> Operation {
    let (call, ret) = (index * 10, index * 10 + 5);
    let (outcome, level, seen) = (Outcome::Ok, None, None);
    Operation { index, process: 1, session: 2, part: None, call, ret, action, outcome, level, seen }
}

fn full() -> History {
    let mut operations: Vec<_> = (0..).zip(actions()).map(|(at, action)| operation(at, action)).collect();
    operations[0].level = Some(Level::Bounded { max_age: std::time::Duration::from_micros(1_500) });
    operations[0].part = Some(text("register"));
    operations[0].seen = Some(Seen {
        node: 2,
        term: 4,
        revision: 18,
        applied: 33,
        role: Some(MemberRole::Follower),
        mechanism: Some(Mechanism::Certificate),
        served: operations[0].level,
        staleness_bound: Some(98_000_000),
        stored: false,
    });
    operations[1].level = Some(Level::Session { min_revision: 17 });
    let read = Action::Read { key: text("a"), found: None };
    operations.push(Operation { outcome: Outcome::Unknown(text("deadline")), ..operation(90, read.clone()) });
    operations.push(Operation { outcome: Outcome::Fail(text("no_leader")), ..operation(91, read) });
    let event = Event {
        key: text("w/a"),
        value: None,
        revision: 8,
        create_revision: 3,
        version: 0,
        previous: Some(Some(text("1"))),
    };
    let kinds = [
        DeliveryKind::Opened { from: 7 },
        DeliveryKind::Events(vec![event]),
        DeliveryKind::Progress { revision: 9 },
        DeliveryKind::Cancelled { why: text("compacted"), compacted: Some(12) },
    ];
    let delivery = |(at, kind)| Delivery { watch: 5, prefix: text("w/"), at, node: 2, kind };
    History {
        about: About { quorate_history: 1, title: "t".into(), seed: Some(3), ..About::default() },
        operations,
        deliveries: (1..).zip(kinds).map(delivery).collect(),
        faults: vec![Fault {
            kind: FaultKind::OneWay,
            what: "n1 → n2".into(),
            nodes: vec![1, 2],
            from: 5,
            to: Some(9),
            landed: true,
            breaks: None,
        }],
        leaders: vec![Leadership { at: 3, leader: 1, term: 4 }],
        finals: vec![FinalState { node: 1, revision: 90, hash: "ab".into() }],
    }
}

#[test]
fn everything_that_is_written_is_read_again() {
    let history = full();
    let mut bytes = Vec::new();
    jsonl::write(&history, &mut bytes).expect("memory takes it");
    let read = read(&bytes[..], Format::Jsonl).expect("what was written");
    assert_eq!(read.about, history.about);
    assert_eq!(read.operations, history.operations);
    assert_eq!(read.deliveries, history.deliveries);
    assert_eq!(read.faults, history.faults);
    assert_eq!((read.leaders, read.finals), (history.leaders, history.finals));
}

#[test]
fn rows_are_put_in_order() {
    let mut history = full();
    history.operations.reverse();
    let mut bytes = Vec::new();
    jsonl::write(&history, &mut bytes).expect("memory takes it");
    let read = read(&bytes[..], Format::Jsonl).expect("what was written");
    assert_eq!(read.operations, full().operations);
}

/// What is said of a file with this second line (and, for the index, third).
fn refused(line: &str) -> String {
    let file = format!("{{\"quorate_history\":1}}\n{line}\n");
    read(file.as_bytes(), Format::Jsonl).expect_err(line).to_string()
}

/// A row that is right, for changes.
const ROW: &str =
    r#"{"index":1,"process":1,"call":5,"ret":9,"outcome":"ok","f":"write","key":"k","value":"v"}"#;

#[test]
fn a_mistake_is_told_with_line_column_and_what_was_expected() {
    assert!(read(format!("{{\"quorate_history\":1}}\n{ROW}\n").as_bytes(), Format::Jsonl).is_ok());
    let with = |from: &str, to: &str| refused(&ROW.replace(from, to));
    for (said, expected) in [
        (
            with("\"write\"", "\"raed\""),
            "line 2, column 60: expected one of read, write, delete, cas, range, txn, acquire, renew, \
             release, guarded, grant, keep-alive, revoke or attach, found \"raed\"",
        ),
        (with("\"ret\":9", "\"ret\":4"), "line 2, column 39: expected 5, the call, or later, found 4"),
        (with("\"index\":1,", ""), "line 2, column 1: expected a field \"index\", found none"),
        (with("\"key\":\"k\",", ""), "line 2, column 1: expected a field \"key\", found none"),
        (with("\"ret\":9", "\"ret\":\"9\""), "line 2, column 39: invalid type: string \"9\", expected u64"),
        (
            with("\"v\"}", "\"v\",\"token\":3}"),
            "line 2, column 98: expected no field \"token\" in a row of write",
        ),
        (
            with("\"v\"}", "\"v\",\"level\":\"bounded\"}"),
            "line 2, column 98: expected \"max_age_ms\" with the \
             level bounded",
        ),
        (with("\"v\"}", "\"v\""), "line 2, column 88: EOF while parsing an object"),
        (
            with("\"ok\"", "\"ok\",\"error\":\"x\""),
            "line 2, column 64: expected no \"error\" of an operation \
             that is ok",
        ),
        (
            with("\"write\",\"key\":\"k\",\"value\":\"v\"", "\"read\",\"key\":\"k\""),
            "line 2, column 1: expected \
             a field \"found\", found none",
        ),
        (
            with(
                "\"ok\",\"f\":\"write\",\"key\":\"k\",\"value\":\"v\"",
                "\"info\",\"f\":\"read\",\"key\":\"k\",\"found\":null",
            ),
            "line 2, column 87: expected no answer \"found\" of a read that is not ok",
        ),
        (
            refused(&format!("{ROW}\n{ROW}")),
            "line 3, column 1: expected an index of its own, found 1, as in \
             line 2",
        ),
        (
            refused(&format!("{ROW}\n{}", ROW.replace("\"index\":1", "\"index\":2").replace(":9", ":8"))),
            "line 3, column 1: process 1 does one thing at a time: expected a call at 9 or later, after its \
             operation 1 (line 2) has ended, found a call at 5",
        ),
        (
            refused(r#"{"watch":1,"prefix":"","at":3}"#),
            "line 2, column 10: expected one of \"opened\", \
             \"events\", \"progress\" or \"cancelled\" with a watch",
        ),
        (
            refused(r#"{"leader":{"at":3,"leader":1,"term":2,"x":1}}"#),
            "line 2, column 39: unknown field \"x\", \
             expected one of \"at\", \"leader\", \"term\"",
        ),
    ] {
        assert_eq!(said, expected);
    }
    let last = refused(r#"{"index":1,"f":"raed"}"#);
    assert!(last.starts_with("line 2, column 16: expected one of read, write"), "{last}");
}

#[test]
fn the_first_line_says_what_the_file_is() {
    let first = |file: &str| read(file.as_bytes(), Format::Jsonl).expect_err(file).to_string();
    assert_eq!(
        first(""),
        "line 1, column 1: expected a first line with \"quorate_history\": 1, found nothing"
    );
    assert_eq!(first(ROW), "line 1, column 1: expected a first line with \"quorate_history\": 1");
    assert_eq!(first("{\"quorate_history\":2}"), "line 1, column 20: expected version 1, found 2");
}

#[test]
#[ignore = "a measurement: cargo test --release"]
fn a_million_operations_are_read_in_seconds() {
    use std::io::{BufReader, BufWriter, Seek};

    let file = tempfile::tempfile().expect("a file");
    let mut out = jsonl::Writer::new(BufWriter::new(&file), &About::default()).expect("written");
    for index in 0..1_000_000 {
        let action = match index % 2 {
            0 => {
                Action::Write { key: text(&format!("k{}", index % 100)), value: text(&format!("0.{index}")) }
            }
            _ => Action::Read {
                key: text(&format!("k{}", index % 100)),
                found: Some(Some(found(&format!("0.{}", index - 1)))),
            },
        };
        let seen = full().operations[0].seen;
        out.operation(&Operation { seen, ..operation(index, action) }).expect("written");
    }
    out.end().expect("written");
    (&file).rewind().expect("a file");
    let began = std::time::Instant::now();
    let history = read(BufReader::with_capacity(1 << 20, &file), Format::Jsonl).expect("what was written");
    let took = began.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    assert_eq!(history.operations.len(), 1_000_000);
    let peak: u64 = peak.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    assert!(took.as_secs() < 10 && peak < 600 << 10, "{took:?}, {peak} KiB");
}
