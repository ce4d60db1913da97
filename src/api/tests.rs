//! The frame of every call, on a real connection: a service with one method behind the layer.

use std::future;

use futures::FutureExt;
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    codegen::http::uri::PathAndQuery,
    service::Routes,
    transport::{Channel, Server, server::TcpIncoming},
};

use super::{RequestLayer, request::Call};
use crate::{
    config::Config,
    error::Error,
    pb::{
        convert::{self, RequestKind},
        v1::{self, maintenance_server::MaintenanceServer},
    },
};

const BYTES_MAX: usize = 100;
const ID: &str = "x-request-id";

/// No answer for this revision; for any other, the request's id.
const SILENT: u64 = u64::MAX;

struct Echo;

#[tonic::async_trait]
impl v1::maintenance_server::Maintenance for Echo {
    async fn state_hash(
        &self,
        request: Request<v1::StateHashRequest>,
    ) -> Result<Response<v1::StateHashResponse>, Status> {
        let (call, request) = Call::split(request)?;
        let hash = match request.revision {
            SILENT => call.within("nothing", future::pending()).await,
            revision => Ok(v1::StateHashResponse { hash: call.id().into(), revision, ..Default::default() }),
        };
        call.answer(hash)
    }
}

async fn channel() -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let echo = MaintenanceServer::new(Echo).max_decoding_message_size(BYTES_MAX);
    let serving = Server::builder()
        .layer(RequestLayer::new(&Config::default()))
        .add_routes(super::add_reflection(Routes::new(echo)))
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(serving.map(|served| served.expect("served")));
    Channel::from_shared(format!("http://{address}")).expect("a uri").connect().await.expect("connected")
}

/// Sends any message as if it were a `StateHashRequest`.
async fn send<T>(
    message: T,
    metadata: &[(&'static str, &str)],
) -> Result<Response<v1::StateHashResponse>, Status>
where
    T: prost::Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel().await);
    grpc.ready().await.expect("ready");
    let mut request = Request::new(message);
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().expect("a value"));
    }
    let path = PathAndQuery::from_static("/quorate.v1.Maintenance/StateHash");
    grpc.unary(request, path, tonic_prost::ProstCodec::default()).await
}

fn hash_at(revision: u64) -> v1::StateHashRequest {
    v1::StateHashRequest { revision }
}

fn error(status: &Status) -> Error {
    assert!(!status.details().is_empty(), "no details: {status:?}");
    convert::from_status(status, "the server", RequestKind::Read)
}

#[tokio::test]
async fn the_request_id_goes_through_and_comes_out() {
    let answer = send(hash_at(1), &[(ID, "order-17")]).await.expect("an answer");
    assert_eq!(answer.metadata().get(ID).expect("an id"), "order-17");
    assert_eq!(answer.get_ref().hash, "order-17");

    let refused = send(hash_at(1), &[(ID, "order-17"), ("grpc-timeout", "soon")]).await.expect_err("refused");
    assert_eq!(convert::error::request_id(&refused).as_deref(), Some("order-17"));
    assert_eq!(refused.metadata().get(ID).expect("an id"), "order-17");
}

#[tokio::test]
async fn our_deadline_answers_before_tonics() {
    for timeout in ["400m", "500000u"] {
        let status = send(hash_at(SILENT), &[("grpc-timeout", timeout)]).await.expect_err("too late");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{timeout}");
        let late = Error::Deadline { waiting_for: "nothing".into(), maybe_committed: false };
        assert_eq!(error(&status), late, "{timeout}");
    }
}

#[tokio::test]
async fn bad_metadata_is_refused_by_name() {
    let status = send(hash_at(1), &[("grpc-timeout", "5 minutes")]).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("\"5 minutes\""), "{status:?}");

    let status = send(hash_at(1), &[(ID, &"x".repeat(65))]).await.expect_err("refused");
    assert_eq!(error(&status), Error::TooLarge { what: ID.to_owned(), limit: 64, actual: 65 });
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let from_the_future = v1::KeyValue { create_revision: 3, mod_revision: 4, ..Default::default() };
    let answer = send(from_the_future, &[(ID, "order-18")]).await.expect("an answer");
    assert_eq!(answer.get_ref().hash, "order-18");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_invalid_and_not_internal() {
    let status =
        send(v1::PutRequest { key: "a text".into(), ..Default::default() }, &[]).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(matches!(error(&status), Error::Invalid(why) if why.contains("cannot be read")), "{status:?}");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_told_the_limit_and_its_size() {
    let status = send(v1::PutRequest { key: vec![b'k'; 100].into(), ..Default::default() }, &[]).await;
    let what = "limits.request_bytes_max".to_owned();
    let too_large = Error::TooLarge { what, limit: BYTES_MAX as u64, actual: 102 };
    assert_eq!(error(&status.expect_err("refused")), too_large);
}

#[tokio::test]
async fn what_is_not_served_is_said_so() {
    let mut client = v1::kv_client::KvClient::new(channel().await);
    let status = client.put(v1::PutRequest::default()).await.expect_err("not served here");
    assert_eq!(status.code(), Code::Unimplemented);
    let error = convert::from_status(&status, "the server", RequestKind::Write);
    assert!(matches!(error, Error::Protocol(_)) && !error.maybe_committed());
}

#[tokio::test]
async fn reflection_names_what_clients_may_call_and_nothing_of_the_peers() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let listing = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel().await)
        .server_reflection_info(futures::stream::iter([listing]))
        .await;
    let answer = answers.expect("answers").into_inner().message().await.expect("an answer").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    let mut expected = ["grpc.health.v1.Health"].to_vec();
    expected.extend(super::SERVICES);
    expected.sort();
    assert_eq!(names, expected);
}
