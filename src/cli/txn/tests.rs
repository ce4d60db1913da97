//! Golden: what is typed, and the transaction that it is, or the error.

use super::{json, text};
use crate::types::{Compare, CompareTarget, Delete, KeyRange, Op, Operator, Put, Range, Txn};

fn put(key: &'static str, value: &'static [u8]) -> Op {
    Op::Put(Put { key: key.into(), value: value.into(), ..Put::default() })
}

fn compare(keys: KeyRange, operator: Operator, target: CompareTarget) -> Compare {
    Compare { keys, operator, target }
}

#[test]
fn a_transaction_in_the_language() {
    let typed = r#"
        # Take the lock, or see who has it.
        if not exists(lock); if value("a b") != "v\n\x00é"
        if version(prefix users/) > 3
        if create(range a m) < 9
        if mod(k)=4; if lease(k) = 5; if exists(prefix)

        then put lock me lease 7 prev
        then get prefix users/ keys-only limit 10
        then get k count-only
        then del range a m prev
        else del lock   # late
    "#;
    let key = |key: &'static str| KeyRange::key(key);
    let interval = || KeyRange::interval("a", Some("m".into()));
    let expected = Txn {
        compares: vec![
            compare(key("lock"), Operator::Equal, CompareTarget::Version(0)),
            compare(key("a b"), Operator::NotEqual, CompareTarget::Value("v\n\0é".into())),
            compare(KeyRange::prefix("users/"), Operator::Greater, CompareTarget::Version(3)),
            compare(interval(), Operator::Less, CompareTarget::CreateRevision(9)),
            compare(key("k"), Operator::Equal, CompareTarget::ModRevision(4)),
            compare(key("k"), Operator::Equal, CompareTarget::Lease(5)),
            compare(key("prefix"), Operator::Greater, CompareTarget::Version(0)),
        ],
        then_ops: vec![
            Op::Put(Put { key: "lock".into(), value: "me".into(), lease: 7, prev_kv: true }),
            Op::Range(Range { keys_only: true, limit: 10, ..Range::new(KeyRange::prefix("users/")) }),
            Op::Range(Range { count_only: true, ..Range::new(key("k")) }),
            Op::Delete(Delete { keys: interval(), prev_kv: true }),
        ],
        else_ops: vec![Op::Delete(Delete { keys: key("lock"), prev_kv: false })],
    };
    assert_eq!(text::parse(typed), Ok(expected));
}

