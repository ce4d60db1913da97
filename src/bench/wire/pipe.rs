//! A stream of `Kv.Pipeline`, driven with bare messages: no routing, no retries, no queue between callers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Failed, NOT_FOUND, plain, transaction};
use crate::{
    env::{Net, Tcp},
    pb::{
        convert::{self, RequestKind},
        v1::{self, kv_client::KvClient, pipeline_answer::Answer, pipeline_call::Request},
    },
    types::{KeyRange, Range},
};

/// Messages on their way to the transport; then whoever has more calls waits.
const MESSAGES_MAX: usize = 4;
/// Bytes of one message: members take at least this much.
const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// What it takes to open a stream.
#[derive(Clone)]
pub(in crate::bench) struct Piping {
    address: String,
    consistency: v1::Consistency,
    /// How long one operation may take.
    limit: Duration,
}

/// One stream.
pub(in crate::bench) struct Pipe {
    messages: mpsc::Sender<v1::PipelineRequest>,
    answers: Streaming<v1::PipelineResponse>,
    limit: Duration,
}

impl Piping {
    pub fn new(address: &str, consistency: v1::Consistency, limit: Duration) -> Piping {
        Piping { address: address.to_owned(), consistency, limit }
    }

    /// Opens a stream, on a new connection.
    pub async fn open(&self) -> Result<Pipe, Failed> {
        let (messages, queued) = mpsc::channel(MESSAGES_MAX);
        let net: Arc<dyn Net> = Arc::new(Tcp);
        let mut service = KvClient::new(net.channel(&self.address).map_err(|_| Failed("invalid"))?);
        let opened = timeout(self.limit, service.pipeline(ReceiverStream::new(queued))).await;
        let opened = opened.map_err(|_| super::DEADLINE)?;
        let answers = opened.map_err(|status| plain::failed(&status, RequestKind::Read))?.into_inner();
        Ok(Pipe { messages, answers, limit: self.limit })
    }

    pub fn get(&self, key: Bytes) -> Request {
        let query = Some(Range::new(KeyRange::key(key)).into());
        Request::Range(v1::RangeRequest { query, consistency: Some(self.consistency) })
    }

    pub fn put(&self, key: Bytes, value: Bytes) -> Request {
        Request::Put(v1::PutRequest { key, value, ..v1::PutRequest::default() })
    }

    /// Puts a key that must be there.
    pub fn txn(&self, key: Bytes, value: Bytes) -> Request {
        let txn = transaction(vec![(key, value)], true);
        Request::Txn(v1::TxnRequest { txn: Some(txn.into()), exactness: None })
    }
}

impl Pipe {
    /// Sends calls, in as few messages as members take.
    pub async fn send(&self, requests: Vec<(u64, Request)>) -> Result<(), Failed> {
        let timeout_ms = self.limit.as_millis() as u64;
        let (mut calls, mut bytes) = (Vec::new(), 0);
        for (id, request) in requests {
            let call = v1::PipelineCall { id, timeout_ms, request: Some(request), ..Default::default() };
            let more = call.encoded_len();
            if bytes + more > MESSAGE_BYTES_MAX && !calls.is_empty() {
                self.pass_on(std::mem::take(&mut calls)).await?;
                bytes = 0;
            }
            bytes += more;
            calls.push(call);
        }
        self.pass_on(calls).await
    }

    async fn pass_on(&self, calls: Vec<v1::PipelineCall>) -> Result<(), Failed> {
        let sent = self.messages.send(v1::PipelineRequest { calls }).await;
        sent.map_err(|_| Failed("connection"))
    }

    /// The next answers. Members answer within a call's time, and are given as much again.
    pub async fn next(&mut self) -> Result<Vec<v1::PipelineAnswer>, Failed> {
        match timeout(self.limit * 2, self.answers.message()).await {
            Ok(Ok(Some(response))) => Ok(response.answers),
            Ok(Ok(None)) => Err(Failed("connection")),
            Ok(Err(status)) => Err(plain::failed(&status, RequestKind::Write)),
            Err(_) => Err(super::DEADLINE),
        }
    }
}

/// What an answer says of its operation.
pub(in crate::bench) fn outcome(answer: Option<Answer>) -> Result<(), Failed> {
    match answer {
        Some(Answer::Failure(failure)) => {
            Err(plain::failed(&convert::error::of_failure(failure), RequestKind::Write))
        }
        Some(Answer::Range(answer)) if answer.kvs.is_empty() => Err(NOT_FOUND),
        Some(Answer::Txn(answer)) if !answer.result.as_ref().is_some_and(|result| result.succeeded) => {
            Err(NOT_FOUND)
        }
        Some(_) => Ok(()),
        None => Err(Failed("protocol")),
    }
}
