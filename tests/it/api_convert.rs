//! What the wire carries: everything comes back as it was sent, and what cannot be right is refused by name.

mod given;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use proptest::{option, prelude::*};
use prost::Message;
use quorate::{
    error::Error,
    pb::{
        convert::{self, RequestKind, answer},
        v1,
    },
    types::*,
};
use tonic::{Code, Status};

/// Encodes and decodes: what the other side reads.
fn wire<M: Message + Default>(message: M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("what was encoded")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_come_back(
        put in given::put(),
        delete in given::delete(),
        range in given::range(),
        txn in given::txn(),
    ) {
        prop_assert_eq!(Put::from(wire(v1::PutRequest::from(put.clone()))), put);
        prop_assert_eq!(Delete::try_from(wire(v1::DeleteRequest::from(delete.clone()))), Ok(delete));
        prop_assert_eq!(Range::try_from(wire(v1::RangeQuery::from(range.clone()))), Ok(range));
        prop_assert_eq!(convert::txn(wire(v1::Txn::from(txn.clone())), 8), Ok(txn));
    }

    #[test]
    fn a_consistency_comes_back(asked in given::consistency()) {
        prop_assert_eq!(convert::consistency(Some(wire(asked.into()))), Ok(asked));
    }

    #[test]
    fn a_read_comes_back_with_its_evidence(
        header in given::header(),
        result in given::range_result(),
        evidence in given::evidence(),
    ) {
        let asked = evidence.level_asked;
        let answer = RangeAnswer { header, result, evidence };
        prop_assert_eq!(answer::range(wire(v1::RangeResponse::from(answer.clone())), asked), Ok(answer));
    }

    #[test]
    fn writes_come_back(
        put in given::written(option::of(given::key_value())),
        delete in given::written(given::delete_result()),
        txn in given::written(given::txn_result()),
        compact in given::written(Just(())),
    ) {
        prop_assert_eq!(answer::put(wire(v1::PutResponse::from(put.clone()))), Ok(put));
        prop_assert_eq!(answer::delete(wire(v1::DeleteResponse::from(delete.clone()))), Ok(delete));
        prop_assert_eq!(answer::txn(wire(v1::TxnResponse::from(txn.clone()))), Ok(txn));
        prop_assert_eq!(answer::compact(wire(v1::CompactResponse::from(compact.clone()))), Ok(compact));
    }

    #[test]
    fn an_error_comes_back(
        error in prop_oneof![given::worded_error(), given::numbered_error()],
        write in any::<bool>(),
    ) {
        let headers = convert::to_status(&error, "request-1").into_http::<()>();
        let status = Status::from_header_map(headers.headers()).expect("a status");
        let kind = if write { RequestKind::Write } else { RequestKind::Read };
        prop_assert_eq!(status.code(), convert::code(&error));
        prop_assert_eq!(convert::error::request_id(&status), Some("request-1".to_owned()));
        prop_assert_eq!(convert::from_status(&status, "elsewhere", kind), error);
    }
}

/// One of each variant, with the code that docs/api.md and the design give it.
fn error_table() -> Vec<(Error, Code)> {
    let text = || "words".to_owned();
    let (one, ms) = (1, Duration::from_millis(1));
    vec![
        (Error::Invalid(text()), Code::InvalidArgument),
        (Error::TooLarge { what: text(), limit: 1, actual: 2 }, Code::ResourceExhausted),
        (Error::Compacted { requested: one, compacted: 2 }, Code::OutOfRange),
        (Error::FutureRevision { requested: 2, current: one }, Code::OutOfRange),
        (Error::LeaseNotFound(one), Code::NotFound),
        (Error::LeaseExists(one), Code::FailedPrecondition),
        (Error::SessionExpired(one), Code::FailedPrecondition),
        (Error::SessionSeq { seq: one, acknowledged_below: 2 }, Code::FailedPrecondition),
        (Error::LockLost { owner_key: "k".into(), token: one, current_token: 2 }, Code::FailedPrecondition),
        (Error::NotLeader { leader: None }, Code::FailedPrecondition),
        (
            Error::WrongRoute { asked: text(), member: one, role: text(), leader: None },
            Code::FailedPrecondition,
        ),
        (Error::NoLeader, Code::Unavailable),
        (Error::NoQuorum, Code::Unavailable),
        (Error::NotReady(text()), Code::Unavailable),
        (Error::ShuttingDown, Code::Unavailable),
        (Error::LeaseExpired, Code::Aborted),
        (Error::TooStale { have: None, want: ms }, Code::Aborted),
        (Error::WaitTimeout { have: one, want: 2 }, Code::DeadlineExceeded),
        (Error::Deadline { waiting_for: text(), maybe_committed: true }, Code::DeadlineExceeded),
        (Error::UnknownOutcome(text()), Code::Unknown),
        (Error::Overloaded { what: text(), limit: 1, retry_after: ms }, Code::ResourceExhausted),
        (Error::NoSpace { free: one, needed: 2 }, Code::ResourceExhausted),
        (Error::Stopped(text()), Code::Unavailable),
        (Error::Connection { endpoint: text(), why: text(), maybe_committed: true }, Code::Unavailable),
        (Error::Protocol(text()), Code::Internal),
        (Error::WrongCluster(text()), Code::FailedPrecondition),
    ]
}

