//! Quorate's messages, and nothing around them: no routing, no retries, no sessions, no request ids.

use std::time::Duration;

use bytes::Bytes;
use tonic::Status;

use super::{
    Failed,
    pipe::Piping,
    unary::{Caller, Method},
};
use crate::{
    bench::BenchError,
    pb::{
        convert::{self, RequestKind},
        v1,
    },
    types::{Consistency, KeyRange, Range, Txn},
};

/// Quorate's service on one connection.
#[derive(Clone)]
pub(in crate::bench) struct Plain {
    caller: Caller,
    put: Method,
    range: Method,
    txn: Method,
    consistency: v1::Consistency,
}

impl Plain {
    /// # Errors
    /// `Invalid`: no such address is possible.
    pub fn new(address: &str, consistency: Consistency) -> Result<Plain, BenchError> {
        let caller = Caller::new(address)?;
        Ok(Plain {
            put: caller.method("/quorate.v1.Kv/Put")?,
            range: caller.method("/quorate.v1.Kv/Range")?,
            txn: caller.method("/quorate.v1.Kv/Txn")?,
            consistency: consistency.into(),
            caller,
        })
    }

    /// What opens a stream to the same member, on a connection of its own.
    pub fn piping(&self, limit: Duration) -> Piping {
        Piping::new(self.caller.address(), self.consistency, limit)
    }

    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        let request = v1::PutRequest { key, value, ..v1::PutRequest::default() };
        let answer = self.caller.call::<v1::PutResponse>(&self.put, &request).await;
        answer.map(drop).map_err(|status| failed(&status, RequestKind::Write))
    }

    /// Whether it was found.
    pub async fn get(&mut self, key: Bytes) -> Result<bool, Failed> {
        let query = Some(Range::new(KeyRange::key(key)).into());
        let request = v1::RangeRequest { query, consistency: Some(self.consistency) };
        let answer = self.caller.call::<v1::RangeResponse>(&self.range, &request).await;
        let answer = answer.map_err(|status| failed(&status, RequestKind::Read))?;
        Ok(!answer.kvs.is_empty())
    }

    /// Whether its compares held.
    pub async fn txn(&mut self, txn: Txn) -> Result<bool, Failed> {
        let request = v1::TxnRequest { txn: Some(txn.into()), exactness: None };
        let answer = self.caller.call::<v1::TxnResponse>(&self.txn, &request).await;
        let answer = answer.map_err(|status| failed(&status, RequestKind::Write))?;
        Ok(answer.result.is_some_and(|result| result.succeeded))
    }
}

/// What a status says of an operation.
pub(super) fn failed(status: &Status, kind: RequestKind) -> Failed {
    convert::from_status(status, "", kind).into()
}
