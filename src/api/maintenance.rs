//! `quorate.v1.Maintenance`.

use tonic::{Request, Response, Status};

use super::request::Call;
use crate::{
    error::Error,
    node::{Node, StateHash},
    pb::v1,
    types::Header,
};

/// The service of one member.
pub struct Service {
    node: Node,
}

impl Service {
    pub fn new(node: Node) -> Service {
        Service { node }
    }

    async fn hash(&self, request: v1::StateHashRequest, call: &Call) -> Result<v1::StateHashResponse, Error> {
        let hash = call.within("the state's hash", self.node.state_hash(request.revision)).await??;
        Ok(response(hash, call.id()))
    }
}

fn response(hash: StateHash, request_id: &str) -> v1::StateHashResponse {
    let header = Header { request_id: request_id.into(), ..hash.header };
    v1::StateHashResponse {
        header: Some(header.into()),
        hash: format!("{:032x}", hash.hash),
        revision: hash.revision,
        keys: hash.keys,
        leases_hash: format!("{:032x}", hash.leases_hash),
    }
}

#[tonic::async_trait]
impl v1::maintenance_server::Maintenance for Service {
    async fn state_hash(
        &self,
        request: Request<v1::StateHashRequest>,
    ) -> Result<Response<v1::StateHashResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = self.hash(request, &call).await;
        call.answer(answer)
    }
}