#[test]
fn every_error_has_its_code_and_a_row_in_the_documentation() {
    let documentation = include_str!("../../docs/api.md");
    let table = error_table();
    for (error, code) in &table {
        assert_eq!(convert::code(error), *code, "{error:?}");
        let row = format!("| `{}` | `{}` |", error.reason().to_uppercase(), grpc_name(*code));
        assert!(documentation.contains(&row), "docs/api.md lacks the row {row}");
    }
    let mut reasons: Vec<_> = table.iter().map(|(error, _)| error.reason().to_uppercase()).collect();
    let mut known: Vec<_> = (1..).map_while(|number| v1::Reason::try_from(number).ok()).collect();
    known.sort_by_key(|reason| reason.as_str_name());
    reasons.sort();
    assert_eq!(reasons, known.iter().map(|reason| reason.as_str_name()).collect::<Vec<_>>());
}

#[test]
fn every_limit_of_the_configuration_has_a_row_in_the_documentation() {
    let limits = serde_json::to_value(Limits::default()).expect("plain data");
    let limits: BTreeSet<_> = limits.as_object().expect("fields").keys().map(String::as_str).collect();
    let rows = include_str!("../../docs/api.md").lines();
    let rows: BTreeSet<_> =
        rows.filter_map(|line| line.strip_prefix("| `limits.")?.split('`').next()).collect();
    assert_eq!(rows, limits);
}

fn grpc_name(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::NotFound => "NOT_FOUND",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Unavailable => "UNAVAILABLE",
        Code::Aborted => "ABORTED",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::Unknown => "UNKNOWN",
        Code::Internal => "INTERNAL",
        other => panic!("{other:?} is not in the table"),
    }
}

#[test]
fn the_details_tell_what_the_error_says_of_itself() {
    for (error, _) in error_table() {
        let status = convert::to_status(&error, "");
        assert_eq!(status.message(), error.to_string());
        let back = convert::from_status(&status, "elsewhere", RequestKind::Read);
        assert_eq!(back.maybe_committed(), error.maybe_committed(), "{error:?}");
        assert_eq!(back.retryable(), error.retryable(), "{error:?}");
    }
}

#[test]
fn a_status_without_details_leaves_no_doubt_about_a_write() {
    let of = |code, kind| convert::from_status(&Status::new(code, "words"), "node", kind);
    for code in [Code::Unavailable, Code::Unknown, Code::Internal, Code::Aborted, Code::ResourceExhausted] {
        assert!(matches!(of(code, RequestKind::Read), Error::Connection { maybe_committed: false, .. }));
        assert!(matches!(of(code, RequestKind::Write), Error::Connection { maybe_committed: true, .. }));
    }
    for code in [Code::DeadlineExceeded, Code::Cancelled] {
        assert!(matches!(of(code, RequestKind::Write), Error::Deadline { maybe_committed: true, .. }));
    }
    for code in [Code::Unimplemented, Code::PermissionDenied, Code::Unauthenticated, Code::NotFound] {
        assert!(matches!(of(code, RequestKind::Write), Error::Protocol(_)), "{code:?}");
    }
    assert!(matches!(of(Code::OutOfRange, RequestKind::Write), Error::UnknownOutcome(_)));
    assert!(matches!(of(Code::OutOfRange, RequestKind::Read), Error::Protocol(_)));
}

#[test]
fn garbage_in_the_details_falls_back_to_the_code() {
    let garbage = Status::with_details(Code::Unavailable, "words", Bytes::from_static(b"\xff\x00garbage"));
    let error = convert::from_status(&garbage, "node", RequestKind::Write);
    assert!(matches!(error, Error::Connection { maybe_committed: true, .. }), "{error:?}");
}

