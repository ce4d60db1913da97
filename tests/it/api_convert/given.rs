//! Everything that the wire must carry, drawn at random.

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use quorate::{
    error::{Error, LeaderHint},
    types::*,
};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..5).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß€\n]{0,20}"
}

fn millis() -> impl Strategy<Value = Duration> {
    any::<u32>().prop_map(|ms| Duration::from_millis(ms.into()))
}

fn keys() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        bytes().prop_map(KeyRange::key),
        bytes().prop_map(KeyRange::prefix),
        (bytes(), option::of(bytes())).prop_map(|(start, end)| KeyRange::interval(start, end)),
    ]
}

pub fn key_value() -> impl Strategy<Value = KeyValue> {
    (bytes(), bytes(), any::<[u64; 4]>()).prop_map(|(key, value, numbers)| {
        let [create_revision, mod_revision, version, lease] = numbers;
        KeyValue { key, value, create_revision, mod_revision, version, lease }
    })
}

pub fn put() -> impl Strategy<Value = Put> {
    (bytes(), bytes(), any::<u64>(), any::<bool>()).prop_map(|(key, value, lease, prev_kv)| Put {
        key,
        value,
        lease,
        prev_kv,
    })
}

pub fn delete() -> impl Strategy<Value = Delete> {
    (keys(), any::<bool>()).prop_map(|(keys, prev_kv)| Delete { keys, prev_kv })
}

