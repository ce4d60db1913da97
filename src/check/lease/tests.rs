//! Leases that end too early, too late, in parts, or come back.

use super::*;
use crate::check::format::{self, Format};

/// A history of these rows: what comes before the common fields is left to `row`.
fn history(rows: &[String]) -> History {
    let file = format!("{{\"quorate_history\":1}}\n{}", rows.join("\n"));
    format::read(file.as_bytes(), Format::Jsonl).expect("rows")
}

fn row(index: u64, (call, ret): (u64, u64), rest: &str) -> String {
    format!(
        "{{\"index\":{index},\"process\":{index},\"call\":{call},\"ret\":{ret},\"outcome\":\"ok\",\
         \"term\":3,{rest}}}"
    )
}

fn grant(ttl: u64) -> String {
    row(1, (0, 10), &format!("\"f\":\"grant\",\"ttl\":{ttl},\"lease\":7"))
}

fn attach(index: u64, key: &str) -> String {
    row(
        index,
        (10, 20),
        &format!("\"f\":\"attach\",\"lease\":7,\"key\":\"{key}\",\"value\":\"v\",\"revision\":5"),
    )
}

fn keep_alive(index: u64, times: (u64, u64), ttl: u64) -> String {
    row(index, times, &format!("\"f\":\"keep-alive\",\"lease\":7,\"ttl\":{ttl}"))
}

fn read(index: u64, times: (u64, u64), found: bool) -> String {
    let found = if found { "{\"value\":\"v\"}" } else { "null" };
    row(index, times, &format!("\"f\":\"read\",\"key\":\"a\",\"found\":{found},\"revision\":9"))
}

fn deleted(at: u64, (key, revision): (&str, u64)) -> String {
    format!(
        "{{\"watch\":1,\"prefix\":\"\",\"at\":{at},\
         \"events\":[{{\"key\":\"{key}\",\"revision\":{revision}}}]}}"
    )
}

fn names(rows: &[String]) -> Vec<&'static str> {
    let mut findings = Findings::default();
    check(&history(rows), &mut findings);
    findings.violations.iter().map(|violation| violation.anomaly).collect()
}

#[test]
fn a_lease_does_not_end_before_its_time() {
    let at = |ret: u64| [grant(100), attach(2, "a"), read(3, (90, ret), false)];
    assert_eq!(names(&at(100)), [""; 0]);
    assert_eq!(names(&at(99)), ["lease-early"]);
    let told = |at: u64| [grant(100), attach(2, "a"), deleted(at, ("a", 9))];
    assert_eq!(names(&told(100)), [""; 0]);
    assert_eq!(names(&told(99)), ["lease-early"]);
    let prolonged = [grant(100), attach(2, "a"), keep_alive(3, (50, 60), 100), read(4, (90, 149), false)];
    assert_eq!(names(&prolonged), ["lease-early"]);
    let ended = [grant(100), keep_alive(3, (50, 60), 0)];
    assert_eq!(names(&ended), ["lease-early"]);
}

#[test]
fn who_revoked_or_deleted_excuses() {
    let gone = || vec![grant(100), attach(2, "a"), read(3, (80, 90), false)];
    let revoke = row(4, (30, 40), "\"f\":\"revoke\",\"lease\":7").replace("\"ok\"", "\"info\"");
    assert_eq!(names(&[gone(), vec![revoke]].concat()), [""; 0]);
    let delete = row(4, (30, 40), "\"f\":\"delete\",\"key\":\"a\"").replace("\"ok\"", "\"info\"");
    assert_eq!(names(&[gone(), vec![delete]].concat()), [""; 0]);
    // A read of before the attachment.
    let before = read(3, (80, 90), false).replace("\"revision\":9", "\"revision\":4");
    assert_eq!(names(&[grant(100), attach(2, "a"), before]), [""; 0]);
}

#[test]
fn what_has_ended_does_not_come_back() {
    let back = [grant(100), keep_alive(2, (150, 160), 0), keep_alive(3, (161, 170), 100)];
    assert_eq!(names(&back), ["lease-early", "lease-revived"]);
}

#[test]
fn a_lease_ends_soon_after_its_time_if_nothing_disturbs() {
    let over = 110 + LATE_MAX;
    let late = |call: u64| vec![grant(100), attach(2, "a"), read(3, (call, call + 5), true)];
    assert_eq!(names(&late(over)), [""; 0]);
    assert_eq!(names(&late(over + 1)), ["lease-late"]);
    let fault = "{\"fault\":{\"kind\":\"kill\",\"from\":50,\"to\":60}}".to_owned();
    assert_eq!(names(&[late(over + 1), vec![fault]].concat()), [""; 0]);
    let unknown = keep_alive(4, (30, 40), 1).replace(",\"ttl\":1", "").replace("\"ok\"", "\"info\"");
    assert_eq!(names(&[late(over + 1), vec![unknown]].concat()), [""; 0]);
    let next_term = read(3, (over + 1, over + 9), true).replace("\"term\":3", "\"term\":4");
    assert_eq!(names(&[grant(100), attach(2, "a"), next_term]), [""; 0]);
}

#[test]
fn all_keys_go_at_once() {
    let two = |second: u64| {
        let keys = [grant(100), attach(2, "a"), attach(3, "b").replace(":5", ":6")];
        [keys.to_vec(), vec![deleted(200, ("a", 9)), deleted(201, ("b", second))]].concat()
    };
    assert_eq!(names(&two(9)), [""; 0]);
    assert_eq!(names(&two(10)), ["lease-split"]);
}
