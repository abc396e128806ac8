//! Addresses, sockets, and the loop that accepts.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::accept::{self, Accepted};
use super::intake::{Intake, Serve};
use crate::config::{Config, Tcp};

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

/// A listener that was opened elsewhere: by systemd, or by a parent that outlives its servers.
///
/// A restart of the server refuses no connection then: what comes while there is no server waits in the
/// listener's queue.
#[derive(Debug)]
pub struct InheritedListener(Inherited);

#[derive(Debug)]
enum Inherited {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl From<std::net::TcpListener> for InheritedListener {
    fn from(listener: std::net::TcpListener) -> Self {
        Self(Inherited::Tcp(listener))
    }
}

impl From<std::os::unix::net::UnixListener> for InheritedListener {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Self(Inherited::Unix(listener))
    }
}

pub(crate) enum Listener {
    Tcp(TcpListener, SocketAddr, Origin),
    /// The file first: once the listener is gone, the next server may put its own there.
    Unix(SocketFile, UnixListener),
}

/// Who has opened a listener, and will close it for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Own,
    Inherited,
}

/// The file of a Unix socket. It is removed when the listener is gone, where this server has made it.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// The file that this server has made; an inherited socket's stays where it is.
    made: Option<FileId>,
}

impl SocketFile {
    /// The file of a socket that was bound to `path` a moment ago.
    fn made(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            made: Some(FileId::at(path)?),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The path may name another file by now: that of the next server, which is not ours to remove.
        if let Some(made) = self.made
            && FileId::at(&self.path).is_ok_and(|there| there == made)
        {
            // Another process may remove it at the same moment; then there is nothing to do.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The identity of a file, whatever names it has. The system gives it to no other file while the
/// socket that is bound to it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn at(path: &Path) -> io::Result<Self> {
        std::fs::symlink_metadata(path).map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Who may listen on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// This listener alone.
    Exclusive,
    /// Others as well, of this process and its user (`SO_REUSEPORT`).
    Shared,
}

impl Listener {
    pub(crate) async fn bind(address: &str, config: &Config, port: Port) -> io::Result<Self> {
        let name = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        };

        match address.strip_prefix("unix:") {
            Some(path) => bind_unix(Path::new(path)).await.map_err(name),
            None => bind_tcp(address, config, port).await.map_err(name),
        }
    }

    /// Takes over a listener that others may go on to listen on.
    pub(crate) fn inherit(listener: InheritedListener, config: &Config) -> io::Result<Self> {
        match listener.0 {
            Inherited::Tcp(listener) => {
                check_listens(SockRef::from(&listener))?;
                listener.set_nonblocking(true)?;
                prepare(SockRef::from(&listener), &config.tcp);

                let address = listener.local_addr()?;
                Ok(Self::Tcp(
                    TcpListener::from_std(listener)?,
                    address,
                    Origin::Inherited,
                ))
            }

            Inherited::Unix(listener) => {
                check_listens(SockRef::from(&listener))?;
                listener.set_nonblocking(true)?;

                let path = listener
                    .local_addr()?
                    .as_pathname()
                    .unwrap_or(Path::new(""))
                    .to_owned();
                let file = SocketFile { path, made: None };
                Ok(Self::Unix(file, UnixListener::from_std(listener)?))
            }
        }
    }

    pub(crate) fn address(&self) -> BoundAddress {
        match self {
            Self::Tcp(_, address, _) => BoundAddress::Tcp(*address),
            Self::Unix(file, _) => BoundAddress::Unix(file.path.clone()),
        }
    }

    /// Accepts until it is told to stop; then closes, with no connection left in its queue that would be reset.
    pub(crate) async fn accept_until(
        self,
        stop: CancellationToken,
        intake: Arc<Intake>,
        server: impl Serve,
    ) {
        let accept_all = accept::accept_all(&self, &intake, &server);
        if stop.run_until_cancelled(accept_all).await.is_none()
            && let Err(error) = self.close(&intake, &server)
        {
            tracing::debug!(%error, "connections that waited to be accepted are reset");
        }
    }

    pub(crate) async fn accept(&self, config: &Config) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, ..) => {
                let (stream, peer) = listener.accept().await?;

                // On Linux it has the options of the listener, at no cost.
                if !cfg!(target_os = "linux") {
                    prepare(SockRef::from(&stream), &config.tcp);
                }

                Ok(Accepted::Tcp(stream, peer))
            }
            Self::Unix(_, listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }

