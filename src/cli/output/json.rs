//! The JSON objects. Their fields are a contract: scripts rely on names, types and meaning. 64-bit integers
//! are numbers; a key or value that is not UTF-8 is `key_base64` / `value_base64`; unknown is `null`.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::{
    error::Error,
    pb::v1,
    types::{
        DeleteResult, Evidence, Header, KeyValue, MemberRole, NodeId, OpResult, RangeAnswer, RangeResult,
        TxnResult, WriteAnswer, WriteEvidence,
    },
};

/// `{"error": …}`
#[derive(Serialize)]
pub(in crate::cli) struct ErrorObject {
    error: ErrorFields,
}

#[derive(Serialize)]
struct ErrorFields {
    reason: &'static str,
    message: String,
    maybe_committed: bool,
    retryable: bool,
}

impl ErrorObject {
    /// Repeating the request is pointless.
    pub fn definite(mut self) -> ErrorObject {
        self.error.retryable = false;
        self
    }

    pub fn new(error: &Error) -> ErrorObject {
        ErrorObject {
            error: ErrorFields {
                reason: error.reason(),
                message: error.to_string(),
                maybe_committed: error.maybe_committed(),
                retryable: error.retryable(),
            },
        }
    }
}

/// An endpoint that did not answer.
#[derive(Serialize)]
pub(in crate::cli) struct Unreachable<'a> {
    endpoint: &'a str,
    #[serde(flatten)]
    error: ErrorObject,
}

