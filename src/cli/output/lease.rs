//! The JSON objects of the lease commands. Times are whole milliseconds.

use serde::Serialize;

use super::{HeaderObject, text_or_base64, write_header};
use crate::types::{Granted, Header, KeptAlive, LeaseInfo, LeaseSummary, Revoked, WriteAnswer};

/// Of `lease grant`.
#[derive(Serialize)]
pub(in crate::cli) struct LeaseGrantObject {
    header: HeaderObject,
    id: u64,
    ttl_ms: u64,
}

impl From<WriteAnswer<Granted>> for LeaseGrantObject {
    fn from(answer: WriteAnswer<Granted>) -> LeaseGrantObject {
        let Granted { id, ttl } = answer.result;
        let header = write_header(answer.header, answer.write);
        LeaseGrantObject { header, id, ttl_ms: ttl.as_millis() as u64 }
    }
}

/// Of `lease revoke`.
#[derive(Serialize)]
pub(in crate::cli) struct LeaseRevokeObject {
    header: HeaderObject,
    deleted: u64,
}

impl From<WriteAnswer<Revoked>> for LeaseRevokeObject {
    fn from(answer: WriteAnswer<Revoked>) -> LeaseRevokeObject {
        let deleted = answer.result.deleted;
        LeaseRevokeObject { header: write_header(answer.header, answer.write), deleted }
    }
}

/// Of `lease keep-alive`: one line for each.
#[derive(Serialize)]
pub(in crate::cli) struct KeptAliveObject {
    header: HeaderObject,
    id: u64,
    ttl_ms: u64,
}

impl From<KeptAlive> for KeptAliveObject {
    fn from(kept: KeptAlive) -> KeptAliveObject {
        KeptAliveObject { header: kept.header.into(), id: kept.id, ttl_ms: kept.ttl.as_millis() as u64 }
    }
}

/// Of `lease ttl`.
#[derive(Serialize)]
pub(in crate::cli) struct LeaseObject {
    header: HeaderObject,
    id: u64,
    ttl_ms: u64,
    remaining_ms: u64,
    session: bool,
    key_count: u64,
    keys: Vec<KeyObject>,
}

#[derive(Serialize)]
struct KeyObject {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

impl From<LeaseInfo> for LeaseObject {
    fn from(info: LeaseInfo) -> LeaseObject {
        let key = |key: &bytes::Bytes| {
            let (key, key_base64) = text_or_base64(key);
            KeyObject { key, key_base64 }
        };
        LeaseObject {
            id: info.id,
            ttl_ms: info.ttl.as_millis() as u64,
            remaining_ms: info.remaining.as_millis() as u64,
            session: info.session,
            key_count: info.key_count,
            keys: info.keys.iter().map(key).collect(),
            header: info.header.into(),
        }
    }
}

/// Of `lease list`.
#[derive(Serialize)]
pub(in crate::cli) struct LeasesObject {
    header: HeaderObject,
    leases: Vec<SummaryObject>,
}

#[derive(Serialize)]
struct SummaryObject {
    id: u64,
    ttl_ms: u64,
    session: bool,
    key_count: u64,
}

impl LeasesObject {
    pub fn new(header: Header, leases: Vec<LeaseSummary>) -> LeasesObject {
        let summary = |lease: LeaseSummary| SummaryObject {
            id: lease.id,
            ttl_ms: lease.ttl.as_millis() as u64,
            session: lease.session,
            key_count: lease.key_count,
        };
        LeasesObject { header: header.into(), leases: leases.into_iter().map(summary).collect() }
    }
}
