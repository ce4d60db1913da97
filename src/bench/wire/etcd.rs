//! As much of etcd's API (version 3) as a comparison needs: keys, values, transactions, and who leads. The
//! messages are written by hand after its public field numbers.

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use super::Failed;

/// etcd's service on one connection.
#[derive(Clone)]
pub(in crate::bench) struct Etcd {
    service: Grpc<Channel>,
    serializable: bool,
}

impl Etcd {
    /// Reads are linearizable, or `serializable`: whatever the member has applied.
    pub fn new(channel: Channel, serializable: bool) -> Etcd {
        Etcd { service: Grpc::new(channel), serializable }
    }

    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        let request = PutRequest { key, value };
        self.call::<_, PutResponse>(request, "/etcdserverpb.KV/Put").await.map(drop)
    }

    /// Whether it was found.
    pub async fn get(&mut self, key: Bytes) -> Result<bool, Failed> {
        let request = RangeRequest { key, serializable: self.serializable };
        let answer: RangeResponse = self.call(request, "/etcdserverpb.KV/Range").await?;
        Ok(!answer.kvs.is_empty())
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
        let answer: TxnResponse = self.call(request, "/etcdserverpb.KV/Txn").await?;
        Ok(answer.succeeded)
    }

    /// The member's id, and the leader's.
    pub async fn status(&mut self) -> Result<(u64, u64), Failed> {
        let answer: StatusResponse = self.call(StatusRequest {}, "/etcdserverpb.Maintenance/Status").await?;
        Ok((answer.header.unwrap_or_default().member_id, answer.leader))
    }

    async fn call<M, A>(&mut self, message: M, path: &'static str) -> Result<A, Failed>
    where
        M: Message + 'static,
        A: Message + Default + 'static,
    {
        self.service.ready().await.map_err(|_| Failed("connection"))?;
        let path = PathAndQuery::from_static(path);
        let answer = self.service.unary(Request::new(message), path, ProstCodec::<M, A>::default()).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failed(&status))
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
