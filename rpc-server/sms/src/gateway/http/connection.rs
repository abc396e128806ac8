//! Connections to a gateway: opened, kept for a moment, used for one request at a time.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::mapping::{Address, MappingError, authorities};

/// How long a connection that is not used is kept. Servers keep theirs for longer: if one closes it at the moment at which a
/// request is written, the outcome of that request is unknown.
const IDLE: Duration = Duration::from_secs(2);

/// Maximum number of connections that are kept.
const KEPT_MAX: usize = 256;

/// Longest head of an answer in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Largest buffer of a connection in bytes.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// A request whose body is in memory.
pub(super) type HttpRequest = Request<Full<Bytes>>;

/// A connection that takes one request at a time.
pub(super) type Sender = SendRequest<Full<Bytes>>;

/// The connections to one address.
pub(super) struct Connections {
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    /// Locked for as long as it takes to add or remove one.
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    sender: Sender,
    since: Instant,
}

impl Connections {
    /// # Errors
    /// The CA certificates cannot be read.
    pub(super) fn new(address: Address, ca_file: &str) -> Result<Self, MappingError> {
        let tls = address.is_tls.then(|| tls_config(ca_file)).transpose()?;
        Ok(Self {
            address,
            tls,
            kept: Mutex::new(Vec::new()),
        })
    }

    /// A connection that was kept, if one is still open.
    pub(super) async fn take_kept(&self, deadline: Instant) -> Option<Sender> {
        loop {
            let Kept { mut sender, since } = self.kept().pop()?;

            // Its task may still be at the end of the answer before; it fails where the server has closed it.
            let is_young = since.elapsed() < IDLE;
            if is_young && matches!(timeout_at(deadline, sender.ready()).await, Ok(Ok(()))) {
                return Some(sender);
            }
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn keep(&self, sender: Sender) {
        let mut kept = self.kept();
        kept.retain(|kept| kept.since.elapsed() < IDLE && !kept.sender.is_closed());
        if kept.len() < KEPT_MAX {
            kept.push(Kept {
                sender,
                since: Instant::now(),
            });
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().expect("no holder panics")
    }

    /// Opens a connection.
    pub(super) async fn open(&self) -> Result<Sender, String> {
        let (host, port) = (self.address.host.as_str(), self.address.port);
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|error| format!("cannot connect: {}", error.kind()))?;
        // A request is written at once; to wait for more of it would only delay it.
        let _ = stream.set_nodelay(true);

        let Some(tls) = &self.tls else {
            return handshake(TokioIo::new(stream)).await;
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| "a certificate cannot name this host".to_owned())?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
            .map_err(|error| format!("TLS failed: {error}"))?;
        handshake(TokioIo::new(stream)).await
    }
}

async fn handshake<IO>(io: IO) -> Result<Sender, String>
where
    IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .handshake(io)
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;

    // It ends with its sender. What fails is told to the request.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

fn tls_config(ca_file: &str) -> Result<Arc<ClientConfig>, MappingError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| MappingError::new(error.to_string()))?
        .with_root_certificates(authorities(ca_file)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
