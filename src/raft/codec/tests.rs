//! Old bytes decode for ever; what is encoded decodes to the same; what is damaged is an error, never a
//! panic.

use std::{collections::BTreeSet, fs, path::PathBuf};

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    log::{Position, Record},
    pb::internal as pb,
    raft::types::{Entry, EntryPayload, LogId, Membership, Peer, Proposal, Vote},
    state::{Applied, Command, Doomed, Expire, GrantLease, Operation, Outcome, Refusal},
    types::{
        Compare, CompareTarget, Delete, DeleteResult, Granted, Guard, KeyRange, KeyValue, Op, OpResult,
        Operator, Put, Range, RangeResult, Revoked, SessionSeq, SortBy, Txn, TxnResult,
    },
};

fn command(op: Operation) -> Command {
    Command { request_id: "r1".into(), ..op.into() }
}

fn put(key: &'static str, value: &'static str) -> Put {
    Put { key: key.into(), value: value.into(), lease: 7, prev_kv: true }
}

fn nested(depth: usize) -> Txn {
    let inner = if depth > 1 { vec![Op::Txn(nested(depth - 1))] } else { vec![] };
    Txn { then_ops: inner, ..Txn::default() }
}

/// One command of each kind, with every field set.
fn samples() -> Vec<(&'static str, Command)> {
    let range = Range {
        limit: 3,
        sort_by: SortBy::ModRevision,
        descending: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 4,
        max_mod_revision: 5,
        min_create_revision: 6,
        max_create_revision: 7,
        ..Range::new(KeyRange::all())
    };
    let compare = |operator, target| Compare { keys: KeyRange::key("k"), operator, target };
    let txn = Txn {
        compares: vec![
            compare(Operator::Equal, CompareTarget::Value("v".into())),
            compare(Operator::NotEqual, CompareTarget::Version(1)),
            compare(Operator::Greater, CompareTarget::CreateRevision(2)),
            compare(Operator::Less, CompareTarget::ModRevision(3)),
            compare(Operator::Equal, CompareTarget::Lease(4)),
        ],
        then_ops: vec![Op::Put(put("a", "b")), Op::Range(range), Op::Txn(nested(2))],
        else_ops: vec![Op::Delete(Delete { keys: KeyRange::prefix("p"), prev_kv: false })],
    };
    let grant =
        GrantLease { lease: 300, ttl_ms: 5000, session: true, leases_max: 100_000, sessions_max: 20_000 };
    let doomed = [Doomed { lease: 300, granted_at: 17 }, Doomed { lease: 301, granted_at: 18 }];
    let guarded = Command {
        session: Some(SessionSeq { id: 300, seq: 9, ack_below: 8 }),
        guards: vec![Guard { owner_key: "lock/300".into(), fencing_token: 12 }],
        ..command(Operation::Put(put("key", "value")))
    };
    vec![
        ("put", command(Operation::Put(put("key", "value")))),
        ("delete", command(Operation::Delete(Delete { keys: KeyRange::all(), prev_kv: true }))),
        ("txn", command(Operation::Txn(txn))),
        ("compact", command(Operation::Compact(42))),
        ("marker", command(Operation::Marker)),
        ("grant", command(Operation::Grant(grant))),
        ("revoke", command(Operation::Revoke(300))),
        ("expire", command(Operation::Expire(Expire { leases: doomed.to_vec(), term: 4 }))),
        ("guarded", guarded),
    ]
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.trim().bytes().map(|c| (c as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A log that was written today must be readable for ever. If this fails, the format was broken: mend the
/// code, not the files. They were written once; a new command gets a new file.
#[test]
fn golden_commands_decode_for_ever() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/log");
    for (name, expected) in samples() {
        let file = dir.join(format!("{name}.hex"));
        let golden = fs::read_to_string(&file).unwrap_or_else(|_| {
            panic!("{file:?} is missing; its content: {}", to_hex(&encode_command(&expected).unwrap()[1..]))
        });
        assert_eq!(decode_command(from_hex(&golden)).unwrap(), expected, "{name}");
        assert_eq!(
            to_hex(&encode_command(&expected).unwrap()[1..]),
            golden.trim(),
            "{name}: same bytes everywhere"
        );
        let payload = [&[COMMAND], &from_hex(&golden)[..]].concat().into();
        let entry = from_record(Record { at: Position { term: 3, index: 9 }, payload }).unwrap();
        assert!(matches!(entry.payload, EntryPayload::Normal(stored) if **stored.command() == expected));
    }
}

/// Before a command lay in the log by itself, it lay inside an entry.
#[test]
fn commands_inside_an_entry_are_read_too() {
    let entry = &entries()[1];
    let payload = pb::Entry::from(entry).encode_to_vec().into();
    assert_eq!(from_record(Record { at: entry.log_id.into(), payload }).unwrap(), *entry);
}

#[test]
fn a_record_that_holds_no_entry_is_an_error() {
    let error = |payload: &'static [u8]| {
        from_record(Record { at: Position::default(), payload: payload.into() }).unwrap_err()
    };
    assert_eq!(error(&[]), CodecError::Missing("Entry.id"));
    assert_eq!(error(&[COMMAND]), CodecError::Newer("command"));
    assert!(matches!(error(&[COMMAND, 0xff]), CodecError::Malformed { what: "Command", .. }));
}

#[test]
fn unknown_command_is_from_a_newer_version() {
    // Field 99, which no version has: request_id "r1", then a message.
    let bytes = Bytes::from_static(&[0x0a, 2, b'r', b'1', 0x9a, 0x06, 0]);
    let error = decode_command(bytes).unwrap_err();
    assert_eq!(error, CodecError::Newer("command"));
    assert_eq!(error.to_string(), "unknown command: written by a newer version; upgrade this member first");
}

#[test]
fn unknown_payload_does_not_pass_for_a_blank_entry() {
    let entry = pb::Entry { id: Some(pb::LogId { term: 1, index: 2 }), payload: None };
    assert_eq!(entry_from_pb(entry).unwrap_err(), CodecError::Newer("entry"));
}

#[test]
fn unknown_operator_is_an_error() {
    let compare = pb::Compare {
        keys: Some(pb::KeyRange::default()),
        operator: 4,
        target: Some(pb::compare::Target::Version(1)),
    };
    let error = Compare::try_from(compare).unwrap_err();
    assert_eq!(error, CodecError::UnknownValue { what: "Compare.operator", value: 4 });
}

#[test]
fn nesting_is_refused_before_it_cannot_be_decoded() {
    let deepest = command(Operation::Txn(nested(TXN_DEPTH_MAX)));
    assert_eq!(decode_command(encode_command(&deepest).unwrap().slice(1..)).unwrap(), deepest);
    let deeper = command(Operation::Txn(nested(TXN_DEPTH_MAX + 1)));
    assert_eq!(encode_command(&deeper).unwrap_err(), CodecError::TooDeep { actual: TXN_DEPTH_MAX + 1 });
}

#[test]
fn bytes_of_an_attacker_nested_a_thousand_deep_are_an_error() {
    let mut bytes = Vec::new();
    for _ in 0..1000 {
        let inner = std::mem::take(&mut bytes);
        let txn = pb::Txn { then_ops: vec![], ..pb::Txn::default() }.encode_to_vec();
        assert!(txn.is_empty());
        // Op { txn { then_ops: [inner] } } by hand: prost would recurse to encode it.
        let then_ops = [vec![0x12], varint(inner.len()), inner].concat();
        bytes = [vec![0x22], varint(then_ops.len()), then_ops].concat();
    }
    let txn = [vec![0x12], varint(bytes.len()), bytes].concat();
    let command = [vec![0x62], varint(txn.len()), txn].concat();
    assert!(matches!(decode_command(command.into()), Err(CodecError::Malformed { .. })));
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn membership() -> Membership {
    let peer = |n: u64| Peer { peer_addr: format!("p{n}:1"), client_addr: format!("c{n}:1") };
    let nodes = (1..=4).map(|id| (id, peer(id))).collect::<std::collections::BTreeMap<_, _>>();
    Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])], nodes).unwrap()
}

