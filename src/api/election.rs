//! `quorate.v1.Election`: the recipe, run here for clients that do not have it.

use futures::{
    StreamExt, TryFutureExt,
    stream::{self, BoxStream},
};
use tonic::{Request, Response, Status};

use super::{
    lock::{self, Progress},
    request::Call,
};
use crate::{
    error::Error,
    node::Node,
    pb::{convert, v1},
    recipes::election,
    types::{Acquire, LockMode},
};

/// The service of one member.
pub struct Service {
    node: Node,
}

type Leaders = BoxStream<'static, Result<v1::LeaderResponse, Status>>;

impl Service {
    pub fn new(node: Node) -> Service {
        Service { node }
    }

    async fn proclaim(
        &self,
        request: v1::ProclaimRequest,
        call: &Call,
    ) -> Result<v1::ProclaimResponse, Error> {
        let v1::ProclaimRequest { owner_key, fencing_token, value, exactness } = request;
        let leader = convert::lock::grant(owner_key, fencing_token);
        Ok(election::proclaim(&self.node, leader, value, call.write_options(exactness)?).await?.into())
    }

    /// Ends with the client's own deadline, or an error: also when this member is cut off, where nothing
    /// would be told.
    fn observe(&self, request: v1::ObserveRequest, call: Call) -> Result<Leaders, Error> {
        let (node, options) = (self.node.clone(), call.options()?);
        let v1::ObserveRequest { name, after_revision } = request;
        let observed = async move { election::observe(&node, &name, after_revision, options).await };
        let told = observed.try_flatten_stream().map(|leader| leader.map(Into::into));
        let node = self.node.clone();
        let cut_off = stream::once(async move {
            node.loses_touch().await;
            Err(Error::NotReady("it has lost touch with the other members".to_owned()))
        });
        Ok(call.items("a change of the leader", stream::select(told, cut_off)))
    }
}

#[tonic::async_trait]
impl v1::election_server::Election for Service {
    type CampaignStream = Progress;
    type ObserveStream = Leaders;

    async fn campaign(&self, request: Request<v1::CampaignRequest>) -> Result<Response<Progress>, Status> {
        let (call, request) = Call::split(request)?;
        let v1::CampaignRequest { name, session_id: session, value } = request;
        let wanted = Acquire { name, session, mode: LockMode::Exclusive, value };
        call.answer(lock::acquire(&self.node, wanted, call.clone()))
    }

    async fn proclaim(
        &self,
        request: Request<v1::ProclaimRequest>,
    ) -> Result<Response<v1::ProclaimResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = Service::proclaim(self, request, &call).await;
        call.answer(answer)
    }

    async fn leader(
        &self,
        request: Request<v1::LeaderRequest>,
    ) -> Result<Response<v1::LeaderResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let leader = async { election::leader(&self.node, &request.name, call.options()?).await };
        call.answer(leader.await.map(Into::into))
    }

    async fn observe(&self, request: Request<v1::ObserveRequest>) -> Result<Response<Leaders>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = Service::observe(self, request, call.clone());
        call.answer(answer)
    }

    async fn resign(
        &self,
        request: Request<v1::LockReleaseRequest>,
    ) -> Result<Response<v1::LockReleaseResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = lock::release(&self.node, request, &call).await;
        call.answer(answer)
    }
}
