//! Connections of clients: counted, bounded, and cut together.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// After a failed accept: the cause (no descriptors left) lasts, and a loop without a pause would burn a
/// core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connections of one listener. Dropping it cuts them all.
pub(super) struct Connections {
    places: Arc<Semaphore>,
    max: usize,
    cut: CancellationToken,
}

impl Connections {
    pub fn new(max: usize) -> Connections {
        Connections { places: Arc::new(Semaphore::new(max)), max, cut: CancellationToken::new() }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.max - self.places.available_permits()
    }

    /// Lets in who comes, as long as there is a place; closes the others at once.
    pub fn admit<IO, S>(
        &self,
        incoming: S,
    ) -> impl Stream<Item = io::Result<Connection<IO>>> + Send + use<IO, S>
    where
        IO: Send + 'static,
        S: Stream<Item = io::Result<IO>> + Send,
    {
        let (places, cut, max) = (self.places.clone(), self.cut.clone(), self.max);
        incoming.filter_map(move |accepted| {
            let (place, cut) = (places.clone().try_acquire_owned(), cut.clone().cancelled_owned());
            async move {
                match (accepted, place) {
                    (Ok(io), Ok(place)) => Some(Ok(Connection { io, cut: Box::pin(cut), _place: place })),
                    (Ok(_), Err(_)) => {
                        tracing::warn!(max, "too many connections: the newest is closed");
                        None
                    }
                    (Err(error), _) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        None
                    }
                }
            }
        })
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}

/// One connection in its place.
pub(super) struct Connection<IO> {
    io: IO,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

impl<IO> Connected for Connection<IO> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// An HTTP/2 connection always reads: there it learns that it was cut.
impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => {
                self.cut.as_mut().poll(cx).map(|()| Err(io::Error::from(io::ErrorKind::ConnectionAborted)))
            }
        }
    }
}

/// Takes no lists of buffers, as [`crate::env::BoxIo`] does not.
impl<IO: AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn one_too_many_is_closed_and_a_freed_place_is_given_again() {
        let connections = Connections::new(1);
        let (mut far, near): (Vec<_>, Vec<_>) = (0..2).map(|_| duplex(64)).unzip();
        let mut admitted = pin!(connections.admit(stream::iter(near.into_iter().map(Ok))));
        let first = admitted.next().await.expect("a place").expect("a connection");
        assert!(admitted.next().await.is_none(), "the second one is not let in");
        assert_eq!(far[1].read(&mut [0; 8]).await.expect("closed"), 0);
        assert_eq!(connections.open(), 1);

        drop(first);
        let mut admitted = pin!(connections.admit(stream::iter([Ok(duplex(64).0)])));
        assert!(admitted.next().await.is_some(), "its place is free again");
    }

    #[tokio::test]
    async fn a_failed_accept_does_not_end_the_listener() {
        let connections = Connections::new(1);
        let failed = Err(io::Error::other("no descriptors left"));
        let mut admitted = pin!(connections.admit(stream::iter([failed, Ok(duplex(64).0)])));
        assert!(admitted.next().await.is_some_and(|next| next.is_ok()));
    }

    #[tokio::test]
    async fn an_idle_connection_ends_when_all_are_cut() {
        let connections = Connections::new(1);
        let (mut far, near) = duplex(64);
        let mut admitted = pin!(connections.admit(stream::iter([Ok(near)])));
        let mut connection = admitted.next().await.expect("a place").expect("a connection");
        far.write_all(b"hello").await.expect("written");
        assert_eq!(connection.read(&mut [0; 8]).await.expect("read"), 5);
        let reading = tokio::spawn(async move { connection.read(&mut [0; 8]).await });
        tokio::task::yield_now().await;
        drop(connections);
        let cut = reading.await.expect("no panic").expect_err("cut");
        assert_eq!(cut.kind(), io::ErrorKind::ConnectionAborted);
    }
}
