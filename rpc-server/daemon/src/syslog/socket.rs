//! Sockets of the listeners.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::SockRef;
use tokio::net::{TcpListener, UdpSocket, UnixDatagram, lookup_host};

use super::{Address, SyslogSettings};

/// Bytes of datagrams that the system is asked to keep until they are read. It may give less (`net.core.rmem_max`).
const RECEIVE_BYTES: usize = 4 << 20;

/// Permissions of the file of a Unix socket: every program of the machine may send, as to /dev/log.
const SOCKET_MODE: u32 = 0o666;

/// A socket that is bound.
pub(super) enum Bound {
    Udp(UdpSocket),
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl Bound {
    /// Its address, as the settings write it.
    pub(super) fn name(&self) -> String {
        let local = |address: io::Result<SocketAddr>| {
            address.map_or_else(|_| "?".into(), |address| address.to_string())
        };
        match self {
            Self::Udp(socket) => format!("udp:{}", local(socket.local_addr())),
            Self::Tcp(listener) => format!("tcp:{}", local(listener.local_addr())),
            Self::Unix(socket) => format!("unix:{}", socket.file.path.display()),
        }
    }
}

/// A Unix socket and its file.
pub(super) struct UnixSocket {
    pub(super) socket: UnixDatagram,
    pub(super) file: SocketFile,
}

/// The file of a Unix socket, which is removed with it.
pub(super) struct SocketFile {
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The next one removes what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// Binds an address of the settings.
pub(super) async fn bind(text: &str, settings: &SyslogSettings) -> io::Result<Bound> {
    match Address::parse(text).map_err(io::Error::other)? {
        Address::Udp(place) => {
            let socket = UdpSocket::bind(&*allowed(&place, settings).await?).await?;
            // Less than that loses datagrams sooner.
            let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BYTES);
            Ok(Bound::Udp(socket))
        }
        Address::Tcp(place) => {
            let listener = TcpListener::bind(&*allowed(&place, settings).await?).await?;
            Ok(Bound::Tcp(listener))
        }
        Address::Unix(path) => {
            let socket = match UnixDatagram::bind(&path) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    remove_stale(&path)?;
                    UnixDatagram::bind(&path)?
                }
                bound => bound?,
            };
            let file = SocketFile { path };
            fs::set_permissions(&file.path, fs::Permissions::from_mode(SOCKET_MODE))?;
            Ok(Bound::Unix(UnixSocket { socket, file }))
        }
    }
}

/// The addresses of a host with a port, if messages may come there.
async fn allowed(place: &str, settings: &SyslogSettings) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = lookup_host(place).await?.collect();
    let is_reached = found.iter().any(|address| !address.ip().is_loopback());
    if is_reached && !settings.allow_plaintext {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "other machines reach it, and syslog has neither encryption nor authentication; listen on 127.0.0.1, or set \
             `syslog.allow_plaintext`",
        ));
    }
    Ok(found)
}

/// Removes the file of a socket that no process listens on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |message| Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_use("the file exists and is not a socket; remove it, or listen on another path");
    }

    let probe = std::os::unix::net::UnixDatagram::unbound()?;
    match probe.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => in_use(
            "another process listens there, or may do so; stop it, or listen on another path",
        ),
    }
}
