//! The gRPC services for clients: check, convert, call the node, fill the header.
//!
//! A request passes [`RequestLayer`], which gives it an id and a deadline ([`request`]), then a handler
//! of a few lines (`kv`, `pipeline`, `lease`, `watch`, `cluster`, `maintenance`). Every refusal leaves
//! through the one table in [`crate::pb::convert::error`], those that tonic makes on its own included
//! (`refusal`).
//!
//! Deliberately absent: queues and admission (the node has them), retries (the client has them), any state.

mod cluster;
mod deadline;
mod election;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod pipeline;
mod refusal;
pub mod request;
mod services;
#[cfg(test)]
mod tests;
mod watch;

use tonic::service::Routes;
use tonic_reflection::server::Builder as Reflection;

pub use self::health::Health;
pub use self::request::RequestLayer;
pub use self::services::Services;
use crate::{
    node::Node,
    pb::{
        DESCRIPTORS,
        v1::{
            cluster_server, election_server, kv_server, lease_server, lock_server, maintenance_server,
            session_server, watch_server,
        },
    },
};

/// The services of this API, by their full names.
pub const SERVICES: [&str; 8] = [
    kv_server::SERVICE_NAME,
    lease_server::SERVICE_NAME,
    session_server::SERVICE_NAME,
    watch_server::SERVICE_NAME,
    lock_server::SERVICE_NAME,
    election_server::SERVICE_NAME,
    cluster_server::SERVICE_NAME,
    maintenance_server::SERVICE_NAME,
];

/// The services of a member, to be served behind a [`RequestLayer`].
pub struct Api {
    /// All of [`SERVICES`], health and reflection.
    pub services: Services,
    /// Says whether the member is ready. Nothing is until somebody says so.
    pub health: Health,
}

/// The services of `node`.
pub async fn services(node: &Node) -> Api {
    let bytes_max = node.limits().request_bytes_max;
    // A message of a pipeline holds many requests.
    let kv_bytes_max = bytes_max.max(pipeline::REQUEST_BYTES_MIN);
    let (health, health_service) = Health::new().await;
    let kv = kv_server::KvServer::new(kv::Service::new(node.clone())).max_decoding_message_size(kv_bytes_max);
    let others = Routes::new(health_service)
        .add_service(
            lease_server::LeaseServer::new(lease::Service::new(node.clone()))
                .max_decoding_message_size(bytes_max),
        )
        .add_service(
            session_server::SessionServer::new(lease::Service::new(node.clone()))
                .max_decoding_message_size(bytes_max),
        )
        .add_service(
            watch_server::WatchServer::new(watch::Service::new(node.clone()))
                .max_decoding_message_size(bytes_max),
        )
        .add_service(
            lock_server::LockServer::new(lock::Service::new(node.clone()))
                .max_decoding_message_size(bytes_max),
        )
        .add_service(
            election_server::ElectionServer::new(election::Service::new(node.clone()))
                .max_decoding_message_size(bytes_max),
        )
        .add_service(
            cluster_server::ClusterServer::new(cluster::Service::new(node.clone()))
                .max_decoding_message_size(bytes_max),
        )
        .add_service(
            maintenance_server::MaintenanceServer::new(maintenance::Service::new(node.clone()))
                .max_decoding_message_size(bytes_max),
        );
    Api { services: Services { kv, others: add_reflection(others).prepare() }, health }
}

/// Both versions of server reflection: many tools know only the older one.
fn add_reflection(routes: Routes) -> Routes {
    const OWN: &str = "the descriptors are compiled in";
    let builder = || {
        let health = "grpc.health.v1.Health";
        SERVICES.iter().chain([&health]).fold(
            Reflection::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET),
            |builder, name| builder.with_service_name(*name),
        )
    };
    routes.add_service(builder().build_v1().expect(OWN)).add_service(builder().build_v1alpha().expect(OWN))
}
