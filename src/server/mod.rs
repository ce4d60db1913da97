//! The composition root: one member with its listener for clients, from start to an orderly end.
//!
//! Order of the end: health says `NOT_SERVING`, no connection is accepted any more, open ones are told to
//! finish (GOAWAY), the node hands leadership over and drains, and what is still open after
//! `shutdown_timeout` is cut.
//!
//! Absent: signals and the process's exit code (the command line has them); TLS, which comes later.

mod connections;
mod listen;

use std::{future::Future, io, net::SocketAddr, pin::pin, time::Duration};

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::transport::{Server, server::Connected};

use self::{connections::Connections, listen::Reserved};
use crate::{
    api::{self, RequestLayer},
    config::Config,
    error::Error,
    node::Node,
};

/// Connections of clients at once; the next one is closed at once, so that its client turns to another
/// member.
pub const CONNECTIONS_MAX: usize = 4096;

/// Calls at once on one connection; HTTP/2 makes the client wait with the next one. Across connections the
/// node's admission control decides.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 1024;

/// A connection that is silent for this long is asked for a sign of life.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// And given up after this.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Every wait ends at the call's deadline. A call that has not ended so much later is a bug, which must not
/// hang the client.
const BACKSTOP: Duration = Duration::from_secs(1);

/// Why a member did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration makes no sense. Names the field.
    #[error("{0}")]
    Config(Error),
    /// The address for clients cannot be used: it is occupied, not this machine's, or no address.
    #[error("cannot listen for clients on {address} ({field}): {why}")]
    Listen {
        /// The field of the configuration that gives it.
        field: String,
        /// The address.
        address: String,
        /// What the operating system says.
        why: io::Error,
    },
    /// The member could not recover, found or join its cluster, or listen for its peers.
    #[error("cannot start: {0}")]
    Start(Error),
    /// The listener for clients broke.
    #[error("cannot serve clients: {0}")]
    Serve(String),
    /// The member failed and was stopped. Its data directory tells what it had acknowledged.
    #[error("the member failed: {0}")]
    Failed(String),
    /// The member did not end in order; it recovers at the next start.
    #[error("the shutdown was not clean: {0}")]
    Shutdown(Error),
}

/// Runs a member until `shutdown` resolves or the member fails.
///
/// The port for clients is reserved before the member starts, but refuses connections until it has recovered:
/// a client turns to another member at once, and knows that nothing was sent.
///
/// # Errors
/// Why it could not start, why it failed, or why it did not end in order.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
    config.validate().map_err(ServerError::Config)?;
    let mut shutdown = pin!(shutdown);
    let reserved = listen::reserve(&config).await?;
    let node = tokio::select! {
        node = Node::start(config) => node.map_err(ServerError::Start)?,
        () = &mut shutdown => return Ok(()),
    };
    let stop = CancellationToken::new();
    let clients = tokio::spawn(clients(node.clone(), reserved, stop.clone()));
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        reason = node.failed() => Err(ServerError::Failed(reason)),
        () = stop.cancelled() => Ok(()), // The clients' task ended, and says why below.
    };
    match &ended {
        Ok(()) => tracing::info!("shutting down"),
        Err(error) => tracing::error!(%error, "shutting down"),
    }
    stop.cancel();
    let stopped = shut_down(&node).await;
    let served = clients.await.unwrap_or_else(|panic| Err(ServerError::Serve(panic.to_string())));
    ended.and(served).and(stopped)
}

/// Serves the clients, if there is an address for them, until `stop`; cancels `stop` if it ends before.
async fn clients(node: Node, reserved: Option<Reserved>, stop: CancellationToken) -> Result<(), ServerError> {
    let _stop_with_me = stop.clone().drop_guard();
    let Some(reserved) = reserved else {
        let _announcing = announce(&node, None);
        stop.cancelled().await;
        return Ok(());
    };
    let (address, incoming) = reserved.listen()?;
    let _announcing = announce(&node, Some(address));
    serve_clients(node, incoming, stop.cancelled()).await
}

/// Writes one line to the log when the member is ready.
fn announce(node: &Node, clients: Option<SocketAddr>) -> AbortOnDropHandle<()> {
    let config = node.config();
    let peers = config.members.get(&config.id).map_or_else(String::new, |own| own.peer.clone());
    let (member, mut ready) = (config.id, node.readiness());
    tracing::info!(member, clients = clients.map(tracing::field::display), peers, "started");
    AbortOnDropHandle::new(tokio::spawn(async move {
        if ready.wait_for(|ready| *ready).await.is_ok() {
            tracing::info!(member, clients = clients.map(tracing::field::display), peers, "ready");
        }
    }))
}

/// Ends the node. It keeps to its own timeout; this one is for the case that it does not.
async fn shut_down(node: &Node) -> Result<(), ServerError> {
    let late = |_| Err(Error::Deadline { waiting_for: "the node's end".into(), maybe_committed: false });
    tokio::time::timeout(node.config().shutdown_timeout + BACKSTOP, node.shutdown())
        .await
        .unwrap_or_else(late)
        .map_err(ServerError::Shutdown)
}

/// Serves the clients that come in over `incoming` until `shutdown` resolves; for a program that embeds a
/// node and listens on its own. The node itself goes on.
///
/// Ends at most `shutdown_timeout` after `shutdown`; dropping the future cuts all connections.
///
/// # Errors
/// `Serve`, if the listener broke.
pub async fn serve_clients<IO>(
    node: Node,
    incoming: impl Stream<Item = io::Result<IO>> + Send,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError>
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let config = node.config();
    let api = api::services(&node).await;
    let following = AbortOnDropHandle::new(tokio::spawn(api.health.clone().follow(node.readiness())));
    let connections = Connections::new(CONNECTIONS_MAX);
    let stop = CancellationToken::new();
    let mut serving = pin!(http2(config).layer(RequestLayer::new(config)).serve_with_incoming_shutdown(
        api.services,
        connections.admit(incoming),
        stop.cancelled()
    ));
    tokio::select! {
        served = &mut serving => return served.map_err(|error| ServerError::Serve(error.to_string())),
        () = shutdown => following.abort(),
    }
    api.health.set(false).await;
    stop.cancel();
    let (served, ()) =
        tokio::join!(tokio::time::timeout(config.shutdown_timeout, serving), api.health.close());
    match served {
        Ok(served) => served.map_err(|error| ServerError::Serve(error.to_string())),
        Err(_) => {
            tracing::warn!(open = connections.open(), "connections that did not end are cut");
            Ok(())
        }
    }
}

fn http2(config: &Config) -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .timeout(config.timeout_max + BACKSTOP)
}
