//! Leases and sessions: [`LeaseApi`] over gRPC.

use std::time::Duration;

use futures::stream;
use tonic::{Response, Status, transport::Channel};

use super::{ANSWER_BYTES_MAX, Client, pipeline::Way, retry::Kind, routing::Target};
use crate::{
    error::Error,
    pb::{
        convert::{self, error, lease},
        v1::{self, lease_client::LeaseClient, session_client::SessionClient},
    },
    recipes::LeaseApi,
    types::{
        CallOptions, Grant, Granted, Header, KeptAlive, LeaseId, LeaseInfo, LeaseList, Revoked, WriteAnswer,
    },
};

fn service(channel: Channel) -> LeaseClient<Channel> {
    LeaseClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

impl LeaseApi for Client {
    async fn grant(&self, grant: Grant, options: CallOptions) -> Result<WriteAnswer<Granted>, Error> {
        if grant.session {
            return Err(Error::Invalid(
                "a client opens its session by itself; embed a node to open more".into(),
            ));
        }
        let send = |way: Way, request| async move { service(way.channel).grant(request).await };
        let message = |exactness| v1::LeaseGrantRequest { exactness, ..v1::LeaseGrantRequest::from(grant) };
        self.write(options, message, send)
            .await
            .and_then(|answered| self.learn_from_write(&answered.endpoint, lease::granted(answered.message)))
    }

    async fn revoke(&self, id: LeaseId, options: CallOptions) -> Result<WriteAnswer<Revoked>, Error> {
        let send = |way: Way, request| async move { service(way.channel).revoke(request).await };
        let message = |exactness| v1::LeaseRevokeRequest { id, exactness };
        let answered = self.write(options, message, send).await?;
        self.learn_from_write(&answered.endpoint, lease::revoked(answered.message))
    }

    async fn keep_alive(&self, id: LeaseId, options: CallOptions) -> Result<KeptAlive, Error> {
        let plan = self.plan(Kind::Read, Target::Leader, options)?;
        let send = |way: Way, request: tonic::Request<v1::LeaseKeepAliveRequest>| async move {
            let (metadata, extensions, message) = request.into_parts();
            let one = tonic::Request::from_parts(metadata, extensions, stream::iter([message]));
            first(service(way.channel).keep_alive(one).await?.into_inner()).await
        };
        let answered = self.call(&plan, v1::LeaseKeepAliveRequest { id }, send).await?;
        let kept = lease::kept_alive(answered.message)?;
        self.learn_from_lease(&answered.endpoint, &kept.header)?;
        Ok(kept)
    }

    async fn time_to_live(&self, id: LeaseId, keys: bool, options: CallOptions) -> Result<LeaseInfo, Error> {
        let plan = self.plan(Kind::Read, Target::Any, options)?;
        let send = |way: Way, request| async move { service(way.channel).time_to_live(request).await };
        let answered = self.call(&plan, v1::LeaseTimeToLiveRequest { id, keys }, send).await?;
        let info = lease::lease_info(answered.message)?;
        self.learn_from_lease(&answered.endpoint, &info.header)?;
        Ok(info)
    }

    async fn leases(&self, after: LeaseId, limit: u64, options: CallOptions) -> Result<LeaseList, Error> {
        let plan = self.plan(Kind::Read, Target::Any, options)?;
        let send = |way: Way, request| async move { service(way.channel).list(request).await };
        let answered = self.call(&plan, v1::LeaseListRequest { after, limit }, send).await?;
        let list = lease::lease_list(answered.message)?;
        self.learn_from_lease(&answered.endpoint, &list.header)?;
        Ok(list)
    }
}

/// The one answer to the one request of a stream. A refusal is in the answer there: here it is a status, as
/// that of any other call, so that another member is asked; unless it is an answer about the lease itself.
async fn first(
    mut answers: tonic::Streaming<v1::LeaseKeepAliveResponse>,
) -> Result<Response<v1::LeaseKeepAliveResponse>, Status> {
    let answer = answers.message().await?;
    let answer = answer.ok_or_else(|| Status::unavailable("the stream ended without an answer"))?;
    match answer.error.clone().map(|detail| error::from_detail(detail, &answer.error_message)) {
        None | Some(Error::LeaseNotFound(_) | Error::Invalid(_)) => Ok(Response::new(answer)),
        Some(refusal) => Err(convert::to_status(&refusal, "")),
    }
}

/// Opens a session. Repeated, it may open a second one, which ends by itself.
pub(super) async fn open_session(
    client: &Client,
    ttl: Duration,
    options: CallOptions,
) -> Result<Granted, Error> {
    let plan = client.plan(Kind::ExactlyOnce, Target::Leader, options)?;
    let send = |way: Way, request| async move { SessionClient::new(way.channel).open(request).await };
    let request = v1::SessionOpenRequest { ttl_ms: ttl.as_millis() as u64 };
    let answered = client.call(&plan, request, send).await?;
    lease::opened(answered.message)
}

/// Ends a session. Repeating it is safe: it then does not exist.
pub(super) async fn close_session(client: &Client, id: LeaseId, options: CallOptions) -> Result<(), Error> {
    let plan = client.plan(Kind::ExactlyOnce, Target::Leader, options)?;
    let send = |way: Way, request| async move { SessionClient::new(way.channel).close(request).await };
    client.call(&plan, v1::SessionCloseRequest { session_id: id }, send).await.map(drop)
}

impl Client {
    fn learn_from_lease(&self, endpoint: &str, header: &Header) -> Result<(), Error> {
        let mut view = self.view();
        view.learn_cluster(endpoint, header.cluster_id)?;
        view.learn_term(header.term);
        Ok(())
    }
}
