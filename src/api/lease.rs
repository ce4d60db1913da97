//! `quorate.v1.Lease` and `quorate.v1.Session`: a session is a lease that keeps responses.

use std::future::Future;

use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use super::request::Call;
use crate::{
    error::Error,
    node::Node,
    pb::{convert, v1},
    recipes::LeaseApi,
    types::{Grant, Granted, SESSION_RESPONSES_MAX, WriteAnswer},
};

/// Keep-alives of one stream that are under way at once, or answered and not yet sent; the client waits with
/// the next one.
const UNDER_WAY_MAX: usize = 256;

/// Both services of one member.
#[derive(Clone)]
pub struct Service {
    node: Node,
}

type KeptAlive = BoxStream<'static, Result<v1::LeaseKeepAliveResponse, Status>>;

impl Service {
    pub fn new(node: Node) -> Service {
        Service { node }
    }

    async fn time_to_live(
        &self,
        request: v1::LeaseTimeToLiveRequest,
        call: &Call,
    ) -> Result<v1::LeaseTimeToLiveResponse, Error> {
        let v1::LeaseTimeToLiveRequest { id, keys } = request;
        Ok(self.node.time_to_live(id, keys, call.options()?).await?.into())
    }

    async fn open(&self, grant: Grant, call: &Call) -> Result<v1::SessionOpenResponse, Error> {
        let WriteAnswer { header, result, .. } = self.node.grant(grant, call.options()?).await?;
        let Granted { id, ttl } = result;
        Ok(v1::SessionOpenResponse {
            header: Some(header.into()),
            session_id: id,
            ttl_ms: ttl.as_millis() as u64,
            responses_max: SESSION_RESPONSES_MAX as u64,
        })
    }

    /// One answer for each request; each has the default timeout.
    fn answers(&self, call: Call, requests: Streaming<v1::LeaseKeepAliveRequest>) -> KeptAlive {
        let node = self.node.clone();
        each_to_its_end(requests, move |request: v1::LeaseKeepAliveRequest| {
            let (node, call, id) = (node.clone(), call.clone(), request.id);
            async move { renew(&node, &call, id).await.unwrap_or_else(|error| refused(id, &error, &call)) }
        })
    }
}

/// The answers to requests, of which [`UNDER_WAY_MAX`] are worked on at once. Each is worked on in a task of
/// its own, since a stream is polled only while the client takes what it answers: a request must not keep its
/// place on the member for as long as the client likes. What is not done when the client goes is dropped.
fn each_to_its_end<R, A, F>(
    requests: impl Stream<Item = Result<R, Status>> + Send + 'static,
    answer: impl Fn(R) -> F + Send + 'static,
) -> BoxStream<'static, Result<A, Status>>
where
    R: Send + 'static,
    A: Send + 'static,
    F: Future<Output = A> + Send + 'static,
{
    let answer = move |request: Result<R, Status>| {
        let answer = request.map(|request| AbortOnDropHandle::new(tokio::spawn(answer(request))));
        let lost = |panic: JoinError| convert::to_status(&Error::Stopped(panic.to_string()), "");
        async move { answer?.await.map_err(lost) }
    };
    requests.map(answer).buffer_unordered(UNDER_WAY_MAX).boxed()
}

async fn renew(node: &Node, call: &Call, id: u64) -> Result<v1::LeaseKeepAliveResponse, Error> {
    Ok(node.keep_alive(id, call.part_options()).await?.into())
}

fn refused(id: u64, error: &Error, call: &Call) -> v1::LeaseKeepAliveResponse {
    v1::LeaseKeepAliveResponse {
        header: None,
        id,
        ttl_ms: 0,
        error: Some(convert::error::detail(error, call.id())),
        error_message: error.to_string(),
    }
}

#[tonic::async_trait]
impl v1::lease_server::Lease for Service {
    type KeepAliveStream = KeptAlive;

    async fn grant(
        &self,
        request: Request<v1::LeaseGrantRequest>,
    ) -> Result<Response<v1::LeaseGrantResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let grant = async {
            let options = call.write_options(request.exactness.clone())?;
            self.node.grant(request.into(), options).await
        };
        call.answer(grant.await.map(Into::into))
    }

    async fn revoke(
        &self,
        request: Request<v1::LeaseRevokeRequest>,
    ) -> Result<Response<v1::LeaseRevokeResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let revoke = async {
            let options = call.write_options(request.exactness)?;
            self.node.revoke(request.id, options).await
        };
        call.answer(revoke.await.map(Into::into))
    }

    async fn keep_alive(
        &self,
        request: Request<Streaming<v1::LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeptAlive>, Status> {
        let (call, requests) = Call::split(request)?;
        Ok(Response::new(self.answers(call, requests)))
    }

    async fn time_to_live(
        &self,
        request: Request<v1::LeaseTimeToLiveRequest>,
    ) -> Result<Response<v1::LeaseTimeToLiveResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = Service::time_to_live(self, request, &call).await;
        call.answer(answer)
    }

    async fn list(
        &self,
        request: Request<v1::LeaseListRequest>,
    ) -> Result<Response<v1::LeaseListResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let v1::LeaseListRequest { after, limit } = request;
        let list = async { self.node.leases(after, limit, call.options()?).await };
        call.answer(list.await.map(Into::into))
    }
}

#[tonic::async_trait]
impl v1::session_server::Session for Service {
    type KeepAliveStream = KeptAlive;

    async fn open(
        &self,
        request: Request<v1::SessionOpenRequest>,
    ) -> Result<Response<v1::SessionOpenResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let answer = Service::open(self, request.into(), &call).await;
        call.answer(answer)
    }

    async fn keep_alive(
        &self,
        request: Request<Streaming<v1::LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeptAlive>, Status> {
        v1::lease_server::Lease::keep_alive(self, request).await
    }

    async fn close(
        &self,
        request: Request<v1::SessionCloseRequest>,
    ) -> Result<Response<v1::SessionCloseResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let close = async { self.node.revoke(request.session_id, call.options()?).await };
        let closed =
            close.await.map(|answer| v1::SessionCloseResponse { header: Some(answer.header.into()) });
        call.answer(closed)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use futures::stream;
    use tokio::{sync::Semaphore, task::yield_now, time::sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keep_alives_that_are_not_read_give_their_places_back() {
        let (places, go) = (Arc::new(Semaphore::new(UNDER_WAY_MAX)), Arc::new(Semaphore::new(0)));
        let (all, start) = (places.clone(), go.clone());
        let mut answers = each_to_its_end(stream::iter((0..).map(Ok)), move |id: u64| {
            let (places, go) = (places.clone(), go.clone());
            async move {
                let _place = places.acquire().await;
                let _go = go.acquire().await;
                id
            }
        });
        let mut next = answers.next();
        assert!(futures::poll!(&mut next).is_pending(), "they have only begun");
        while all.available_permits() > 0 {
            yield_now().await;
        }
        start.add_permits(1);
        // Time stands still until nothing is left to do.
        sleep(Duration::from_millis(1)).await;
        assert_eq!(all.available_permits(), UNDER_WAY_MAX, "nobody has read an answer");
        assert!(matches!(next.await, Some(Ok(0..256))));
    }
}
