//! Leases and sessions.

use std::time::Duration;

use super::{
    answer::{RequestKind, header, written},
    millis_floor,
};
use crate::{
    error::Error,
    pb::v1,
    types::{Grant, Granted, KeptAlive, LeaseInfo, LeaseList, LeaseSummary, Revoked, WriteAnswer},
};

impl From<Grant> for v1::LeaseGrantRequest {
    fn from(grant: Grant) -> Self {
        v1::LeaseGrantRequest { id: grant.id, ttl_ms: millis_floor(grant.ttl), exactness: None }
    }
}

impl From<v1::LeaseGrantRequest> for Grant {
    fn from(grant: v1::LeaseGrantRequest) -> Self {
        Grant { id: grant.id, ttl: Duration::from_millis(grant.ttl_ms), session: false }
    }
}

impl From<v1::SessionOpenRequest> for Grant {
    fn from(open: v1::SessionOpenRequest) -> Self {
        Grant { id: 0, ttl: Duration::from_millis(open.ttl_ms), session: true }
    }
}

impl From<WriteAnswer<Granted>> for v1::LeaseGrantResponse {
    fn from(answer: WriteAnswer<Granted>) -> Self {
        v1::LeaseGrantResponse {
            header: Some(answer.header.into()),
            id: answer.result.id,
            ttl_ms: millis_floor(answer.result.ttl),
            write: Some(answer.write.into()),
        }
    }
}

impl From<WriteAnswer<Revoked>> for v1::LeaseRevokeResponse {
    fn from(answer: WriteAnswer<Revoked>) -> Self {
        v1::LeaseRevokeResponse {
            header: Some(answer.header.into()),
            deleted: answer.result.deleted,
            write: Some(answer.write.into()),
        }
    }
}

impl From<KeptAlive> for v1::LeaseKeepAliveResponse {
    fn from(kept: KeptAlive) -> Self {
        v1::LeaseKeepAliveResponse {
            header: Some(kept.header.into()),
            id: kept.id,
            ttl_ms: millis_floor(kept.ttl),
            ..Default::default()
        }
    }
}

impl From<LeaseInfo> for v1::LeaseTimeToLiveResponse {
    fn from(info: LeaseInfo) -> Self {
        v1::LeaseTimeToLiveResponse {
            header: Some(info.header.into()),
            id: info.id,
            ttl_ms: millis_floor(info.ttl),
            remaining_ms: millis_floor(info.remaining),
            session: info.session,
            key_count: info.key_count,
            keys: info.keys,
        }
    }
}

impl From<LeaseSummary> for v1::LeaseSummary {
    fn from(lease: LeaseSummary) -> Self {
        let LeaseSummary { id, ttl, session, key_count } = lease;
        v1::LeaseSummary { id, ttl_ms: millis_floor(ttl), session, key_count }
    }
}

impl From<v1::LeaseSummary> for LeaseSummary {
    fn from(lease: v1::LeaseSummary) -> Self {
        let v1::LeaseSummary { id, ttl_ms, session, key_count } = lease;
        LeaseSummary { id, ttl: Duration::from_millis(ttl_ms), session, key_count }
    }
}

impl From<LeaseList> for v1::LeaseListResponse {
    fn from(list: LeaseList) -> Self {
        let leases = super::each(list.leases);
        v1::LeaseListResponse { header: Some(list.header.into()), leases, more: list.more }
    }
}

/// Reads the answer to a grant.
///
/// # Errors
/// `UnknownOutcome` naming the field.
pub fn granted(wire: v1::LeaseGrantResponse) -> Result<WriteAnswer<Granted>, Error> {
    let granted = Granted { id: wire.id, ttl: Duration::from_millis(wire.ttl_ms) };
    written(wire.header, wire.write, || Ok(granted))
}

/// Reads the answer to the opening of a session: its id and time to live.
///
/// # Errors
/// `UnknownOutcome` naming the field.
pub fn opened(wire: v1::SessionOpenResponse) -> Result<Granted, Error> {
    header(wire.header).map_err(|error| RequestKind::Write.unreadable(error.to_string()))?;
    Ok(Granted { id: wire.session_id, ttl: Duration::from_millis(wire.ttl_ms) })
}

/// Reads the answer to a revocation.
///
/// # Errors
/// `UnknownOutcome` naming the field.
pub fn revoked(wire: v1::LeaseRevokeResponse) -> Result<WriteAnswer<Revoked>, Error> {
    let revoked = Revoked { deleted: wire.deleted };
    written(wire.header, wire.write, || Ok(revoked))
}

/// Reads the answer to a keep-alive.
///
/// # Errors
/// Why the lease was not renewed; `Protocol` naming the field.
pub fn kept_alive(wire: v1::LeaseKeepAliveResponse) -> Result<KeptAlive, Error> {
    if let Some(detail) = wire.error {
        return Err(super::error::from_detail(detail, &wire.error_message));
    }
    let header = header(wire.header).map_err(|error| RequestKind::Read.unreadable(error.to_string()))?;
    Ok(KeptAlive { header, id: wire.id, ttl: Duration::from_millis(wire.ttl_ms) })
}

/// Reads the answer about a lease.
///
/// # Errors
/// `Protocol` naming the field.
pub fn lease_info(wire: v1::LeaseTimeToLiveResponse) -> Result<LeaseInfo, Error> {
    Ok(LeaseInfo {
        header: header(wire.header).map_err(|error| RequestKind::Read.unreadable(error.to_string()))?,
        id: wire.id,
        ttl: Duration::from_millis(wire.ttl_ms),
        remaining: Duration::from_millis(wire.remaining_ms),
        session: wire.session,
        key_count: wire.key_count,
        keys: wire.keys,
    })
}

/// Reads a list of leases.
///
/// # Errors
/// `Protocol` naming the field.
pub fn lease_list(wire: v1::LeaseListResponse) -> Result<LeaseList, Error> {
    let header = header(wire.header).map_err(|error| RequestKind::Read.unreadable(error.to_string()))?;
    Ok(LeaseList { header, leases: super::each(wire.leases), more: wire.more })
}
