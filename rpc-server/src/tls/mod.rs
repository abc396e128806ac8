//! TLS: certificates that may change while the server serves.
//!
//! TLS 1.3 and 1.2, nothing older, by rustls with ring: it needs a C compiler and no other tool, and builds in
//! seconds, where aws-lc-rs, rustls' default, builds a whole library. Sessions are resumed by tickets that the server
//! can read until its certificates are loaded again, and keeps nothing of: a connection for one call then costs no
//! signature. The client's certificate is in its ticket, and is looked at each time.

pub(crate) mod certificate;
mod files;
pub(crate) mod refusal;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};

use crate::config::ClientCertificates;

/// What a client that knows this protocol names in its hello (ALPN, RFC 7301). One that names nothing is
/// served too.
pub const ALPN: &[u8] = b"ndjson-rpc/1";

/// What a browser or `curl` names to see the pages about the server.
const ALPN_HTTP: &[u8] = b"http/1.1";

/// How long before its end a certificate is worth a warning.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Where a listener's certificates are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead from it to an authority.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1. It must not be readable for everybody.
    pub key: PathBuf,
    /// Certificates of the authorities whose clients are known; none without client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether a client shows a certificate.
    pub client_certificates: ClientCertificates,
}

/// TLS of a listener, for [`ListenOptions::tls`](crate::ListenOptions::tls). A clone shares its certificates
/// with the original: [`reload`](Self::reload) counts for all.
///
/// # Identity
/// A client's certificate identifies the client: by the first URI among its alternative names (a SPIFFE ID,
/// for example), else by the first DNS name there, else by its common name.
///
/// ```no_run
/// use rpc_server::{ClientCertificates, ListenOptions, Server, ServerTls, TlsFiles};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = ServerTls::load(TlsFiles {
///     certificate: "server.pem".into(),
///     key: "server.key".into(),
///     client_ca: None,
///     client_certificates: ClientCertificates::Off,
/// })?;
/// let builder = Server::builder().listen_with(ListenOptions::new("0.0.0.0:8889").tls(tls));
/// # let _ = builder;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    current: RwLock<Current>,
}

/// What is read from the files, all of it at once.
struct Current {
    /// What is served without HTTP, and beside it.
    of_lines: Arc<rustls::ServerConfig>,
    with_http: Arc<rustls::ServerConfig>,
    chain: Vec<Vec<u8>>,
    expires: SystemTime,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// The file, what is wrong with it, and what would be right: unreadable, no PEM, a key that everybody
    /// may read or that is not the certificate's. An expired certificate is warned of, and served.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = Current::read(&files)?;
        current.warn_if_old(&files);
        Ok(Self(Arc::new(Inner {
            files,
            current: RwLock::new(current),
        })))
    }

    /// Reads the files again: connections that come after it are served with what is there now, open ones
    /// stay as they are. Returns whether the certificate is another one.
    ///
    /// # Errors
    /// As [`load`](Self::load); what was loaded before stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let next = Current::read(&self.0.files)?;
        next.warn_if_old(&self.0.files);

        let mut current = self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);

        let is_other = next.chain != current.chain;
        *current = next;
        Ok(is_other)
    }

    /// When the server's certificate expires.
    pub fn expires(&self) -> SystemTime {
        self.current().expires
    }

    /// Where its certificates come from.
    pub fn files(&self) -> &TlsFiles {
        &self.0.files
    }

    /// Whether both are clones of one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn requires_certificate(&self) -> bool {
        self.0.files.client_certificates == ClientCertificates::Required
    }

    /// For a listener that takes lines alone.
    pub(crate) fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.current().of_lines)
    }

    /// For one that takes HTTP as well.
    pub(crate) fn config_with_http(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.current().with_http)
    }

    fn current(&self) -> RwLockReadGuard<'_, Current> {
        self.0
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("files", &self.0.files)
            .finish_non_exhaustive()
    }
}

impl Current {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = files::certificates(&files.certificate)?;
        let key = files::key(&files.key)?;

        let wrong = |error| TlsError::caused(&files.certificate, error);
        let validity = certificate::validity(&chain[0])
            .map_err(|error| TlsError::caused(&files.certificate, error))?;
        let ders = chain.iter().map(|der| der.to_vec()).collect();

        let provider = Arc::new(default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(wrong)?;
        let builder = match client_verifier(files, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };

        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    let certificate = files.certificate.display();
                    TlsError::new(
                        &files.key,
                        format!("is not the key of the certificate in {certificate}"),
                    )
                }
                error => wrong(error),
            })?;

        // The strongest first, whatever an old client would rather have.
        config.ignore_client_order = true;
        // Tickets are enough: sessions that the server keeps would be memory that peers cause.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new().map_err(wrong)?;
        config.send_tls13_tickets = 1;
        config.alpn_protocols = vec![ALPN.to_vec()];

        let of_lines = Arc::new(config.clone());
        config.alpn_protocols.push(ALPN_HTTP.to_vec());

        Ok(Self {
            of_lines,
            with_http: Arc::new(config),
            chain: ders,
            expires: validity.until,
        })
    }

    fn warn_if_old(&self, files: &TlsFiles) {
        let file = files.certificate.display();
        let until = self
            .expires
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();

        match self.expires.duration_since(SystemTime::now()) {
            Err(_) => tracing::error!(
                %file,
                expired_unix_seconds = until,
                "THE CERTIFICATE HAS EXPIRED: clients refuse this server until it is renewed"
            ),
            Ok(left) if left < EXPIRES_SOON => {
                let days = left.as_secs() / 86_400;
                tracing::warn!(%file, days, "the certificate expires soon");
            }
            Ok(_) => {}
        }
    }
}

fn client_verifier(
    files: &TlsFiles,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if files.client_certificates == ClientCertificates::Off {
        return Ok(None);
    }

    let Some(file) = &files.client_ca else {
        let message =
            "client certificates need `client_ca_file`, the authorities that they come from";
        return Err(TlsError {
            file: None,
            message: message.into(),
            source: None,
        });
    };

    let mut roots = RootCertStore::empty();
    for certificate in files::certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::caused(file, error))?;
    }

    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match files.client_certificates {
        ClientCertificates::Required => builder,
        ClientCertificates::Optional | ClientCertificates::Off => builder.allow_unauthenticated(),
    };

    builder
        .build()
        .map(Some)
        .map_err(|error| TlsError::caused(file, error))
}

/// Why certificates cannot be used; one line for an operator.
///
/// Its [`source`](std::error::Error::source) is the error of the system, of rustls or of the reader of the
/// file, where there is one.
#[derive(Debug, Clone)]
pub struct TlsError {
    file: Option<PathBuf>,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl TlsError {
    fn new(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: Some(file.to_owned()),
            message: message.into(),
            source: None,
        }
    }

    fn caused(file: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(error)),
            ..Self::new(file, "")
        }
    }

    /// The file that is wrong; `None` if a file is missing from the settings.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }

        match &self.source {
            Some(error) => error.fmt(f),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
