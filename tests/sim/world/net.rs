//! turmoil's network, as the node and the client see any.

use std::{future::Future, io, pin::Pin, time::Duration};

use futures::stream;
use quorate::env::{BoxIo, Listening, Net};

/// Host names are members' and clients' names; a member listens on all its host's addresses.
pub struct SimNet;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Net for SimNet {
    fn dial(&self, addr: String) -> BoxFuture<io::Result<BoxIo>> {
        Box::pin(async move { turmoil::net::TcpStream::connect(addr).await.map(BoxIo::new) })
    }

    fn listen(&self, addr: String) -> BoxFuture<io::Result<Listening>> {
        Box::pin(async move {
            let port = addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            let port = port.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, addr))?;
            let listener = turmoil::net::TcpListener::bind(("0.0.0.0", port)).await?;
            let addr = listener.local_addr()?;
            let incoming = stream::unfold(listener, |listener| async move {
                let accepted = listener.accept().await.map(|(stream, _)| BoxIo::new(stream));
                Some((accepted, listener))
            });
            Ok(Listening { addr, incoming: Box::pin(incoming) })
        })
    }

    /// turmoil does not retransmit: a lost segment wedges its connection until somebody asks.
    fn keepalive(&self) -> Duration {
        Duration::from_millis(300)
    }
}
