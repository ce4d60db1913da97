//! The port for clients: reserved first, opened later.

use std::{io, net::SocketAddr};

use tokio::net::{TcpSocket, lookup_host};
use tonic::transport::server::TcpIncoming;

use super::ServerError;
use crate::config::Config;

/// Connections that the kernel may hold before we accept them.
const BACKLOG: u32 = 1024;

/// A bound port that refuses connections.
#[derive(Debug)]
pub(super) struct Reserved {
    socket: TcpSocket,
    place: Place,
}

/// Where an address comes from, for errors.
#[derive(Debug)]
struct Place {
    field: String,
    address: String,
}

impl Place {
    fn error(&self, why: io::Error) -> ServerError {
        ServerError::Listen { field: self.field.clone(), address: self.address.clone(), why }
    }
}

/// Reserves the port for clients; `None` if the configuration names none.
///
/// # Errors
/// `Listen`, naming address and field.
pub(super) async fn reserve(config: &Config) -> Result<Option<Reserved>, ServerError> {
    let Some(place) = place(config) else { return Ok(None) };
    match bind(&place.address).await {
        Ok(socket) => Ok(Some(Reserved { socket, place })),
        Err(why) => Err(place.error(why)),
    }
}

fn place(config: &Config) -> Option<Place> {
    let own = config.members.get(&config.id).map(|own| own.client.clone()).unwrap_or_default();
    let place = if config.listen_client.is_empty() {
        Place { field: format!("members.{}.client", config.id), address: own }
    } else {
        Place { field: "listen_client".into(), address: config.listen_client.clone() }
    };
    (!place.address.is_empty()).then_some(place)
}

/// Binds the first of the name's addresses that can be bound.
async fn bind(address: &str) -> io::Result<TcpSocket> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host(address).await? {
        match bind_one(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Or a restarted member would have to wait until the kernel has forgotten its old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Reserved {
    /// Opens the port. Returns where it is (the configuration may ask for port 0) and who comes.
    pub fn listen(self) -> Result<(SocketAddr, TcpIncoming), ServerError> {
        let Reserved { socket, place } = self;
        let listener = socket.listen(BACKLOG).map_err(|why| place.error(why))?;
        let address = listener.local_addr().map_err(|why| place.error(why))?;
        Ok((address, TcpIncoming::from(listener).with_nodelay(Some(true))))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn config(listen_client: String) -> Config {
        Config { listen_client, ..Config::default() }
    }

    #[tokio::test]
    async fn an_occupied_port_is_named_with_its_field() {
        let occupied = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = occupied.local_addr().expect("its address").to_string();
        let error = reserve(&config(address.clone())).await.expect_err("it is occupied").to_string();
        let start = format!("cannot listen for clients on {address} (listen_client): ");
        assert!(error.starts_with(&start) && error.contains("in use"), "{error}");
    }

    #[tokio::test]
    async fn nonsense_is_an_error_and_nothing_is_no_listener() {
        let error = reserve(&config("nonsense".into())).await.expect_err("no address").to_string();
        assert!(error.contains("nonsense (listen_client)"), "{error}");
        assert!(reserve(&Config::default()).await.expect("no address is fine").is_none());
    }

    #[tokio::test]
    async fn a_reserved_port_refuses_until_it_is_opened() {
        let reserved = reserve(&config("127.0.0.1:0".into())).await.expect("a port").expect("a socket");
        let address = reserved.socket.local_addr().expect("its address");
        let refused = TcpStream::connect(address).await.expect_err("not open yet");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let (opened, _incoming) = reserved.listen().expect("opened");
        assert_eq!(opened, address);
        TcpStream::connect(address).await.expect("open now");
    }
}
