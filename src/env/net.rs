//! Connections: what tonic needs of a network, behind a trait.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tonic::transport::{Channel, Endpoint, Uri, server::Connected};

use super::simulation::is_simulated;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection.
///
/// It takes no lists of buffers: then HTTP/2 puts small frames of many calls into one buffer, where with them
/// each call's data would be a system call of its own (1.7 for an answer rather than 0.2, measured at 256
/// clients on 16 connections).
pub struct BoxIo(Box<dyn Io>);

impl BoxIo {
    /// Any byte stream.
    pub fn new(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> BoxIo {
        BoxIo(Box::new(io))
    }
}

impl Connected for BoxIo {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for BoxIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for BoxIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

/// Connections as they come in.
pub type Incoming = Pin<Box<dyn Stream<Item = io::Result<BoxIo>> + Send>>;

/// A bound port.
pub struct Listening {
    /// Where; with the port that was chosen, if port 0 was asked for.
    pub addr: SocketAddr,
    /// Who connects.
    pub incoming: Incoming,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Dial and listen.
pub trait Net: Send + Sync + 'static {
    /// Connects to `host:port`.
    fn dial(&self, addr: String) -> BoxFuture<io::Result<BoxIo>>;

    /// Binds `host:port`.
    fn listen(&self, addr: String) -> BoxFuture<io::Result<Listening>>;

    /// A connection that is silent for this long is asked for a sign of life, and after as long again given
    /// up. Default: 2 s.
    fn keepalive(&self) -> Duration {
        KEEPALIVE
    }
}

impl dyn Net {
    /// The endpoint of a connection that is probed when it is silent with calls on it, and in the end given
    /// up, and with it its calls.
    pub fn kept_alive(&self, endpoint: Endpoint) -> Endpoint {
        let endpoint =
            endpoint.http2_keep_alive_interval(self.keepalive()).keep_alive_timeout(self.keepalive());
        // How long frames of a call that was given up are expected is measured by the real clock.
        match is_simulated() {
            true => endpoint.http2_reset_stream_duration(RESET_STREAMS_KEPT),
            false => endpoint,
        }
    }

    /// A lazy channel to `addr`, which connects when first used and again after it broke.
    ///
    /// # Errors
    /// If `addr` is not of the form `host:port`.
    pub fn channel(self: std::sync::Arc<Self>, addr: &str) -> Result<Channel, String> {
        let uri: Uri =
            format!("http://{addr}").parse().map_err(|e| format!("{addr:?} is no address: {e}"))?;
        let target = uri.authority().ok_or_else(|| format!("{addr:?} is no address"))?.to_string();
        let endpoint = Endpoint::from(uri).connect_timeout(CONNECT_TIMEOUT).keep_alive_while_idle(true);
        let endpoint = self.kept_alive(endpoint);
        Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let connect = self.dial(target.clone());
            async move { connect.await.map(TokioIo::new) }
        })))
    }
}

/// How long a connection may take to come up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

const KEEPALIVE: Duration = Duration::from_secs(2);

/// So long in a simulation that it does not matter.
const RESET_STREAMS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// TCP without delay.
pub struct Tcp;

impl Net for Tcp {
    fn dial(&self, addr: String) -> BoxFuture<io::Result<BoxIo>> {
        Box::pin(async move {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            Ok(BoxIo::new(stream))
        })
    }

    fn listen(&self, addr: String) -> BoxFuture<io::Result<Listening>> {
        Box::pin(async move {
            let listener = TcpListener::bind(addr).await?;
            let addr = listener.local_addr()?;
            let incoming =
                stream::unfold(listener, |listener| async move { Some((accept(&listener).await, listener)) });
            Ok(Listening { addr, incoming: Box::pin(incoming) })
        })
    }
}

/// Accepts one connection. A failure (a peer that is gone already, no descriptors left) is passed over after
/// a pause, since an error would end the listener.
async fn accept(listener: &TcpListener) -> io::Result<BoxIo> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if stream.set_nodelay(true).is_ok() => return Ok(BoxIo::new(stream)),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
