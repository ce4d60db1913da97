//! As much of etcd's API (version 3) as a comparison needs: keys, values, transactions, and who leads. The
//! messages are written by hand after its public field numbers.

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

use super::{
    Failed,
    unary::{Caller, Method},
};
use crate::bench::BenchError;

/// etcd's service on one connection.
#[derive(Clone)]
pub(in crate::bench) struct Etcd {
    caller: Caller,
    put: Method,
    range: Method,
    txn: Method,
    status: Method,
    serializable: bool,
}

impl Etcd {
    /// Reads are linearizable, or `serializable`: whatever the member has applied.
    ///
    /// # Errors
    /// `Invalid`: no such address is possible.
    pub fn new(address: &str, serializable: bool) -> Result<Etcd, BenchError> {
        let caller = Caller::new(address)?;
        Ok(Etcd {
            put: caller.method("/etcdserverpb.KV/Put")?,
            range: caller.method("/etcdserverpb.KV/Range")?,
            txn: caller.method("/etcdserverpb.KV/Txn")?,
            status: caller.method("/etcdserverpb.Maintenance/Status")?,
            serializable,
            caller,
        })
    }

    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        let request = PutRequest { key, value };
        let answer = self.caller.call::<PutResponse>(&self.put, &request).await;
        answer.map(drop).map_err(|status| failed(&status))
    }

    /// Whether it was found.
    pub async fn get(&mut self, key: Bytes) -> Result<bool, Failed> {
        let request = RangeRequest { key, serializable: self.serializable };
        let answer = self.caller.call::<RangeResponse>(&self.range, &request).await;
        answer.map(|answer| !answer.kvs.is_empty()).map_err(|status| failed(&status))
    }

    /// Puts all in one transaction, if the first is there where that is asked for; whether it was.
    pub async fn put_all(&mut self, pairs: Vec<(Bytes, Bytes)>, if_there: bool) -> Result<bool, Failed> {
        let first = pairs.first().filter(|_| if_there).map(|(key, _)| key.clone());
        let there = |key| Compare { result: GREATER, target: VERSION, key, version: Some(0) };
        let put = |(key, value)| RequestOp { put: Some(PutRequest { key, value }) };
        let request = TxnRequest {
            compare: first.map(there).into_iter().collect(),
            success: pairs.into_iter().map(put).collect(),
        };
        let answer = self.caller.call::<TxnResponse>(&self.txn, &request).await;
        answer.map(|answer| answer.succeeded).map_err(|status| failed(&status))
    }

    /// The member's id, and the leader's.
    pub async fn status(&mut self) -> Result<(u64, u64), Failed> {
        let answer = self.caller.call::<StatusResponse>(&self.status, &StatusRequest {}).await;
        let answer = answer.map_err(|status| failed(&status))?;
        Ok((answer.header.unwrap_or_default().member_id, answer.leader))
    }
}

/// etcd's errors by their gRPC code; that nobody was there, as Quorate's.
fn failed(status: &Status) -> Failed {
    Failed(match status.code() {
        Code::Unavailable => "connection",
        Code::DeadlineExceeded => "deadline",
        Code::ResourceExhausted => "overloaded",
        Code::InvalidArgument => "invalid",
        Code::OutOfRange => "out_of_range",
        Code::FailedPrecondition => "failed_precondition",
        Code::Unknown => "unknown_outcome",
        Code::Unimplemented => "protocol",
        _ => "other",
    })
}

/// `Compare.CompareResult.GREATER`.
const GREATER: i32 = 1;
/// `Compare.CompareTarget.VERSION`.
const VERSION: i32 = 0;

#[derive(Clone, PartialEq, Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    cluster_id: u64,
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
    #[prost(uint64, tag = "4")]
    raft_term: u64,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(int64, tag = "2")]
    create_revision: i64,
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(int64, tag = "4")]
    version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
    #[prost(int64, tag = "6")]
    lease: i64,
}

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    more: bool,
    #[prost(int64, tag = "4")]
    count: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Compare {
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    /// One of several operands, so that 0 is sent too.
    #[prost(int64, optional, tag = "4")]
    version: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_etcd_expects() {
        let request = RangeRequest { key: "k".into(), serializable: true };
        assert_eq!(request.encode_to_vec(), [0x0a, 1, b'k', 0x38, 1]);
        let compare = Compare { result: GREATER, target: VERSION, key: "k".into(), version: Some(0) };
        assert_eq!(compare.encode_to_vec(), [0x08, 1, 0x1a, 1, b'k', 0x20, 0]);
        let put = RequestOp { put: Some(PutRequest { key: "k".into(), value: "v".into() }) };
        assert_eq!(put.encode_to_vec(), [0x12, 6, 0x0a, 1, b'k', 0x12, 1, b'v']);
    }
}
