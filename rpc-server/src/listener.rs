//! Addresses, sockets, and the loop that accepts.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rpc_core::Status;
use rpc_core::frame::encode_failure;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::config::Config;
use crate::metrics::add;
use crate::server::{ACCEPT_PAUSE, ServerHandle, Shared};

/// Connections that the system queues before they are accepted; the system may hold it to less
/// (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// An address that a server is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BoundAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl BoundAddress {
    /// The TCP address, where it is one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// As clients take it: `"127.0.0.1:8889"` or `"unix:/run/rpc.sock"`.
impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

pub(crate) enum Listener {
    Tcp(TcpListener, SocketAddr),
    /// The file first: once the listener is gone, the next server may put its own there.
    Unix(SocketFile, UnixListener),
}

/// Takes the socket's file away when the listener is gone.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it; then there is nothing to do.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// `is_shared`: others may listen on the same port.
    pub(crate) async fn bind(address: &str, config: &Config, is_shared: bool) -> io::Result<Self> {
        let name =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
        match address.strip_prefix("unix:") {
            Some(path) => bind_unix(Path::new(path)).await.map_err(name),
            None => bind_tcp(address, config, is_shared).await.map_err(name),
        }
    }

    pub(crate) fn address(&self) -> BoundAddress {
        match self {
            Self::Tcp(_, address) => BoundAddress::Tcp(*address),
            Self::Unix(file, _) => BoundAddress::Unix(file.0.clone()),
        }
    }

    /// Accepts until it is dropped.
    pub(crate) async fn accept_all(self, shared: Arc<Shared>, server: ServerHandle) {
        loop {
            let accepted = match &self {
                Self::Tcp(listener, _) => listener.accept().await.map(|(stream, peer)| {
                    // On Linux it has the options of the listener, at no cost.
                    if !cfg!(target_os = "linux") {
                        prepare(SockRef::from(&stream), &shared.config);
                    }
                    admit(stream, &peer.to_string(), &shared, &server);
                }),
                Self::Unix(_, listener) => listener.accept().await.map(|(stream, _)| {
                    admit(stream, "unix", &shared, &server);
                }),
            };
            if let Err(error) = accepted {
                // A connection that was reset before it was accepted, or no descriptors left: the
                // next ones may fare better.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit<IO>(mut io: IO, peer: &str, shared: &Shared, server: &ServerHandle)
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    add(&shared.metrics.connections_accepted, 1);
    let limit = shared.config.connections_max;
    if server.connections() < limit {
        server.spawn_connection(io, peer);
        return;
    }
    add(&shared.metrics.connections_refused, 1);
    tracing::warn!(%peer, limit, "refused: `connections_max` connections are open");
    let status = Status::resource_exhausted(format!("the limit `connections_max` of {limit} is reached"));
    let mut line = Vec::new();
    encode_failure(&mut line, None, &status.with_rejected().with_retry_after(Duration::from_secs(1)));
    let linger = shared.config.linger_timeout();
    tokio::spawn(async move {
        let tell = async {
            io.write_all(&line).await?;
            io.shutdown().await?;
            // A socket that is closed with its peer's first request unread resets, and may take the
            // line back that says why.
            tokio::io::copy(&mut io, &mut tokio::io::sink()).await
        };
        // A peer that is gone need not be told.
        let _ = tokio::time::timeout(linger, tell).await;
    });
}

async fn bind_tcp(address: &str, config: &Config, is_shared: bool) -> io::Result<Listener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted server must not wait for the old one's connections to time out.
        socket.set_reuseaddr(true)?;
        if is_shared {
            socket.set_reuseport(true)?;
        }
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => {
                let address = listener.local_addr()?;
                prepare(SockRef::from(&listener), config);
                return Ok(Listener::Tcp(listener, address));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn bind_unix(path: &Path) -> io::Result<Listener> {
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // A socket file that nobody answers on is what a killed server left. Anything else is not ours.
            if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::new(error.kind(), "the file is there and is no socket"));
            }
            if tokio::net::UnixStream::connect(path).await.is_ok() {
                return Err(io::Error::new(error.kind(), "another process listens there"));
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    Ok(Listener::Unix(SocketFile(path.to_owned()), bound))
}

/// Replies leave at once, and a peer that has vanished is noticed.
fn prepare(socket: SockRef<'_>, config: &Config) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_millis(config.keepalive_idle_ms))
        .with_interval(Duration::from_millis(config.keepalive_interval_ms))
        .with_retries(config.keepalive_probes);
    let set = || -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        if config.keepalive_idle_ms > 0 {
            socket.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(target_os = "linux")]
        if config.tcp_user_timeout_ms > 0 {
            socket.set_tcp_user_timeout(Some(Duration::from_millis(config.tcp_user_timeout_ms)))?;
        }
        Ok(())
    };
    if let Err(error) = set() {
        tracing::debug!(%error, "a socket option could not be set");
    }
}