fn entries() -> Vec<Entry> {
    let entry = |index, payload| Entry { log_id: LogId::new_term_index(3, index), payload };
    let proposal = Proposal::new(&samples()[0].1).unwrap();
    vec![
        entry(7, EntryPayload::Blank),
        entry(8, EntryPayload::Normal(proposal)),
        entry(9, EntryPayload::Membership(membership())),
        entry(10, EntryPayload::Membership(Membership::default())),
    ]
}

#[test]
fn entries_survive_the_log() {
    for entry in entries() {
        assert_eq!(from_record(to_record(&entry)).unwrap(), entry);
    }
}

#[test]
fn entry_in_the_wrong_place_is_noticed() {
    let record = to_record(&entries()[0]);
    let error = from_record(Record { at: Position { term: 3, index: 9 }, ..record }).unwrap_err();
    assert_eq!(error.to_string(), "the entry at 3.9 says that it is 3.7");
}

#[test]
fn contradictory_memberships_are_errors() {
    let good = pb::Membership::from(&membership());
    let mut twice = good.clone();
    twice.nodes.push(twice.nodes[0].clone());
    let mut stranger = good.clone();
    stranger.configs[0].ids.push(99);
    let mut empty = good.clone();
    empty.configs[1].ids.clear();
    let mut repeated = good.clone();
    repeated.configs[0].ids.push(1);
    for bad in [twice, stranger, empty, repeated] {
        assert!(matches!(membership_from_pb(bad), Err(CodecError::Membership(_))));
    }
    assert_eq!(membership_from_pb(good).unwrap(), membership());
}

