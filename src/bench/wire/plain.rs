//! The generated stubs, and nothing around them: no routing, no retries, no sessions, no request ids.

use std::time::Duration;

use bytes::Bytes;
use tonic::{Status, transport::Channel};

use super::{Failed, pipe::Piping};
use crate::{
    pb::{
        convert::{self, RequestKind},
        v1::{self, kv_client::KvClient},
    },
    types::{Consistency, KeyRange, Range, Txn},
};

/// Quorate's service on one connection.
#[derive(Clone)]
pub(in crate::bench) struct Plain {
    service: KvClient<Channel>,
    consistency: v1::Consistency,
}

impl Plain {
    pub fn new(channel: Channel, consistency: Consistency) -> Plain {
        Plain { service: KvClient::new(channel), consistency: consistency.into() }
    }

    /// What opens a stream on this connection.
    pub fn piping(&self, limit: Duration) -> Piping {
        Piping::new(self.service.clone(), self.consistency, limit)
    }

    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        let request = v1::PutRequest { key, value, ..v1::PutRequest::default() };
        self.service.put(request).await.map(drop).map_err(|status| failed(&status, RequestKind::Write))
    }

    /// Whether it was found.
    pub async fn get(&mut self, key: Bytes) -> Result<bool, Failed> {
        let query = Some(Range::new(KeyRange::key(key)).into());
        let request = v1::RangeRequest { query, consistency: Some(self.consistency) };
        let answer = self.service.range(request).await;
        let answer = answer.map_err(|status| failed(&status, RequestKind::Read))?;
        Ok(!answer.into_inner().kvs.is_empty())
    }

    /// Whether its compares held.
    pub async fn txn(&mut self, txn: Txn) -> Result<bool, Failed> {
        let request = v1::TxnRequest { txn: Some(txn.into()), exactness: None };
        let answer = self.service.txn(request).await;
        let answer = answer.map_err(|status| failed(&status, RequestKind::Write))?;
        Ok(answer.into_inner().result.is_some_and(|result| result.succeeded))
    }
}

/// What a status says of an operation.
pub(super) fn failed(status: &Status, kind: RequestKind) -> Failed {
    convert::from_status(status, "", kind).into()
}
