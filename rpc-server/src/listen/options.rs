//! Options of a listener: what it asks of the peers that connect to it.

use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::listener::{BoundAddress, NOT_A_SOCKET};
use crate::access::Policy;
#[cfg(feature = "tls")]
use crate::tls::ServerTls;

/// An address to listen on, and what is asked of those who connect there, for
/// [`ServerBuilder::listen_with`](crate::ServerBuilder::listen_with).
///
/// ```
/// use rpc_server::{ListenOptions, Server};
///
/// // For strangers: they must speak soon, and see no pages about the server.
/// let public = ListenOptions::new("0.0.0.0:8889")
///     .require_authentication(true)
///     .admin_pages(false)
///     .first_frame_timeout_ms(10_000);
/// let builder = Server::builder().listen("127.0.0.1:8890").listen_with(public);
/// # let _ = builder;
/// ```
#[derive(Debug, Clone)]
pub struct ListenOptions {
    pub(crate) address: String,
    pub(crate) policy: Policy,
}

impl ListenOptions {
    /// The address, as [`ServerBuilder::listen`](crate::ServerBuilder::listen) takes it.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            policy: Policy::default(),
        }
    }

    /// Whether a connection has to authenticate before it may call anything but `ping`: until then every
    /// other command is answered with code 16. Default: false.
    #[must_use]
    pub fn require_authentication(mut self, is_required: bool) -> Self {
        self.policy.requires_authentication = is_required;
        self
    }

    /// Whether a `GET` is answered with the pages about the server. Default: true.
    #[must_use]
    pub fn admin_pages(mut self, are_on: bool) -> Self {
        self.policy.hides_admin_pages = !are_on;
        self
    }

    /// Whether HTTP requests make calls: a `POST` of JSON to `/SERVICE.METHOD` or `/CMDID`. Default: false, and a
    /// request that is not for a page is refused.
    ///
    /// Grants, limits and logs are those of the service. A request counts as one of a web page where it has an
    /// `Origin`, and is refused unless that is its own or one of [`http_origins`](Self::http_origins).
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http_calls(mut self, are_on: bool) -> Self {
        self.policy.http_calls = are_on;
        self
    }

    /// Names by which HTTP requests may call, without port, beside addresses and `localhost`: a request whose `Host`
    /// is another name is refused, so that a web page that has its own name point here (DNS rebinding) calls
    /// nothing. Default: none.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.policy.http_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Origins whose web pages may call over HTTP, `https://app.example` or `http://localhost:3000`, beside the
    /// pages of this address itself. Default: none.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http_origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.policy.http_origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// How long a connection may stay silent before its first frame, in milliseconds, instead of the server's own
    /// limit; 0 for ever.
    #[must_use]
    pub fn first_frame_timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.policy.first_frame_timeout_ms = Some(timeout_ms);
        self
    }

    /// Encrypts its connections, and knows clients by their certificates where that is set. Default: bytes as
    /// they are.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.policy.tls = Some(tls);
        self
    }

    /// Checks what binding would refuse, without binding: the form of the address, whether its name can
    /// be resolved, whether the directory of a Unix socket exists, whether other machines reach it
    /// unprotected.
    ///
    /// It blocks while the name is looked up.
    ///
    /// # Errors
    /// The address, and what would be right.
    pub fn check(&self) -> Result<(), ListenError> {
        self.policy.check_http()?;
        let address = &self.address;
        if let Some(path) = address.strip_prefix("unix:") {
            return check_unix(Path::new(path));
        }

        let found = address
            .to_socket_addrs()
            .map_err(|source| ListenError::Address {
                address: address.clone(),
                source,
            })?;
        for found in found {
            self.policy.check(&BoundAddress::Tcp(found))?;
        }

        Ok(())
    }

    /// Whether others than this machine may connect though nothing is encrypted and peers do not have to authenticate.
    /// Default: false, and binding such an address fails.
    #[must_use]
    pub fn allow_plaintext(mut self, is_allowed: bool) -> Self {
        self.policy.allows_plaintext = is_allowed;
        self
    }
}

impl Policy {
    /// Warns of what an operator should not overlook.
    pub(crate) fn warn_if_exposed(&self, address: &BoundAddress) {
        if is_local(address) || self.has_tls() {
            return;
        }

        if self.requires_authentication {
            tracing::warn!(%address, "NOT ENCRYPTED: anyone on the network path can read every call and every token");
        } else {
            tracing::warn!(%address, "NOT PROTECTED: anyone who reaches this address may call every command, and anyone on the network path can read the calls");
        }
    }