#[test]
fn votes_and_log_ids_round_trip() {
    for vote in [Vote::new(3, 7), Vote::new_committed(3, 7)] {
        assert_eq!(Vote::from(pb::Vote::from(vote)), vote);
        assert_eq!(Vote::from(crate::log::Vote::from(vote)), vote);
    }
    let id = LogId::new_term_index(3, 9);
    assert_eq!(LogId::from(pb::LogId::from(id)), id);
    assert_eq!(LogId::from(Position::from(id)), id);
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn keys() -> impl Strategy<Value = KeyRange> {
    (bytes(), prop::option::of(bytes())).prop_map(|(start, end)| KeyRange { start, end })
}

fn any_put() -> impl Strategy<Value = Put> {
    (bytes(), bytes(), any::<u64>(), any::<bool>()).prop_map(|(key, value, lease, prev_kv)| Put {
        key,
        value,
        lease,
        prev_kv,
    })
}

fn any_delete() -> impl Strategy<Value = Delete> {
    (keys(), any::<bool>()).prop_map(|(keys, prev_kv)| Delete { keys, prev_kv })
}

fn any_compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        bytes().prop_map(CompareTarget::Value),
        any::<u64>().prop_map(CompareTarget::Version),
        any::<u64>().prop_map(CompareTarget::CreateRevision),
        any::<u64>().prop_map(CompareTarget::ModRevision),
        any::<u64>().prop_map(CompareTarget::Lease),
    ];
    let operator =
        prop::sample::select(vec![Operator::Equal, Operator::NotEqual, Operator::Greater, Operator::Less]);
    (keys(), operator, target).prop_map(|(keys, operator, target)| Compare { keys, operator, target })
}

fn any_range() -> impl Strategy<Value = Range> {
    let sort = vec![SortBy::Key, SortBy::Version, SortBy::CreateRevision, SortBy::ModRevision, SortBy::Value];
    (keys(), any::<[u64; 5]>(), any::<[bool; 3]>(), prop::sample::select(sort)).prop_map(
        |(keys, numbers, [descending, keys_only, count_only], sort_by)| Range {
            limit: numbers[0],
            sort_by,
            descending,
            keys_only,
            count_only,
            min_mod_revision: numbers[1],
            max_mod_revision: numbers[2],
            min_create_revision: numbers[3],
            max_create_revision: numbers[4],
            ..Range::new(keys)
        },
    )
}