pub fn range() -> impl Strategy<Value = Range> {
    let sort_by = prop::sample::select(vec![
        SortBy::Key,
        SortBy::Version,
        SortBy::CreateRevision,
        SortBy::ModRevision,
        SortBy::Value,
    ]);
    (keys(), any::<[u64; 6]>(), any::<[bool; 3]>(), sort_by).prop_map(|(keys, numbers, flags, sort_by)| {
        let [revision, limit, min_mod_revision, max_mod_revision, min_create_revision, max_create_revision] =
            numbers;
        let [descending, keys_only, count_only] = flags;
        Range {
            keys,
            revision,
            limit,
            sort_by,
            descending,
            keys_only,
            count_only,
            min_mod_revision,
            max_mod_revision,
            min_create_revision,
            max_create_revision,
        }
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let operator =
        prop::sample::select(vec![Operator::Equal, Operator::NotEqual, Operator::Greater, Operator::Less]);
    let target = prop_oneof![
        bytes().prop_map(CompareTarget::Value),
        any::<u64>().prop_map(CompareTarget::Version),
        any::<u64>().prop_map(CompareTarget::CreateRevision),
        any::<u64>().prop_map(CompareTarget::ModRevision),
        any::<u64>().prop_map(CompareTarget::Lease),
    ];
    (keys(), operator, target).prop_map(|(keys, operator, target)| Compare { keys, operator, target })
}

pub fn txn() -> impl Strategy<Value = Txn> {
    let op = prop_oneof![
        put().prop_map(Op::Put),
        delete().prop_map(Op::Delete),
        range().prop_map(Op::Range),
        Just(Op::Txn(Txn::default())),
    ];
    let op = op.prop_recursive(3, 16, 3, |op| txn_of(op).prop_map(Op::Txn));
    txn_of(op)
}

fn txn_of(op: impl Strategy<Value = Op> + Clone) -> impl Strategy<Value = Txn> {
    (vec(compare(), 0..3), vec(op.clone(), 0..3), vec(op, 0..3))
        .prop_map(|(compares, then_ops, else_ops)| Txn { compares, then_ops, else_ops })
}

pub fn range_result() -> impl Strategy<Value = RangeResult> {
    (vec(key_value(), 0..3), any::<u64>(), any::<bool>()).prop_map(|(kvs, count, more)| RangeResult {
        kvs,
        count,
        more,
    })
}

pub fn delete_result() -> impl Strategy<Value = DeleteResult> {
    (any::<u64>(), vec(key_value(), 0..3)).prop_map(|(deleted, prev_kvs)| DeleteResult { deleted, prev_kvs })
}

pub fn txn_result() -> impl Strategy<Value = TxnResult> {
    let result = prop_oneof![
        option::of(key_value()).prop_map(OpResult::Put),
        delete_result().prop_map(OpResult::Delete),
        range_result().prop_map(OpResult::Range),
    ];
    let result = result.prop_recursive(3, 16, 3, |result| txn_result_of(result).prop_map(OpResult::Txn));
    txn_result_of(result)
}

fn txn_result_of(result: impl Strategy<Value = OpResult>) -> impl Strategy<Value = TxnResult> {
    (any::<bool>(), vec(result, 0..3)).prop_map(|(succeeded, results)| TxnResult { succeeded, results })
}

fn level() -> impl Strategy<Value = Level> {
    let plain = vec![
        Level::Linearizable,
        Level::Log,
        Level::Lease,
        Level::LeaseOrIndex,
        Level::LeaderLocal,
        Level::Eventual,
    ];
    prop_oneof![
        prop::sample::select(plain),
        (1..u64::from(u32::MAX)).prop_map(|ms| Level::Bounded { max_age: Duration::from_millis(ms) }),
        any::<u64>().prop_map(|min_revision| Level::Session { min_revision }),
    ]
}

pub fn consistency() -> impl Strategy<Value = Consistency> {
    let route = prop_oneof![
        prop::sample::select(vec![Route::Any, Route::Leader, Route::Follower]),
        (1..=u64::MAX).prop_map(Route::Member),
    ];
    (level(), route).prop_map(|(level, route)| Consistency { level, route })
}

pub fn header() -> impl Strategy<Value = Header> {
    (any::<[u64; 5]>(), text()).prop_map(|(numbers, request_id)| {
        let [cluster_id, member_id, term, revision, applied_index] = numbers;
        Header { cluster_id, member_id, term, revision, applied_index, request_id }
    })
}

pub fn evidence() -> impl Strategy<Value = Evidence> {
    let mechanism = prop::sample::select(vec![
        Mechanism::ReadIndex,
        Mechanism::LogEntry,
        Mechanism::LeaderLease,
        Mechanism::Local,
        Mechanism::Certificate,
    ]);
    let role = prop::sample::select(vec![
        MemberRole::Leader,
        MemberRole::Follower,
        MemberRole::Candidate,
        MemberRole::Learner,
        MemberRole::Stopped,
    ]);
    let waited = any::<[u32; 3]>().prop_map(|us| {
        let [quorum, apply, queue] = us.map(|us| Duration::from_micros(us.into()));
        Waited { quorum, apply, queue }
    });
    let who = (any::<u64>(), role, option::of(1..=u64::MAX), option::of(any::<u64>()));
    let ages = (option::of(millis()), option::of(millis()));
    (level(), mechanism, who, ages, waited).prop_map(|(level, mechanism, who, ages, waited)| {
        let (served_by, role, leader_id, read_index) = who;
        let (staleness_bound, leader_contact_age) = ages;
        let level_served = if level == Level::LeaseOrIndex { Level::Linearizable } else { level };
        Evidence {
            level_asked: level,
            level_served,
            mechanism,
            served_by,
            role,
            leader_id,
            read_index,
            staleness_bound,
            leader_contact_age,
            waited,
        }
    })
}

pub fn written<T: Debug>(result: impl Strategy<Value = T>) -> impl Strategy<Value = WriteAnswer<T>> {
    let write = (any::<u64>(), any::<u64>(), any::<bool>())
        .prop_map(|(log_index, log_term, deduplicated)| WriteEvidence { log_index, log_term, deduplicated });
    (header(), result, write).prop_map(|(header, result, write)| WriteAnswer { header, result, write })
}

fn leader() -> impl Strategy<Value = Option<LeaderHint>> {
    option::of((any::<u64>(), text()).prop_map(|(id, client_addr)| LeaderHint { id, client_addr }))
}

pub fn worded_error() -> impl Strategy<Value = Error> {
    prop_oneof![
        text().prop_map(Error::Invalid),
        text().prop_map(Error::NotReady),
        text().prop_map(Error::UnknownOutcome),
        text().prop_map(Error::Stopped),
        text().prop_map(Error::Protocol),
        text().prop_map(Error::WrongCluster),
        leader().prop_map(|leader| Error::NotLeader { leader }),
        (text(), any::<u64>(), text(), leader())
            .prop_map(|(asked, member, role, leader)| Error::WrongRoute { asked, member, role, leader }),
        (text(), any::<bool>())
            .prop_map(|(waiting_for, maybe_committed)| Error::Deadline { waiting_for, maybe_committed }),
        (text(), text(), any::<bool>()).prop_map(|(endpoint, why, maybe_committed)| Error::Connection {
            endpoint,
            why,
            maybe_committed
        }),
    ]
}

pub fn numbered_error() -> impl Strategy<Value = Error> {
    let two = any::<(u64, u64)>;
    prop_oneof![
        (text(), two()).prop_map(|(what, (limit, actual))| Error::TooLarge { what, limit, actual }),
        two().prop_map(|(requested, compacted)| Error::Compacted { requested, compacted }),
        two().prop_map(|(requested, current)| Error::FutureRevision { requested, current }),
        two().prop_map(|(have, want)| Error::WaitTimeout { have, want }),
        two().prop_map(|(free, needed)| Error::NoSpace { free, needed }),
        any::<u64>().prop_map(Error::LeaseNotFound),
        any::<u64>().prop_map(Error::LeaseExists),
        any::<u64>().prop_map(Error::SessionExpired),
        two().prop_map(|(seq, acknowledged_below)| Error::SessionSeq { seq, acknowledged_below }),
        (text(), two()).prop_map(|(key, (token, current_token))| Error::LockLost {
            owner_key: key.into(),
            token,
            current_token
        }),
        (option::of(millis()), millis()).prop_map(|(have, want)| Error::TooStale { have, want }),
        (text(), any::<u64>(), millis()).prop_map(|(what, limit, retry_after)| Error::Overloaded {
            what,
            limit,
            retry_after
        }),
        prop::sample::select(vec![
            Error::NoLeader,
            Error::NoQuorum,
            Error::ShuttingDown,
            Error::LeaseExpired
        ]),
    ]
}
