//! Dialing: TCP connections to an address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Opens a connection to HOST:PORT: to the first address of the host that accepts one.
///
/// # Errors
/// The host cannot be resolved, or the failure of its last address.
pub(super) async fn dial(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        format!("`{address}` has no addresses"),
    );
    for address in tokio::net::lookup_host(address).await? {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }

    Err(last)
}

/// A connection to one address, whose requests leave at once.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    refuse_own_end(&stream, address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Refuses a connection whose two ends are the same socket.
///
/// A local address without a listener can be connected to itself (simultaneous open), where the system
/// happens to choose the very port that is called as the local one. There is no server at its other end.
fn refuse_own_end(stream: &TcpStream, address: SocketAddr) -> io::Result<()> {
    let ours = stream.local_addr()?;
    if ours.port() != address.port() {
        return Ok(());
    }

    // Asked of the system, since a call of 0.0.0.0 reaches 127.0.0.1. A peer that has gone by now is another socket.
    let is_own_end = stream
        .peer_addr()
        .is_ok_and(|peer| (peer.ip(), peer.port()) == (ours.ip(), ours.port()));
    if !is_own_end {
        return Ok(());
    }

    // Reset, so that the port is free at once: in TIME_WAIT it would keep the server from binding it for a minute.
    SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    Err(io::Error::new(
        io::ErrorKind::ConnectionRefused,
        format!(
            "connection refused: {ours} was connected to itself, so no server listens there; start it, and \
             reserve its port (`net.ipv4.ip_local_reserved_ports`)"
        ),
    ))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A socket that is bound to this port, 0 for a free one, of a loopback address that no other test uses.
    fn bound(last_byte: u8, port: u16) -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let address = SocketAddr::from((Ipv4Addr::new(127, 83, 1, last_byte), port));
        socket.bind(&address.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    fn into_stream(socket: Socket) -> TcpStream {
        socket.set_nonblocking(true).unwrap();
        TcpStream::from_std(socket.into()).unwrap()
    }

    #[tokio::test]
    async fn a_connection_to_itself_is_refused_and_leaves_the_port_to_the_server() {
        let (socket, address) = bound(1, 0);
        socket.connect(&address.into()).unwrap();
        let stream = into_stream(socket);

        let error = refuse_own_end(&stream, address).unwrap_err();
        drop(stream);

        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(
            error
                .to_string()
                .contains(&format!("{address} was connected to itself")),
            "{error}"
        );
        // In TIME_WAIT this would fail.
        TcpListener::bind(address).unwrap();
    }

    #[tokio::test]
    async fn a_peer_with_the_same_port_on_another_address_is_a_server() {
        let (server, address) = bound(2, 0);
        server.listen(1).unwrap();
        let (socket, _) = bound(3, address.port());
        socket.connect(&address.into()).unwrap();

        refuse_own_end(&into_stream(socket), address).unwrap();
    }
}