fn any_txn() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        any_put().prop_map(Op::Put),
        any_delete().prop_map(Op::Delete),
        any_range().prop_map(Op::Range)
    ];
    let op = leaf.prop_recursive(3, 12, 3, |op| {
        let ops = prop::collection::vec(op, 0..3);
        (prop::collection::vec(any_compare(), 0..3), ops.clone(), ops)
            .prop_map(|(compares, then_ops, else_ops)| Op::Txn(Txn { compares, then_ops, else_ops }))
    });
    let ops = prop::collection::vec(op, 0..3);
    (prop::collection::vec(any_compare(), 0..3), ops.clone(), ops)
        .prop_map(|(compares, then_ops, else_ops)| Txn { compares, then_ops, else_ops })
}

fn any_command() -> impl Strategy<Value = Command> {
    let op = prop_oneof![
        any_put().prop_map(Operation::Put),
        any_delete().prop_map(Operation::Delete),
        any_txn().prop_map(Operation::Txn),
        any::<u64>().prop_map(Operation::Compact),
        Just(Operation::Marker),
        any::<([u64; 4], bool)>().prop_map(|([lease, ttl_ms, leases_max, sessions_max], session)| {
            Operation::Grant(GrantLease { lease, ttl_ms, session, leases_max, sessions_max })
        }),
        any::<u64>().prop_map(Operation::Revoke),
        (prop::collection::vec(any::<(u64, u64)>(), 0..4), any::<u64>()).prop_map(|(leases, term)| {
            let doomed = |(lease, granted_at)| Doomed { lease, granted_at };
            Operation::Expire(Expire { leases: leases.into_iter().map(doomed).collect(), term })
        }),
    ];
    let session = prop::option::of(any::<[u64; 3]>().prop_map(|[id, seq, ack_below]| SessionSeq {
        id,
        seq,
        ack_below,
    }));
    let guard =
        (bytes(), any::<u64>()).prop_map(|(owner_key, fencing_token)| Guard { owner_key, fencing_token });
    ("[a-z0-9]{0,8}", session, prop::collection::vec(guard, 0..3), op)
        .prop_map(|(request_id, session, guards, op)| Command { request_id, session, guards, op })
}

fn any_kv() -> impl Strategy<Value = KeyValue> {
    (bytes(), bytes(), any::<[u64; 4]>()).prop_map(|(key, value, numbers)| KeyValue {
        key,
        value,
        create_revision: numbers[0],
        mod_revision: numbers[1],
        version: numbers[2],
        lease: numbers[3],
    })
}

fn any_result() -> impl Strategy<Value = OpResult> {
    let kvs = || prop::collection::vec(any_kv(), 0..3);
    let leaf = prop_oneof![
        prop::option::of(any_kv()).prop_map(OpResult::Put),
        (any::<u64>(), kvs())
            .prop_map(|(deleted, prev_kvs)| { OpResult::Delete(DeleteResult { deleted, prev_kvs }) }),
        (kvs(), any::<u64>(), any::<bool>())
            .prop_map(|(kvs, count, more)| { OpResult::Range(RangeResult { kvs, count, more }) }),
    ];
    leaf.prop_recursive(3, 8, 3, |result| {
        (any::<bool>(), prop::collection::vec(result, 0..3))
            .prop_map(|(succeeded, results)| OpResult::Txn(TxnResult { succeeded, results }))
    })
}