    /// Says no where others than this machine reach `address`, and nothing protects it.
    ///
    /// # Errors
    /// The address, and the ways to make it right.
    pub(crate) fn check(&self, address: &BoundAddress) -> Result<(), ListenError> {
        self.check_http()?;
        if self.allows_plaintext
            || self.requires_authentication
            || self.has_tls()
            || is_local(address)
        {
            return Ok(());
        }

        Err(ListenError::Exposed {
            address: address.clone(),
        })
    }
}

impl Policy {
    /// Checks the names and the origins of HTTP calls.
    fn check_http(&self) -> Result<(), ListenError> {
        let is_host = |host: &String| !host.is_empty() && !host.contains([':', '/', '*', ' ']);
        if let Some(value) = self.http_hosts.iter().find(|host| !is_host(host)) {
            return Err(ListenError::HttpHost {
                value: value.clone(),
            });
        }

        let is_origin = |origin: &String| {
            let host = origin
                .split_once("://")
                .filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
            host.is_some_and(|(_, host)| !host.is_empty() && !host.contains(['/', '*', ' ', '@']))
        };
        match self.http_origins.iter().find(|origin| !is_origin(origin)) {
            Some(value) => Err(ListenError::HttpOrigin {
                value: value.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// Checks that a socket can be put at a path.
fn check_unix(path: &Path) -> Result<(), ListenError> {
    std::os::unix::net::SocketAddr::from_pathname(path).map_err(|source| ListenError::Path {
        path: path.to_owned(),
        source,
    })?;

    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(ListenError::NoDirectory {
            path: path.to_owned(),
            directory: directory.to_owned(),
        });
    }

    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(ListenError::NotASocket {
            path: path.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// What would keep an address from being bound.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The address is not HOST:PORT, or the name of its host cannot be resolved.
    Address {
        /// The address as it was written.
        address: String,
        /// Why it cannot be used.
        source: io::Error,
    },
    /// The path of a Unix socket cannot be the name of one: it is too long, for example.
    Path {
        /// The path.
        path: PathBuf,
        /// Why it cannot be used.
        source: io::Error,
    },
    /// The directory of a Unix socket does not exist.
    NoDirectory {
        /// The path of the socket.
        path: PathBuf,
        /// The directory.
        directory: PathBuf,
    },
    /// There is a file at the path of a Unix socket, which is not a socket.
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Other machines reach the address, and neither TLS nor authentication protects it.
    Exposed {
        /// The address.
        address: BoundAddress,
    },
    /// One of the names by which HTTP requests may call is not a name.
    HttpHost {
        /// What it is.
        value: String,
    },
    /// One of the origins whose pages may call is not an origin.
    HttpOrigin {
        /// What it is.
        value: String,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, source } => {
                write!(
                    f,
                    "{address}: {source}; write HOST:PORT, for example \"127.0.0.1:8889\""
                )
            }
            Self::Path { path, source } => write!(f, "unix:{}: {source}", path.display()),
            Self::NoDirectory { path, directory } => write!(
                f,
                "unix:{}: {} is not a directory that exists; create it, or name another path",
                path.display(),
                directory.display()
            ),
            Self::NotASocket { path } => write!(f, "unix:{}: {NOT_A_SOCKET}", path.display()),
            Self::Exposed { address } => write!(
                f,
                "other machines can reach {address}, which has neither TLS nor authentication; set up TLS or \
                 authentication, listen on 127.0.0.1 or a Unix socket, or set `allow_plaintext = true` if you trust \
                 the network"
            ),
            Self::HttpHost { value } => write!(
                f,
                "`http_hosts`: \"{value}\" must be a name without scheme, port and path, for example \"rpc.example\""
            ),
            Self::HttpOrigin { value } => write!(
                f,
                "`http_origins`: \"{value}\" must be a scheme and a host without path, for example \"https://app.example\" or \
                 \"http://localhost:3000\""
            ),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address { source, .. } | Self::Path { source, .. } => Some(source),
            Self::NoDirectory { .. }
            | Self::NotASocket { .. }
            | Self::Exposed { .. }
            | Self::HttpHost { .. }
            | Self::HttpOrigin { .. } => None,
        }
    }
}

/// Whether only this machine reaches the address.
pub(crate) fn is_local(address: &BoundAddress) -> bool {
    match address {
        BoundAddress::Unix(_) => true,
        BoundAddress::Tcp(address) => match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => {
                ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
            }
        },
    }
}

#[cfg(test)]
mod tests;
