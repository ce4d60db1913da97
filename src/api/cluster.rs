//! `quorate.v1.Cluster`.

use std::collections::BTreeMap;

use tonic::{Request, Response, Status};

use super::request::{Call, REQUEST_ID_BYTES_MAX};
use crate::{
    config::LogStoreKind,
    error::Error,
    node::{self, Node},
    pb::v1,
    types::{Header, Limits},
};

/// The service of one member.
pub struct Service {
    node: Node,
}

impl Service {
    pub fn new(node: Node) -> Service {
        Service { node }
    }

    async fn own_status(&self, call: &Call) -> Result<v1::StatusResponse, Error> {
        let status = call.within("the member's status", self.node.status()).await?;
        Ok(v1::StatusResponse { limits: limits(self.node.limits()), ..response(status, call.id()) })
    }
}

fn response(status: node::Status, request_id: &str) -> v1::StatusResponse {
    let header = Header { request_id: request_id.into(), ..status.header };
    v1::StatusResponse {
        id: header.member_id,
        header: Some(header.into()),
        role: v1::MemberRole::from(status.role).into(),
        leader_id: status.leader_id.unwrap_or(0),
        commit_index: status.commit_index,
        last_log_index: status.last_log_index,
        first_log_index: status.first_log_index,
        snapshot_index: status.snapshot_index,
        compact_revision: status.compact_revision,
        keys: status.keys,
        log_bytes: status.log_bytes,
        state_bytes: status.state_bytes,
        free_disk_bytes: status.free_disk_bytes,
        version: env!("CARGO_PKG_VERSION").into(),
        ready: status.ready,
        uptime_ms: status.uptime.as_millis() as u64,
        leader_contact_age_ms: status.leader_contact_age.map(|age| age.as_millis() as u64),
        lag: status.lag.into_iter().map(lag).collect(),
        limits: BTreeMap::new(),
        log_store: log_store(status.log_store).into(),
        stages: status.stages.into_iter().map(stage).collect(),
    }
}

fn lag(lag: node::Lag) -> v1::status_response::Lag {
    v1::status_response::Lag { id: lag.id, matched_index: lag.matched_index, entries: lag.entries }
}

fn stage(times: node::StageTimes) -> v1::status_response::Stage {
    let node::StageTimes { stage, count, mean_us, p50_us, p99_us, max_us } = times;
    v1::status_response::Stage { name: stage.name().into(), count, mean_us, p50_us, p99_us, max_us }
}

fn log_store(kind: LogStoreKind) -> &'static str {
    match kind {
        LogStoreKind::Wal => "wal",
        LogStoreKind::Sled => "sled",
        LogStoreKind::Memory => "memory",
    }
}

/// Every limit by the name that errors give it.
fn limits(limits: &Limits) -> BTreeMap<String, u64> {
    let named = [
        ("limits.key_bytes_max", limits.key_bytes_max),
        ("limits.value_bytes_max", limits.value_bytes_max),
        ("limits.request_bytes_max", limits.request_bytes_max),
        ("limits.txn_ops_max", limits.txn_ops_max),
        ("limits.txn_depth_max", limits.txn_depth_max),
        ("limits.range_pairs_max", limits.range_pairs_max),
        ("limits.range_bytes_max", limits.range_bytes_max),
        ("limits.inflight_writes_max", limits.inflight_writes_max),
        ("limits.inflight_reads_max", limits.inflight_reads_max),
        ("limits.guards_max", limits.guards_max),
        ("limits.lease_ttl_min_ms", limits.lease_ttl_min.as_millis() as usize),
        ("limits.lease_ttl_max_ms", limits.lease_ttl_max.as_millis() as usize),
        ("limits.leases_max", limits.leases_max),
        ("limits.sessions_max", limits.sessions_max),
        ("limits.watches_per_stream_max", limits.watches_per_stream_max),
        ("limits.watches_max", limits.watches_max),
        ("limits.lock_permits_max", limits.lock_permits_max as usize),
        ("x-request-id", REQUEST_ID_BYTES_MAX),
    ];
    named.into_iter().map(|(name, limit)| (name.into(), limit as u64)).collect()
}

fn member(member: node::Member) -> v1::Member {
    let node::Member { id, peer_addr, client_addr, voter, is_leader } = member;
    v1::Member { id, peer_addr, client_addr, voter, is_leader }
}

#[tonic::async_trait]
impl v1::cluster_server::Cluster for Service {
    async fn members(
        &self,
        request: Request<v1::MembersRequest>,
    ) -> Result<Response<v1::MembersResponse>, Status> {
        let (call, _) = Call::split(request)?;
        let members = self.node.members().into_iter().map(member).collect();
        call.answer(Ok(v1::MembersResponse { header: Some(self.node.header(call.id()).into()), members }))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let (call, _) = Call::split(request)?;
        let answer = self.own_status(&call).await;
        call.answer(answer)
    }
}