fn any_applied() -> impl Strategy<Value = Applied> {
    let outcome = prop_oneof![
        any_result().prop_map(|result| match result {
            OpResult::Put(prev_kv) => Outcome::Put(prev_kv),
            OpResult::Delete(result) => Outcome::Delete(result),
            OpResult::Txn(result) => Outcome::Txn(result),
            result => Outcome::Txn(TxnResult { succeeded: true, results: vec![result] }),
        }),
        Just(Outcome::Compact),
        Just(Outcome::Marker),
        any::<[u64; 2]>().prop_map(|[requested, compacted]| {
            Outcome::Refused(Refusal::Compacted { requested, compacted })
        }),
        any::<[u64; 2]>().prop_map(|[requested, current]| {
            Outcome::Refused(Refusal::FutureRevision { requested, current })
        }),
        any::<u64>().prop_map(|lease| Outcome::Refused(Refusal::LeaseNotFound(lease))),
        any::<u64>().prop_map(|lease| Outcome::Refused(Refusal::LeaseExists(lease))),
        any::<u64>().prop_map(|session| Outcome::Refused(Refusal::SessionExpired(session))),
        any::<[u64; 2]>().prop_map(|[seq, acknowledged_below]| {
            Outcome::Refused(Refusal::SessionSeq { seq, acknowledged_below })
        }),
        (bytes(), any::<[u64; 2]>()).prop_map(|(owner_key, [token, current_token])| {
            Outcome::Refused(Refusal::LockLost { owner_key, token, current_token })
        }),
        ("[a-z]{0,8}", any::<u64>())
            .prop_map(|(what, limit)| Outcome::Refused(Refusal::TooMany { what, limit })),
        any::<[u32; 2]>().prop_map(|[id, ttl]| {
            Outcome::Grant(Granted { id: id.into(), ttl: Duration::from_millis(ttl.into()) })
        }),
        any::<u64>().prop_map(|deleted| Outcome::Revoke(Revoked { deleted })),
        any::<[u64; 2]>().prop_map(|[leases, deleted]| Outcome::Expire { leases, deleted }),
    ];
    let numbers = (any::<[u64; 3]>(), any::<bool>());
    (numbers, outcome).prop_map(|(([log_index, log_term, revision], deduplicated), outcome)| Applied {
        deduplicated,
        log_index,
        log_term,
        revision,
        outcome,
    })
}

proptest! {
    #[test]
    fn commands_round_trip(command in any_command()) {
        let proposal = Proposal::new(&command).unwrap();
        prop_assert_eq!(&**proposal.command(), &command);
        prop_assert_eq!(Proposal::decode_part(&proposal.encoded()).unwrap(), proposal);
    }

    #[test]
    fn outcomes_round_trip(applied in any_applied()) {
        prop_assert_eq!(decode_applied(encode_applied(&applied)).unwrap(), applied);
    }

    #[test]
    fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        let garbage = Bytes::from(garbage);
        let _ = decode_command(garbage.clone());
        let _ = decode_applied(garbage.clone());
        let _ = from_record(Record { at: Position::default(), payload: garbage });
    }

    #[test]
    fn damaged_commands_never_panic(
        command in any_command(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut bytes = encode_command(&command).unwrap()[1..].to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
        }
        let _ = decode_command(bytes.into());
    }
}

#[test]
fn an_append_that_contradicts_itself_is_refused() {
    let at = |term, index| pb::LogId { term, index };
    let entry = |id| pb::Entry { id: Some(id), payload: Some(pb::entry::Payload::Blank(true)) };
    let sound = pb::AppendRequest {
        vote: Some(pb::Vote { term: 3, node_id: 1, committed: true }),
        prev: Some(at(1, 7)),
        commit: None,
        entries: vec![entry(at(1, 8)), entry(at(3, 9))],
    };
    let refused = |change: fn(&mut pb::AppendRequest)| {
        let mut request = sound.clone();
        change(&mut request);
        append_request(request).expect_err("a contradiction").to_string()
    };
    append_request(sound.clone()).expect("sound before the change");
    let because = [
        (refused(|r| r.vote.iter_mut().for_each(|vote| vote.committed = false)), "elected leader"),
        (refused(|r| r.vote.iter_mut().for_each(|vote| vote.term = 2)), "later term"),
        (refused(|r| drop(r.entries.remove(0))), "not consecutive"),
        (refused(|r| r.prev = None), "not consecutive"),
        (refused(|r| r.prev = Some(pb::LogId { term: 2, index: 7 })), "go back"),
    ];
    for (said, expected) in because {
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
    }
}