#[test]
fn a_long_text_is_cut_between_two_characters() {
    let long = "€".repeat(10_000);
    let status = convert::to_status(&Error::Invalid(long), "");
    let Error::Invalid(text) = convert::from_status(&status, "", RequestKind::Read) else {
        panic!("{status:?}")
    };
    assert_eq!(text, "€".repeat(convert::error::TEXT_BYTES_MAX / 3));
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, field: &str) {
    match result {
        Err(Error::Invalid(why)) => assert!(why.contains(field), "{why:?} does not name {field}"),
        other => panic!("{field}: {other:?}"),
    }
}

#[test]
fn what_is_missing_or_unknown_is_refused_by_name() {
    let keys = || Some(v1::Keys::from(KeyRange::key("k")));
    refused(Range::try_from(v1::RangeQuery::default()), "keys is missing");
    refused(KeyRange::try_from(v1::Keys { of: None }), "a key, a prefix or an interval");
    refused(Range::try_from(v1::RangeQuery { keys: keys(), sort_by: 9, ..Default::default() }), "sort_by");
    refused(convert::consistency(Some(v1::Consistency { level: 99, ..Default::default() })), "level");
    let bounded = v1::Consistency { level: v1::Level::Bounded.into(), ..Default::default() };
    refused(convert::consistency(Some(bounded)), "max_age_ms");
    refused(Route::try_from(v1::Route { to: None }), "route.to");
    refused(Route::try_from(v1::Route { to: Some(v1::route::To::Role(7)) }), "route.role");
    refused(Route::try_from(v1::Route { to: Some(v1::route::To::MemberId(0)) }), "member_id");

    let compare = v1::Compare { keys: keys(), operator: 17, target: None };
    refused(Compare::try_from(compare.clone()), "operator");
    refused(Compare::try_from(v1::Compare { operator: 0, ..compare }), "target");
    let nothing = v1::Txn { then_ops: vec![v1::Op { op: None }], ..Default::default() };
    refused(convert::txn(nothing, 8), "op (");
}

#[test]
fn a_request_without_a_consistency_is_linearizable() {
    assert_eq!(convert::consistency(None), Ok(Consistency::default()));
    assert_eq!(convert::consistency(Some(v1::Consistency::default())), Ok(Consistency::default()));
}

#[test]
fn a_transaction_that_nests_too_deep_is_refused_with_the_limit() {
    let nest = |txn: Txn| Txn { then_ops: vec![Op::Txn(txn)], ..Txn::default() };
    let deep = (1..4).fold(Txn::default(), |txn, _| nest(txn));
    assert_eq!(convert::txn(deep.clone().into(), 4), Ok(deep.clone()));
    let what = "limits.txn_depth_max".to_owned();
    assert_eq!(convert::txn(deep.into(), 3), Err(Error::TooLarge { what, limit: 3, actual: 4 }));
}

#[test]
fn an_answer_to_another_level_is_not_taken() {
    let evidence = |asked: v1::Level, served: v1::Level| v1::Evidence {
        level_asked: asked.into(),
        level_served: served.into(),
        mechanism: v1::Mechanism::Local.into(),
        served_by_role: v1::MemberRole::RoleLeader.into(),
        ..Default::default()
    };
    let of = |asked, served| convert::evidence(Some(evidence(asked, served)), Level::Linearizable);
    assert!(of(v1::Level::Linearizable, v1::Level::Linearizable).is_ok());
    refused(of(v1::Level::Eventual, v1::Level::Eventual), "level_asked");
    refused(of(v1::Level::Linearizable, v1::Level::Session), "level_served");
    refused(of(v1::Level::Linearizable, v1::Level::Unspecified), "level_served");
}

#[test]
fn a_write_whose_answer_cannot_be_read_has_an_unknown_outcome() {
    let error = answer::put(v1::PutResponse::default()).expect_err("no header");
    assert!(matches!(error, Error::UnknownOutcome(_)), "{error:?}");
    let error = answer::range(v1::RangeResponse::default(), Level::Eventual).expect_err("no header");
    assert!(matches!(&error, Error::Protocol(why) if why.contains("header")), "{error:?}");
}

#[test]
fn what_was_proved_is_rounded_up_and_what_was_asked_is_rounded_down() {
    let odd = Duration::from_micros(1500);
    let asked = v1::Consistency::from(Consistency::from(Level::Bounded { max_age: odd }));
    assert_eq!(asked.max_age_ms, 1);
    let stale = convert::to_status(&Error::TooStale { have: Some(odd), want: odd }, "");
    let ms = Duration::from_millis;
    let told = Error::TooStale { have: Some(ms(2)), want: ms(1) };
    assert_eq!(convert::from_status(&stale, "", RequestKind::Read), told);
}
