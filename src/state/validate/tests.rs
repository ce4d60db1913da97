//! One line for each refusal, and for what is allowed next to it.

use super::*;

fn put(key: &'static str) -> Op {
    Op::Put(Put { key: key.into(), ..Put::default() })
}

fn delete(start: &'static str, end: &'static str) -> Op {
    Op::Delete(Delete { keys: KeyRange::interval(start, Some(end.into())), prev_kv: false })
}

fn get(key: &'static str, revision: u64) -> Op {
    Op::Range(Range { revision, ..Range::new(KeyRange::key(key)) })
}

fn txn(then_ops: Vec<Op>, else_ops: Vec<Op>) -> Txn {
    Txn { then_ops, else_ops, ..Txn::default() }
}

fn check_txn(txn: Txn) -> String {
    check(Operation::Txn(txn))
}

fn check(op: Operation) -> String {
    validate(&op, &Limits::default()).map_or_else(|error| error.to_string(), |()| "ok".to_owned())
}

fn check_put(key: impl Into<Bytes>, value_bytes: usize) -> String {
    check(Operation::Put(Put { key: key.into(), value: vec![0; value_bytes].into(), ..Put::default() }))
}

fn check_delete(keys: KeyRange) -> String {
    check(Operation::Delete(Delete { keys, prev_kv: false }))
}

#[test]
fn keys_and_values() {
    assert_eq!(check_put("k", 1 << 20), "ok");
    assert_eq!(check_put("", 0), "key is empty");
    assert_eq!(check_put(vec![1; 8192], 0), "ok");
    assert_eq!(check_put(vec![1; 8193], 0), "the key has 8193 bytes; the limit limits.key_bytes_max is 8192");
    assert_eq!(
        check_put("k", (1 << 20) + 1),
        "the value has 1048577 bytes; the limit limits.value_bytes_max is 1048576"
    );
    assert_eq!(check(Operation::Compact(0)), "revision 0 cannot be compacted: the first revision is 1");
    assert_eq!(check(Operation::Compact(1)), "ok");
    assert_eq!(check(Operation::Marker), "ok");
}

#[test]
fn ranges() {
    let empty = "range is empty: its end is not above its start";
    let too_long = "the key has 8194 bytes; the limit limits.key_bytes_max is 8192";
    assert_eq!(check_delete(KeyRange::all()), "ok");
    assert_eq!(check_delete(KeyRange::key("")), "key is empty");
    assert_eq!(check_delete(KeyRange::interval("b", Some("a".into()))), empty);
    assert_eq!(check_delete(KeyRange::interval("a", Some("a".into()))), empty);
    assert_eq!(check_delete(KeyRange::key(vec![1; 8192])), "ok");
    assert_eq!(check_delete(KeyRange::interval("a", Some(vec![b'b'; 8193].into()))), "ok");
    assert_eq!(check_delete(KeyRange::interval("a", Some(vec![b'b'; 8194].into()))), too_long);
    assert_eq!(check_delete(KeyRange::interval(vec![b'b'; 8194], None)), too_long);
    let read = Range::new(KeyRange::interval("b", Some("a".into())));
    assert_eq!(validate_range(&read, &Limits::default()).unwrap_err().to_string(), empty);
}

#[test]
fn one_key_changes_once_in_a_branch() {
    let twice = "key \"a\" is put twice in one branch of a transaction";
    let both = "key \"a\" is both put and deleted in one branch of a transaction";
    let nested = |op| Op::Txn(txn(vec![op], vec![]));
    assert_eq!(check_txn(txn(vec![put("a"), put("a")], vec![])), twice);
    assert_eq!(check_txn(txn(vec![], vec![put("a"), nested(put("a"))])), twice);
    assert_eq!(check_txn(txn(vec![nested(put("a")), nested(put("a"))], vec![])), twice);
    assert_eq!(check_txn(txn(vec![put("a"), delete("a", "c")], vec![])), both);
    assert_eq!(check_txn(txn(vec![nested(delete("a", "c")), put("a")], vec![])), both);
    assert_eq!(check_txn(txn(vec![put("a"), delete("b", "c")], vec![])), "ok");
    assert_eq!(check_txn(txn(vec![delete("a", "c"), delete("b", "d")], vec![])), "ok");
    assert_eq!(check_txn(txn(vec![put("a")], vec![put("a"), delete("b", "c")])), "ok");
    let branches = Op::Txn(txn(vec![put("a")], vec![delete("a", "b")]));
    assert_eq!(check_txn(txn(vec![branches.clone()], vec![])), "ok");
    assert_eq!(check_txn(txn(vec![branches, put("a")], vec![])), twice);
}

#[test]
fn a_long_key_is_shown_in_part() {
    let long = |byte: u8| Op::Put(Put { key: vec![byte; 500].into(), ..Put::default() });
    let text = check_txn(txn(vec![long(0xfe), long(0xfe)], vec![]));
    assert!(text.starts_with("key \"\\xfe\\xfe") && text.contains("…\" is put twice"), "{text}");
    assert!(text.len() < 400, "{text}");
}

#[test]
fn operations_are_counted_through_nesting() {
    let gets = |count| vec![get("a", 0); count];
    let too_many = "the transaction has 129 operations; the limit limits.txn_ops_max is 128";
    assert_eq!(check_txn(txn(gets(128), vec![])), "ok");
    assert_eq!(check_txn(txn(gets(100), gets(29))), too_many);
    assert_eq!(check_txn(txn(vec![Op::Txn(txn(gets(64), gets(64)))], vec![])), too_many);
    let compare = Compare {
        keys: KeyRange::key("a"),
        operator: crate::types::Operator::Equal,
        target: CompareTarget::Version(0),
    };
    let with_compare = Txn { compares: vec![compare], ..txn(gets(128), vec![]) };
    assert_eq!(check_txn(with_compare), too_many);
}

#[test]
fn depth_is_bounded() {
    let deep = |depth| (1..depth).fold(txn(vec![], vec![]), |inner, _| txn(vec![Op::Txn(inner)], vec![]));
    assert_eq!(check_txn(deep(8)), "ok");
    assert_eq!(check_txn(deep(9)), "the transaction is nested 9 deep; the limit limits.txn_depth_max is 8");
}

#[test]
fn everything_inside_is_checked() {
    let inside = "a range inside a transaction reads at the transaction's own revision: leave revision 0";
    assert_eq!(check_txn(txn(vec![get("a", 0)], vec![])), "ok");
    assert_eq!(check_txn(txn(vec![], vec![Op::Txn(txn(vec![get("a", 5)], vec![]))])), inside);
    assert_eq!(check_txn(txn(vec![], vec![put("")])), "key is empty");
    assert_eq!(check_txn(txn(vec![Op::Txn(txn(vec![], vec![put("")]))], vec![])), "key is empty");
    let compare = Compare {
        keys: KeyRange::key("a"),
        operator: crate::types::Operator::Less,
        target: CompareTarget::Value(vec![0; (1 << 20) + 1].into()),
    };
    let txn = Txn { compares: vec![compare], ..Txn::default() };
    assert_eq!(check_txn(txn), "the value has 1048577 bytes; the limit limits.value_bytes_max is 1048576");
}
