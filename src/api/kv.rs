//! `quorate.v1.Kv`.

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    pipeline::{self, Responses},
    request::Call,
};
use crate::{
    error::Error,
    node::{Node, ScanStream},
    pb::{convert, v1},
    recipes::KvApi,
    types::{Header, Range, Scan},
};

/// The service of one member. Its own methods are the calls, whichever way they came.
#[derive(Clone)]
pub struct Service {
    node: Node,
}

impl Service {
    pub fn new(node: Node) -> Service {
        Service { node }
    }

    pub(super) async fn read(
        &self,
        request: v1::RangeRequest,
        call: &Call,
    ) -> Result<v1::RangeResponse, Error> {
        let range = Range::try_from(convert::required("query", request.query)?)?;
        let consistency = convert::consistency(request.consistency)?;
        Ok(self.node.range(range, consistency, call.options()?).await?.into())
    }

    pub(super) async fn write(&self, request: v1::PutRequest, call: &Call) -> Result<v1::PutResponse, Error> {
        let options = call.write_options(request.exactness.clone())?;
        Ok(self.node.put(request.into(), options).await?.into())
    }

    pub(super) async fn remove(
        &self,
        request: v1::DeleteRequest,
        call: &Call,
    ) -> Result<v1::DeleteResponse, Error> {
        let options = call.write_options(request.exactness.clone())?;
        Ok(self.node.delete(request.try_into()?, options).await?.into())
    }

    pub(super) async fn decide(
        &self,
        request: v1::TxnRequest,
        call: &Call,
    ) -> Result<v1::TxnResponse, Error> {
        let depth_max = self.node.limits().txn_depth_max;
        let txn = convert::txn(convert::required("txn", request.txn)?, depth_max)?;
        Ok(self.node.txn(txn, call.write_options(request.exactness)?).await?.into())
    }

    async fn begin_scan(&self, request: v1::ScanRequest, call: Call) -> Result<Chunks, Error> {
        let keys = convert::required("keys", request.keys)?.try_into()?;
        let scan = Scan { keys, revision: request.revision, keys_only: request.keys_only };
        let consistency = convert::consistency(request.consistency)?;
        let (header, evidence, pairs) = self.node.scan(scan, consistency, call.options()?).await?;
        let head = v1::ScanResponse {
            header: Some(header.clone().into()),
            kvs: Vec::new(),
            evidence: Some(evidence.into()),
        };
        Ok(stream::once(async { Ok(head) }).chain(chunks(header, pairs, call)).boxed())
    }
}

type Chunks = BoxStream<'static, Result<v1::ScanResponse, Status>>;

/// The pairs of a scan, until they or the call's time end.
fn chunks(header: Header, pairs: ScanStream, call: Call) -> Chunks {
    stream::unfold(Some((header, pairs, call)), |state| async {
        let (header, mut pairs, call) = state?;
        let next = match call.next_chunk(pairs.next()).await {
            Ok(next) => next?,
            Err(error) => Err(error),
        };
        Some(match next {
            Ok(kvs) => (Ok(chunk(&header, kvs)), Some((header, pairs, call))),
            Err(error) => (Err(call.status(&error)), None),
        })
    })
    .boxed()
}

fn chunk(header: &Header, kvs: Vec<crate::types::KeyValue>) -> v1::ScanResponse {
    let kvs = kvs.into_iter().map(Into::into).collect();
    v1::ScanResponse { header: Some(header.clone().into()), kvs, evidence: None }
}

#[tonic::async_trait]
impl v1::kv_server::Kv for Service {
    type ScanStream = Chunks;
    type PipelineStream = Responses;

    async fn range(&self, request: Request<v1::RangeRequest>) -> Result<Response<v1::RangeResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = self.read(request, &call).await;
        call.answer(answer)
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Chunks>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = self.begin_scan(request, call.clone()).await;
        call.answer(answer)
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = self.write(request, &call).await;
        call.answer(answer)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = self.remove(request, &call).await;
        call.answer(answer)
    }

    async fn txn(&self, request: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = self.decide(request, &call).await;
        call.answer(answer)
    }

    async fn pipeline(
        &self,
        request: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let (call, requests) = Call::split(request)?;
        let stopping = self.node.watches_closed();
        Ok(Response::new(pipeline::responses(self.clone(), call, (requests, stopping))))
    }

    async fn compact(
        &self,
        request: Request<v1::CompactRequest>,
    ) -> Result<Response<v1::CompactResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let compact = async {
            let options = call.write_options(request.exactness)?;
            self.node.compact(request.revision, options).await
        };
        call.answer(compact.await.map(Into::into))
    }
}
