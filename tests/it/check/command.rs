//! `quorate check`, as a script sees it.

use std::fs;

use super::known::path;
use crate::support::cli::{self, Done};

fn check(name: &str, options: &[&str]) -> Done {
    let path = path(name);
    cli::run(&[&["check", path.to_str().expect("text")], options].concat())
}

#[test]
fn exit_codes_and_json_are_as_promised() {
    let good = check("stale-read-good.jsonl", &["-o", "json"]).expect(0).json();
    assert_eq!(good["verdict"], "ok");
    assert_eq!(good["witness"].as_array().expect("an array").len(), 0);
    let bad = check("split-brain-lock.jsonl", &["-o", "json"]).expect(1).json();
    assert_eq!((&bad["verdict"], &bad["tiers"]["t4"]["verdict"]), (&"violated".into(), &"violated".into()));
    assert_eq!(bad["guarantees"]["locks"]["mutual-exclusion"]["violations"], 1);
    let witness = bad["witness"].as_array().expect("an array");
    assert_eq!(witness.len(), 2);
    assert!(witness.iter().all(|row| row["f"] == "acquire" && row["why"].is_string()), "{witness:?}");
}

#[test]
fn a_person_is_told_what_was_broken_and_by_what() {
    let told = check("write-skew.edn", &[]).expect(1).stdout;
    for part in ["VIOLATED", "write-skew", "did not see in 1 what", "TIER", "process 0"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = check("stale-read-good.jsonl", &[]).expect(0).stdout;
    assert!(told.starts_with("ok: ") && told.contains("eventual"), "{told}");
}

#[test]
fn what_is_no_history_is_refused_with_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bad.jsonl");
    fs::write(&file, "{\"quorate_history\":1}\n{\"index\":1,\"f\":\"raed\"}\n").expect("written");
    let refused = cli::run(&["check", file.to_str().expect("text")]).expect(3).stderr;
    let expected = "bad.jsonl: line 2, column 16: expected one of read, write, delete, cas, range, txn, \
        acquire, renew, release, guarded, grant, keep-alive, revoke or attach, found \"raed\"\n";
    assert!(refused.ends_with(expected), "{refused}");
    cli::run(&["check", "no/such/file"]).expect(3);
    check("mutex.edn", &["--model", "what"]).expect(2);
    check("mutex.edn", &["--timeout", "1s"]).expect(2);
}

#[test]
fn a_report_and_exports_are_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let report = file("report.html");
    check("split-brain-lock.jsonl", &["--report", &report]).expect(1);
    assert!(fs::read_to_string(&report).expect("a report").contains("split-brain-lock"));
    let register = file("register.edn");
    check("stale-read.jsonl", &["--export", "edn", "--key", "a", "--out", &register]).expect(0);
    // What others read is a history for us too, and as bad.
    cli::run(&["check", &register]).expect(1);
    let lists = file("lists.edn");
    check("write-skew.edn", &["--export", "edn", "--out", &lists]).expect(0);
    cli::run(&["check", &lists]).expect(1);
    let rows = file("rows.jsonl");
    check("write-skew.edn", &["--export", "jsonl", "--out", &rows]).expect(0);
    cli::run(&["check", &rows]).expect(1);
    check("stale-token-write.jsonl", &["--export", "edn", "--out", &lists]).expect(0);
    check("write-skew.edn", &["--export", "edn", "--key", "1", "--out", &lists]).expect(3);
}