#[test]
fn bytes_that_are_not_text_can_be_written() {
    let txn = text::parse(r#"then put k "\xff\x00\\\"""#).expect("parses");
    assert_eq!(txn.then_ops, [put("k", b"\xff\0\\\"")]);
}

#[test]
fn nothing_is_a_transaction_that_does_nothing() {
    for empty in ["", " \n ;; \n # only a comment"] {
        assert_eq!(text::parse(empty), Ok(Txn::default()));
    }
}

#[test]
fn mistakes_in_the_language_have_a_place() {
    let wrong = [
        ("when exists(k)", "line 1, column 1: expected if, then or else, found \"when\""),
        (
            "if k = v",
            "line 1, column 4: expected a condition: value, version, create, mod, lease, exists or \
             not exists, found \"k\"",
        ),
        ("if value(k) ~ v", "line 1, column 13: expected =, !=, < or >, found \"~\""),
        ("if value(k) >= v", "line 1, column 13: there is no >=, only =, !=, < and >"),
        ("if value(k) ! v", "line 1, column 13: expected != here"),
        ("if version(k) = x", "line 1, column 17: expected a number, found \"x\""),
        ("if value k", "line 1, column 10: expected (, found \"k\""),
        ("if value(a b) = 1", "line 1, column 12: expected ), found \"b\""),
        ("if value() = 1", "line 1, column 10: expected a key, found )"),
        ("if not value(k) = 1", "line 1, column 8: expected exists(…) behind not, found \"value\""),
        ("then put k v\n  then put k", "line 2, column 13: expected a value, found the end of the statement"),
        ("then set k v", "line 1, column 6: expected put, get or del, found \"set\""),
        ("then put k v w", "line 1, column 14: expected the end of the statement, found \"w\""),
        ("then \"put\" k v", "line 1, column 6: expected put, get or del, found the text \"put\""),
        ("then put k \"v", "line 1, column 12: this quote is not closed"),
        ("then put k \"\\q\"", "line 1, column 13: unknown escape: use \\n, \\t, \\r, \\\\, \\\" or \\xNN"),
        ("then put k \"\\xg0\"", "line 1, column 13: unknown escape: use \\n, \\t, \\r, \\\\, \\\" or \\xNN"),
        ("then", "line 1, column 5: expected put, get or del, found the end of the statement"),
        (
            "if",
            "line 1, column 3: expected a condition: value, version, create, mod, lease, exists or \
             not exists, found the end of the statement",
        ),
    ];
    for (typed, expected) in wrong {
        let error = text::parse(typed).expect_err(typed).to_string();
        assert_eq!(error, format!("transaction, {expected}"), "{typed}");
    }
}

#[test]
fn a_transaction_in_json() {
    let typed = r#"{
        "if": [{"key": "k", "version": {"=": 0}}, {"prefix": "p", "value": {"!=": {"base64": "/wA="}}},
               {"start": "a", "mod_revision": {">": 5}}, {"start": "a", "end": "b", "lease": {"<": 6}}],
        "then": [{"put": {"key": "k", "value": "v"}},
                 {"txn": {"then": [{"get": {"prefix": "", "limit": 3, "keys_only": true}}]}}],
        "else": [{"del": {"key": {"base64": "/w=="}, "prev_kv": true}}]
    }"#;
    let nested = Range { limit: 3, keys_only: true, ..Range::new(KeyRange::all()) };
    let expected = Txn {
        compares: vec![
            compare(KeyRange::key("k"), Operator::Equal, CompareTarget::Version(0)),
            compare(KeyRange::prefix("p"), Operator::NotEqual, CompareTarget::Value(b"\xff\0"[..].into())),
            compare(KeyRange::interval("a", None), Operator::Greater, CompareTarget::ModRevision(5)),
            compare(KeyRange::interval("a", Some("b".into())), Operator::Less, CompareTarget::Lease(6)),
        ],
        then_ops: vec![put("k", b"v"), Op::Txn(Txn { then_ops: vec![Op::Range(nested)], ..Txn::default() })],
        else_ops: vec![Op::Delete(Delete { keys: KeyRange::key(&b"\xff"[..]), prev_kv: true })],
    };
    assert_eq!(json::parse(typed), Ok(expected));
}

#[test]
fn mistakes_in_json_have_a_place() {
    let wrong = [
        (r#"{"then": [{"set": {}}]}"#, "unknown variant `set`"),
        (r#"{"than": []}"#, "unknown field `than`"),
        (r#"{"then": [{"put": {"key": "k"}}]}"#, "missing field `value`"),
        (r#"{"then": [{"put": {"key": "k", "value": 5}}]}"#, "expected a string or {\"base64\""),
        (r#"{"then": [{"del": {}}]}"#, "expected one of key, prefix, or start (with end)"),
        (
            r#"{"then": [{"get": {"key": "a", "prefix": "b"}}]}"#,
            "expected one of key, prefix, or start (with end)",
        ),
        (r#"{"if": [{"key": "k"}]}"#, "expected one of value, version"),
        (r#"{"if": [{"key": "k", "version": {"~": 1}}]}"#, "unknown variant `~`"),
        (r#"{"then": [{"put": {"key": {"base64": "?"}, "value": ""}}]}"#, "is not base64"),
        (r#"{"then": [{"put": {"key": "a:b", "value": "", "lease": "x"}}]}"#, "lease: invalid type"),
        (
            r#"{"then": [{"put": 5}]}"#,
            "put: invalid type: integer `5`, expected an object with key and value",
        ),
        (r#"{"then": [{"get": {"key": "k", "limit": -1}}]}"#, "limit: invalid value: integer `-1`"),
        (r#"{"if": [{"key": "k", "version": 1}]}"#, "version: no value that fits here"),
        ("{", "EOF"),
        ("", "EOF"),
    ];
    for (typed, why) in wrong {
        let error = json::parse(typed).expect_err(typed).to_string();
        assert!(error.starts_with("transaction, line 1, column ") && error.contains(why), "{typed}: {error}");
    }
    let deep = r#"{"then":[{"txn":"#.repeat(1000);
    assert!(json::parse(&deep).is_err_and(|error| error.why.contains("recursion")));
}