impl<'a> Unreachable<'a> {
    pub fn new(endpoint: &'a str, error: &Error) -> Unreachable<'a> {
        Unreachable { endpoint, error: ErrorObject::new(error) }
    }
}

/// The header; `index` is the log index of a write.
#[derive(Serialize)]
pub(in crate::cli) struct HeaderObject {
    cluster_id: u64,
    member_id: u64,
    term: u64,
    revision: u64,
    applied_index: u64,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
}

impl From<Header> for HeaderObject {
    fn from(header: Header) -> HeaderObject {
        let Header { cluster_id, member_id, term, revision, applied_index, request_id } = header;
        HeaderObject { cluster_id, member_id, term, revision, applied_index, request_id, index: None }
    }
}

/// The header of a write's answer.
pub(in crate::cli) fn write_header(header: Header, write: WriteEvidence) -> HeaderObject {
    HeaderObject { index: Some(write.log_index), ..header.into() }
}

/// A pair.
#[derive(Serialize)]
pub(in crate::cli) struct PairObject {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    create_revision: u64,
    mod_revision: u64,
    version: u64,
    lease: u64,
}

impl From<KeyValue> for PairObject {
    fn from(kv: KeyValue) -> PairObject {
        let (key, key_base64) = text_or_base64(&kv.key);
        let (value, value_base64) = text_or_base64(&kv.value);
        PairObject {
            key,
            key_base64,
            value,
            value_base64,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

impl PairObject {
    /// Without its value, which was not asked for.
    pub fn key_only(kv: KeyValue) -> PairObject {
        PairObject { value: None, value_base64: None, ..kv.into() }
    }
}

/// Bytes as text, or else as base64.
pub(in crate::cli) fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

fn pair_objects(kvs: Vec<KeyValue>) -> Vec<PairObject> {
    kvs.into_iter().map(PairObject::from).collect()
}

/// What proves a read.
#[derive(Serialize)]
pub(in crate::cli) struct EvidenceObject {
    level_asked: &'static str,
    level_served: &'static str,
    mechanism: &'static str,
    served_by: ServedByObject,
    leader_id: Option<NodeId>,
    read_index: Option<u64>,
    staleness_bound_ms: Option<u64>,
    leader_contact_age_ms: Option<u64>,
    waited_us: WaitedObject,
}

#[derive(Serialize)]
struct ServedByObject {
    id: NodeId,
    role: &'static str,
}

#[derive(Serialize)]
struct WaitedObject {
    quorum: u64,
    apply: u64,
    queue: u64,
}

impl From<Evidence> for EvidenceObject {
    fn from(evidence: Evidence) -> EvidenceObject {
        let waited = evidence.waited;
        EvidenceObject {
            level_asked: evidence.level_asked.name(),
            level_served: evidence.level_served.name(),
            mechanism: evidence.mechanism.name(),
            served_by: ServedByObject { id: evidence.served_by, role: evidence.role.name() },
            leader_id: evidence.leader_id,
            read_index: evidence.read_index,
            staleness_bound_ms: evidence.staleness_bound.map(millis),
            leader_contact_age_ms: evidence.leader_contact_age.map(millis),
            waited_us: WaitedObject {
                quorum: micros(waited.quorum),
                apply: micros(waited.apply),
                queue: micros(waited.queue),
            },
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Of `get`.
#[derive(Serialize)]
pub(in crate::cli) struct RangeObject {
    header: HeaderObject,
    kvs: Vec<PairObject>,
    count: u64,
    more: bool,
    evidence: EvidenceObject,
}

impl RangeObject {
    pub fn new(answer: RangeAnswer, keys_only: bool) -> RangeObject {
        let RangeAnswer { header, result: RangeResult { kvs, count, more }, evidence } = answer;
        let pair = if keys_only { PairObject::key_only } else { PairObject::from };
        let kvs = kvs.into_iter().map(pair).collect();
        RangeObject { header: header.into(), kvs, count, more, evidence: evidence.into() }
    }
}

/// The last line of `scan`; before it, one [`PairObject`] per line.
#[derive(Serialize)]
pub(in crate::cli) struct ScanEndObject {
    header: HeaderObject,
    count: u64,
    more: bool,
    evidence: EvidenceObject,
}

impl ScanEndObject {
    /// After `count` pairs; whether there are `more`, which were not asked for.
    pub fn new(header: Header, (count, more): (u64, bool), evidence: Evidence) -> ScanEndObject {
        ScanEndObject { header: header.into(), count, more, evidence: evidence.into() }
    }
}

/// Of `put`.
#[derive(Serialize)]
pub(in crate::cli) struct PutObject {
    header: HeaderObject,
    prev_kv: Option<PairObject>,
}

impl From<WriteAnswer<Option<KeyValue>>> for PutObject {
    fn from(answer: WriteAnswer<Option<KeyValue>>) -> PutObject {
        let header = write_header(answer.header, answer.write);
        PutObject { header, prev_kv: answer.result.map(PairObject::from) }
    }
}

/// Of `del`.
#[derive(Serialize)]
pub(in crate::cli) struct DeleteObject {
    header: HeaderObject,
    #[serde(flatten)]
    result: DeleteResultObject,
}

#[derive(Serialize)]
struct DeleteResultObject {
    deleted: u64,
    prev_kvs: Vec<PairObject>,
}

impl From<DeleteResult> for DeleteResultObject {
    fn from(result: DeleteResult) -> DeleteResultObject {
        DeleteResultObject { deleted: result.deleted, prev_kvs: pair_objects(result.prev_kvs) }
    }
}

impl From<WriteAnswer<DeleteResult>> for DeleteObject {
    fn from(answer: WriteAnswer<DeleteResult>) -> DeleteObject {
        DeleteObject { header: write_header(answer.header, answer.write), result: answer.result.into() }
    }
}

/// Of `txn`.
#[derive(Serialize)]
pub(in crate::cli) struct TxnObject {
    header: HeaderObject,
    #[serde(flatten)]
    result: TxnResultObject,
}

#[derive(Serialize)]
struct TxnResultObject {
    succeeded: bool,
    results: Vec<OpResultObject>,
}

/// `{"put": …}`, `{"del": …}`, `{"get": …}` or `{"txn": …}`, as in the JSON form of a transaction.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum OpResultObject {
    Put { prev_kv: Option<PairObject> },
    Del(DeleteResultObject),
    Get { kvs: Vec<PairObject>, count: u64, more: bool },
    Txn(TxnResultObject),
}

impl From<TxnResult> for TxnResultObject {
    fn from(result: TxnResult) -> TxnResultObject {
        let results = result.results.into_iter().map(OpResultObject::from).collect();
        TxnResultObject { succeeded: result.succeeded, results }
    }
}

impl From<OpResult> for OpResultObject {
    fn from(result: OpResult) -> OpResultObject {
        match result {
            OpResult::Put(prev_kv) => OpResultObject::Put { prev_kv: prev_kv.map(PairObject::from) },
            OpResult::Delete(result) => OpResultObject::Del(result.into()),
            OpResult::Range(RangeResult { kvs, count, more }) => {
                OpResultObject::Get { kvs: pair_objects(kvs), count, more }
            }
            OpResult::Txn(result) => OpResultObject::Txn(result.into()),
        }
    }
}

impl From<WriteAnswer<TxnResult>> for TxnObject {
    fn from(answer: WriteAnswer<TxnResult>) -> TxnObject {
        TxnObject { header: write_header(answer.header, answer.write), result: answer.result.into() }
    }
}

/// Of `compact`.
#[derive(Serialize)]
pub(in crate::cli) struct CompactObject {
    header: HeaderObject,
}

impl From<WriteAnswer<()>> for CompactObject {
    fn from(answer: WriteAnswer<()>) -> CompactObject {
        CompactObject { header: write_header(answer.header, answer.write) }
    }
}

/// One member, of `status`.
#[derive(Serialize)]
pub(in crate::cli) struct StatusObject<'a> {
    endpoint: &'a str,
    id: NodeId,
    role: &'static str,
    term: u64,
    leader_id: Option<NodeId>,
    revision: u64,
    applied_index: u64,
    commit_index: u64,
    first_log_index: u64,
    last_log_index: u64,
    snapshot_index: u64,
    compact_revision: u64,
    keys: u64,
    log_bytes: u64,
    state_bytes: u64,
    free_disk_bytes: u64,
    version: &'a str,
    ready: bool,
    uptime_ms: u64,
    leader_contact_age_ms: Option<u64>,
    log_store: &'a str,
    lag: Vec<LagObject>,
    limits: BTreeMap<&'a str, u64>,
    stages: BTreeMap<&'a str, StageObject>,
}

/// Where operations' time went; in microseconds.
#[derive(Serialize)]
struct StageObject {
    count: u64,
    mean_us: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl StageObject {
    fn new(stage: &v1::status_response::Stage) -> (&str, StageObject) {
        let v1::status_response::Stage { name, count, mean_us, p50_us, p99_us, max_us } = stage;
        let (count, mean_us, p50_us) = (*count, *mean_us, *p50_us);
        (name, StageObject { count, mean_us, p50_us, p99_us: *p99_us, max_us: *max_us })
    }
}

#[derive(Serialize)]
struct LagObject {
    id: NodeId,
    matched_index: Option<u64>,
    entries: u64,
}

/// The name of a role from the wire.
pub(in crate::cli) fn role(role: v1::MemberRole) -> &'static str {
    MemberRole::try_from(role).map_or("unknown", MemberRole::name)
}

impl<'a> StatusObject<'a> {
    pub fn new(endpoint: &'a str, status: &'a v1::StatusResponse) -> StatusObject<'a> {
        let header = status.header.clone().unwrap_or_default();
        let lag = |lag: &v1::status_response::Lag| LagObject {
            id: lag.id,
            matched_index: lag.matched_index,
            entries: lag.entries,
        };
        StatusObject {
            endpoint,
            id: status.id,
            role: role(status.role()),
            term: header.term,
            leader_id: (status.leader_id != 0).then_some(status.leader_id),
            revision: header.revision,
            applied_index: header.applied_index,
            commit_index: status.commit_index,
            first_log_index: status.first_log_index,
            last_log_index: status.last_log_index,
            snapshot_index: status.snapshot_index,
            compact_revision: status.compact_revision,
            keys: status.keys,
            log_bytes: status.log_bytes,
            state_bytes: status.state_bytes,
            free_disk_bytes: status.free_disk_bytes,
            version: &status.version,
            ready: status.ready,
            uptime_ms: status.uptime_ms,
            leader_contact_age_ms: status.leader_contact_age_ms,
            log_store: &status.log_store,
            lag: status.lag.iter().map(lag).collect(),
            limits: status.limits.iter().map(|(name, limit)| (name.as_str(), *limit)).collect(),
            stages: status.stages.iter().map(StageObject::new).collect(),
        }
    }
}

/// Of `members`.
#[derive(Serialize)]
pub(in crate::cli) struct MembersObject {
    header: HeaderObject,
    members: Vec<MemberObject>,
}

#[derive(Serialize)]
struct MemberObject {
    id: NodeId,
    peer_addr: String,
    client_addr: String,
    voter: bool,
    is_leader: bool,
}

impl From<v1::MembersResponse> for MembersObject {
    fn from(answer: v1::MembersResponse) -> MembersObject {
        let member = |member: v1::Member| {
            let v1::Member { id, peer_addr, client_addr, voter, is_leader } = member;
            MemberObject { id, peer_addr, client_addr, voter, is_leader }
        };
        MembersObject {
            header: Header::from(answer.header.unwrap_or_default()).into(),
            members: answer.members.into_iter().map(member).collect(),
        }
    }
}

/// One member, of `hash`.
#[derive(Serialize)]
pub(in crate::cli) struct HashObject<'a> {
    endpoint: &'a str,
    id: NodeId,
    revision: u64,
    applied_index: u64,
    keys: u64,
    hash: &'a str,
}

impl<'a> HashObject<'a> {
    pub fn new(endpoint: &'a str, answer: &'a v1::StateHashResponse) -> HashObject<'a> {
        let header = answer.header.clone().unwrap_or_default();
        HashObject {
            endpoint,
            id: header.member_id,
            revision: answer.revision,
            applied_index: header.applied_index,
            keys: answer.keys,
            hash: &answer.hash,
        }
    }
}
