//! Scans: a range of any size, streamed at one revision.
//!
//! Only the beginning of a scan is repeated on other endpoints. A stream that breaks later ends with an
//! error; the caller can go on behind the last key with `revision` set to the header's. Each chunk has the
//! call's timeout anew.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt, stream};
use tokio::time::timeout;
use tonic::Streaming;

use super::{Client, kv::service, pipeline::Way, retry::Kind, routing::Target};
use crate::{
    error::Error,
    pb::{
        convert::{self, RequestKind, answer},
        v1,
    },
    types::{CallOptions, Consistency, Evidence, Header, KeyValue, Scan},
};

/// A scan that has begun.
pub struct ScanAnswer {
    /// Who answers; `revision` is the one that the whole scan reads.
    pub header: Header,
    /// What proves the scan's consistency.
    pub evidence: Evidence,
    /// The pairs in key order. Without an error before its end, they are all there are.
    pub chunks: ScanStream,
}

/// Chunks of a scan, each at most about 1 MiB.
pub type ScanStream = Pin<Box<dyn Stream<Item = Result<Vec<KeyValue>, Error>> + Send>>;

impl Client {
    /// Streams the pairs of a range, all at one revision.
    ///
    /// # Errors
    /// As a read at that level. The options' timeout bounds the wait for each chunk, not the whole.
    pub async fn scan(
        &self,
        scan: Scan,
        consistency: Consistency,
        options: CallOptions,
    ) -> Result<ScanAnswer, Error> {
        let chunk_time = options.timeout.unwrap_or(self.inner.settings.timeout);
        let plan = self.plan(Kind::Read, Target::of_read(&consistency), options)?;
        let Scan { keys, revision, keys_only } = scan;
        let request = v1::ScanRequest {
            keys: Some(keys.into()),
            revision,
            keys_only,
            consistency: Some(consistency.into()),
        };
        // The stream's beginning is a part of the attempt: that is where levels are refused.
        let send = |way: Way, request| async move {
            let mut stream = service(way.channel).scan(request).await?.into_inner();
            let first = stream.message().await?;
            Ok(tonic::Response::new((first, stream)))
        };
        let answered = self.call(&plan, request, send).await?;
        let (first, stream) = answered.message;
        let first = first.ok_or_else(|| Error::Protocol("a scan without a first chunk".into()))?;
        let protocol = |error: Error| Error::Protocol(error.to_string());
        let header = answer::header(first.header).map_err(protocol)?;
        let evidence = convert::evidence(first.evidence, consistency.level).map_err(protocol)?;
        self.learn_from_read(&answered.endpoint, &header, evidence.leader_id)?;
        let rest = Rest { stream, endpoint: answered.endpoint, chunk_time };
        let chunks = stream::once(async { Ok(pairs(first.kvs)) }).chain(rest.chunks());
        Ok(ScanAnswer { header, evidence, chunks: Box::pin(chunks) })
    }
}

/// A stream behind its first chunk.
struct Rest {
    stream: Streaming<v1::ScanResponse>,
    endpoint: String,
    chunk_time: Duration,
}

impl Rest {
    /// The chunks until the end or the first error.
    fn chunks(self) -> impl Stream<Item = Result<Vec<KeyValue>, Error>> + Send {
        stream::unfold(Some(self), |rest| async move {
            let mut rest = rest?;
            match rest.next().await {
                Ok(Some(kvs)) => Some((Ok(kvs), Some(rest))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Vec<KeyValue>>, Error> {
        let late = || Error::Deadline {
            waiting_for: format!("the next chunk of {}", self.endpoint),
            maybe_committed: false,
        };
        let chunk = timeout(self.chunk_time, self.stream.message()).await.map_err(|_| late())?;
        let chunk =
            chunk.map_err(|status| convert::from_status(&status, &self.endpoint, RequestKind::Read))?;
        Ok(chunk.map(|chunk| pairs(chunk.kvs)))
    }
}

fn pairs(kvs: Vec<v1::KeyValue>) -> Vec<KeyValue> {
    kvs.into_iter().map(KeyValue::from).collect()
}
