//! `quorate.v1.Lock`: the recipe, run here for clients that do not have it.

use futures::{StreamExt, TryFutureExt, stream::BoxStream};
use tonic::{Request, Response, Status};

use super::request::Call;
use crate::{
    error::Error,
    node::Node,
    pb::{convert, v1},
    recipes::lock,
    types::Acquire,
};

/// The service of one member.
pub struct Service {
    node: Node,
}

pub(super) type Progress = BoxStream<'static, Result<v1::LockAcquireResponse, Status>>;

impl Service {
    pub fn new(node: Node) -> Service {
        Service { node }
    }

    async fn try_acquire(
        &self,
        request: v1::LockAcquireRequest,
        call: &Call,
    ) -> Result<v1::LockTryAcquireResponse, Error> {
        let (header, held) = lock::try_acquire(&self.node, request.try_into()?, call.options()?).await?;
        Ok(v1::LockTryAcquireResponse { header: Some(header.into()), held: held.map(Into::into) })
    }
}

/// Queues, and tells of it. Ends with the grant, or with the client's own deadline; gives the place up
/// when the client goes before.
pub(super) fn acquire(node: &Node, acquire: Acquire, call: Call) -> Result<Progress, Error> {
    let (node, options) = (node.clone(), call.options()?);
    let now = node.clone();
    let queue = async move { lock::acquire(&node, acquire, options).await };
    let told = queue
        .map_ok(lock::Acquiring::into_stream)
        .try_flatten_stream()
        .map(move |progress| progress.map(|progress| convert::lock::progress(progress, now.header(""))));
    Ok(call.items(lock::THE_LOCK, told))
}

/// Gives a grant, or a place, back.
pub(super) async fn release(
    node: &Node,
    request: v1::LockReleaseRequest,
    call: &Call,
) -> Result<v1::LockReleaseResponse, Error> {
    let v1::LockReleaseRequest { owner_key, fencing_token, exactness } = request;
    let grant = convert::lock::grant(owner_key, fencing_token);
    Ok(lock::release(node, grant, call.write_options(exactness)?).await?.into())
}

#[tonic::async_trait]
impl v1::lock_server::Lock for Service {
    type AcquireStream = Progress;

    async fn acquire(&self, request: Request<v1::LockAcquireRequest>) -> Result<Response<Progress>, Status> {
        let (call, request) = Call::split(request)?;
        let wanted = Acquire::try_from(request).and_then(|wanted| acquire(&self.node, wanted, call.clone()));
        call.answer(wanted)
    }

    async fn try_acquire(
        &self,
        request: Request<v1::LockAcquireRequest>,
    ) -> Result<Response<v1::LockTryAcquireResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = Service::try_acquire(self, request, &call).await;
        call.answer(answer)
    }

    async fn release(
        &self,
        request: Request<v1::LockReleaseRequest>,
    ) -> Result<Response<v1::LockReleaseResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = release(&self.node, request, &call).await;
        call.answer(answer)
    }

    async fn inspect(
        &self,
        request: Request<v1::LockInspectRequest>,
    ) -> Result<Response<v1::LockInspectResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let inspect = async { lock::inspect(&self.node, &request.name, call.options()?).await };
        call.answer(inspect.await.map(Into::into))
    }
}
