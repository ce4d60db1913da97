//! Two holders, tokens that fall, and writes that got through too late; with clocks that were right or not.

use super::*;
use crate::check::{
    format::{self, Format},
    history::{Fault, FaultKind},
};

/// A history of these rows.
fn history(rows: &str) -> History {
    let file = format!("{{\"quorate_history\":1}}\n{rows}");
    format::read(file.as_bytes(), Format::Jsonl).expect("rows")
}

fn row(index: u64, (call, ret): (u64, u64), rest: &str) -> String {
    format!(
        "{{\"index\":{index},\"process\":{index},\"call\":{call},\"ret\":{ret},\"outcome\":\"ok\",\
         \"lock\":\"l\",{rest}}}\n"
    )
}

fn acquire(index: u64, times: (u64, u64), (token, sure_until): (u64, u64)) -> String {
    row(index, times, &format!("\"f\":\"acquire\",\"token\":{token},\"sure_until\":{sure_until}"))
}

fn release(index: u64, times: (u64, u64), token: u64) -> String {
    row(index, times, &format!("\"f\":\"release\",\"token\":{token}"))
}

fn guarded(index: u64, times: (u64, u64), (token, revision, done): (u64, u64, bool)) -> String {
    let rest = format!(
        "\"f\":\"guarded\",\"token\":{token},\"key\":\"k\",\"value\":\"{index}\",\
         \"done\":{done},\"revision\":{revision}"
    );
    row(index, times, &rest)
}

fn names(history: &History) -> Vec<&'static str> {
    let mut findings = Findings::default();
    check(history, &mut findings);
    findings.violations.iter().map(|violation| violation.anomaly).collect()
}

#[test]
fn two_who_are_sure_at_once_are_told() {
    let one_after_the_other = acquire(1, (0, 10), (5, 100)) + &acquire(2, (0, 100), (6, 200));
    assert_eq!(names(&history(&one_after_the_other)), [""; 0]);
    let both = acquire(1, (0, 10), (5, 101)) + &acquire(2, (0, 100), (6, 200));
    assert_eq!(names(&history(&both)), ["split-brain-lock"]);
    let released = both.clone() + &release(3, (90, 150), 5);
    assert_eq!(names(&history(&released)), [""; 0]);
    let renewal = row(3, (50, 60), "\"f\":\"renew\",\"token\":5,\"sure_until\":170");
    let renewed = one_after_the_other + &renewal;
    assert_eq!(names(&history(&renewed)), ["split-brain-lock"]);
}

#[test]
fn a_clock_beyond_its_bound_excuses_and_is_counted() {
    let mut history = history(&(acquire(1, (0, 10), (5, 101)) + &acquire(2, (0, 100), (6, 200))));
    history.faults.push(Fault {
        kind: FaultKind::Clock,
        what: String::new(),
        nodes: vec![1],
        from: 50,
        to: Some(60),
        landed: true,
        breaks: Some("clock rates within 5 %".into()),
    });
    assert_eq!(names(&history), [""; 0]);
    let mut findings = Findings::default();
    check(&history, &mut findings);
    let tally = findings.tally("locks", "mutual-exclusion");
    assert_eq!((tally.violations, tally.excused), (1, 1));
    assert!(tally.assumption.is_some() && tally.worst.is_some());
}

#[test]
fn tokens_are_unique_and_rise() {
    let reuse = acquire(1, (0, 10), (5, 20)) + &acquire(2, (30, 40), (5, 50));
    assert_eq!(names(&history(&reuse)), ["token-reuse"]);
    let falls = acquire(1, (0, 10), (5, 20)) + &acquire(2, (30, 40), (4, 50));
    assert_eq!(names(&history(&falls)), ["token-order"]);
    let concurrent = acquire(1, (0, 40), (5, 20)) + &acquire(2, (30, 35), (4, 40));
    assert_eq!(names(&history(&concurrent)), [""; 0]);
}

#[test]
fn guarded_writes_get_through_with_the_last_token_alone() {
    let good = guarded(1, (0, 10), (5, 7, true)) + &guarded(2, (0, 10), (6, 8, true));
    assert_eq!(names(&history(&good)), [""; 0]);
    let late = guarded(1, (0, 10), (5, 8, true)) + &guarded(2, (0, 10), (6, 7, true));
    assert_eq!(names(&history(&late)), ["stale-token-write"]);
    let refused = guarded(1, (0, 10), (5, 8, false)) + &guarded(2, (0, 10), (6, 7, true));
    assert_eq!(names(&history(&refused)), [""; 0]);
    let after = acquire(1, (0, 10), (5, 99)) + &release(2, (20, 30), 5) + &guarded(3, (31, 40), (5, 9, true));
    assert_eq!(names(&history(&after)), ["guard-after-release"]);
    let lost = acquire(1, (0, 10), (5, 99)) + &guarded(3, (31, 40), (5, 9, false));
    assert_eq!(names(&history(&lost)), ["lock-lost-early"]);
    let over = acquire(1, (0, 10), (5, 39)) + &guarded(3, (31, 40), (5, 9, false));
    assert_eq!(names(&history(&over)), [""; 0]);
}