    /// Accepts the peers that are connected already, and closes: the system resets those that it still queues when
    /// a listener closes for good, though they may have sent a request by then. The runtime's own listener
    /// may not know of the last ones yet, so it is not asked.
    fn close(self, intake: &Intake, server: &impl Serve) -> io::Result<()> {
        match self {
            // The next server takes these.
            Self::Tcp(_, _, Origin::Inherited) | Self::Unix(SocketFile { made: None, .. }, _) => {
                Ok(())
            }

            Self::Tcp(listener, ..) => {
                let listener = listener.into_std()?;
                until_none(|| {
                    let (stream, peer) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    prepare(SockRef::from(&stream), &intake.config.tcp);

                    let stream = TcpStream::from_std(stream)?;
                    intake.take_in(Accepted::Tcp(stream, peer), server);
                    Ok(())
                })
            }

            Self::Unix(file, listener) => {
                // A peer that connects now is refused, or reaches the next server.
                drop(file);
                let listener = listener.into_std()?;
                until_none(|| {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;

                    intake.take_in(Accepted::Unix(UnixStream::from_std(stream)?), server);
                    Ok(())
                })
            }
        }
    }
}

/// Accepts until no peer waits. More than the queue held are not taken: they come while this goes on.
fn until_none(accept: impl Fn() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..BACKLOG {
        match accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            accepted => accepted?,
        }
    }

    Ok(())
}

async fn bind_tcp(address: &str, config: &Config, port: Port) -> io::Result<Listener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };

        // A restarted server must not wait for the old one's connections to time out.
        socket.set_reuseaddr(true)?;
        if port == Port::Shared {
            socket.set_reuseport(true)?;
        }

        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => {
                let address = listener.local_addr()?;
                prepare(SockRef::from(&listener), &config.tcp);
                return Ok(Listener::Tcp(listener, address, Origin::Own));
            }
            Err(error) => last = error,
        }
    }

    Err(last)
}

async fn bind_unix(path: &Path) -> io::Result<Listener> {
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path).await?;
            UnixListener::bind(path)?
        }
        other => other?,
    };

    Ok(Listener::Unix(SocketFile::made(path)?, bound))
}

/// What is wrong with a path where something else is.
pub(super) const NOT_A_SOCKET: &str =
    "the file exists and is not a socket; remove it, or listen on another path";

/// Removes the socket file that a killed server has left.
///
/// # Errors
/// A file that is not a socket, or that a process may still be listening on.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |message: String| io::Error::new(io::ErrorKind::AddrInUse, message);
    let found = std::fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        return Err(in_use(NOT_A_SOCKET.into()));
    }

    // Only a refusal means that no process listens: a queue that is full has one behind it, and so
    // may a file that this process must not open.
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Ok(_) => return Err(in_use("another process listens there".into())),
        Err(error) => {
            return Err(in_use(format!(
                "another process may listen there: connecting to the socket fails with \"{error}\" instead of \
                 being refused; stop that process, or remove the file if no process uses it"
            )));
        }
    }

    // Another server may have put its own socket there meanwhile.
    if FileId::at(path)? != FileId::of(&found) {
        return Err(in_use("another process has begun to listen there".into()));
    }

    std::fs::remove_file(path)
}

/// Refuses an inherited socket that is a connection, for example, and on which each accept would fail.
fn check_listens(socket: SockRef<'_>) -> io::Result<()> {
    // Other systems do not tell.
    #[cfg(any(target_os = "android", target_os = "freebsd", target_os = "linux"))]
    if !socket.is_listener()? {
        let message = "an inherited socket does not listen: it is a connection, as systemd passes it with \
                       `Accept=yes`, or `listen` was never called on it; set `Accept=no` in the socket unit";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }

    let _ = socket;
    Ok(())
}

/// Replies leave at once, and a peer that has vanished is noticed.
pub(super) fn prepare(socket: SockRef<'_>, tcp: &Tcp) {
    let keepalive = tcp.keepalive();
    let warn = |option, set: io::Result<()>| {
        if let Err(error) = set {
            tracing::warn!(%error, option, "a socket option could not be set");
        }
    };

    warn("TCP_NODELAY", socket.set_tcp_nodelay(true));
    if let Some(probes) = keepalive.probes() {
        let options = TcpKeepalive::new()
            .with_time(probes.idle)
            .with_interval(probes.interval)
            .with_retries(probes.count);
        warn("SO_KEEPALIVE", socket.set_tcp_keepalive(&options));
    }

    // A connection begins as a busy one; `Watched` changes that where it lasts.
    #[cfg(target_os = "linux")]
    if let Some(limit) = keepalive.user_timeout() {
        warn("TCP_USER_TIMEOUT", socket.set_tcp_user_timeout(Some(limit)));
    }
}
