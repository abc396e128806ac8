//! TLS of a client: whom it trusts, what it shows, and why a handshake failed.
//!
//! TLS 1.3 and 1.2 by rustls with ring. Files are read when a connection is opened, and again once they have
//! changed, so that a renewed certificate is used from the next connection on.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, PeerIncompatible, RootCertStore,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::TlsConfig;

/// What the client names in its hello (ALPN, RFC 7301).
const ALPN: &[u8] = b"ndjson-rpc/1";

/// Longest file of certificates or of a key, in bytes: a bundle of all public authorities has a fifth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What was read from the files, for as long as they stay as they are.
#[derive(Default)]
pub(crate) struct Loaded(Mutex<Option<(Stamps, Arc<ClientConfig>)>>);

/// How the files looked when they were read. One that is replaced differs in its time, as a rule also in its
/// length.
type Stamps = Vec<Option<(SystemTime, u64)>>;

impl Loaded {
    /// Makes TLS of a connection to `address`, HOST:PORT.
    ///
    /// # Errors
    /// A file and what is wrong with it, or why either side refuses the other.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        address: &str,
        config: &TlsConfig,
    ) -> io::Result<TlsByteStream> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        // The zone of an address is this machine's word, and stands in no certificate.
        let host = host.split_once('%').map_or(host, |(address, _)| address);

        let name = config.server_name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned()).map_err(|_| {
            invalid(format!(
                "`{name}` is no name that a certificate can have; set `server_name`"
            ))
        })?;

        let connector = TlsConnector::from(self.config(config)?);
        let stream = connector.connect(server, stream).await.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => io::Error::new(
                error.kind(),
                "the server ended the connection in the TLS handshake: perhaps it has no TLS on this port",
            ),
            _ => in_words(error, config.ca_file.as_deref()),
        })?;

        Ok(TlsByteStream(stream))
    }

    fn config(&self, config: &TlsConfig) -> io::Result<Arc<ClientConfig>> {
        let files = [&config.ca_file, &config.certificate_file, &config.key_file];
        let stamps: Stamps = files.iter().map(|file| stamp(file.as_deref())).collect();

        // Single steps only stand under this lock, and no I/O: two that read at once read the same.
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, loaded)) = &*lock()
            && *known == stamps
        {
            return Ok(Arc::clone(loaded));
        }

        let loaded = Arc::new(load(config)?);
        *lock() = Some((stamps, Arc::clone(&loaded)));
        Ok(loaded)
    }
}

fn stamp(file: Option<&Path>) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(file?).ok()?;
    Some((about.modified().ok()?, about.len()))
}

fn load(config: &TlsConfig) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca_file {
        for certificate in certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| wrong(file, &error))?;
        }
    } else {
        // What cannot be read of a system's store is no reason to trust nobody.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(invalid(
                "this system has no certificates of authorities; set `ca_file`".into(),
            ));
        }
    }

    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| invalid(error.to_string()))?
        .with_root_certificates(roots);

    let mut loaded = match (&config.certificate_file, &config.key_file) {
        (Some(certificate), Some(key_file)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
                .map_err(|error| wrong(key_file, &error))?;
            let with_key = builder.with_client_auth_cert(certificates(certificate)?, key);
            with_key.map_err(|error| wrong(key_file, &error))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => {
            return Err(invalid(
                "`certificate_file` and `key_file` belong together; one is missing".into(),
            ));
        }
    };

    loaded.alpn_protocols = vec![ALPN.to_vec()];
    Ok(loaded)
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| wrong(file, &error))?;

    if certificates.is_empty() {
        return Err(wrong(
            file,
            &"has no certificate in PEM (`-----BEGIN CERTIFICATE-----`)",
        ));
    }

    Ok(certificates)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let about = std::fs::metadata(file).map_err(|error| wrong(file, &error))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(wrong(
            file,
            &format!("is longer than {FILE_BYTES_MAX} bytes"),
        ));
    }

    std::fs::read(file).map_err(|error| wrong(file, &error))
}

fn wrong(file: &Path, what: &dyn std::fmt::Display) -> io::Error {
    invalid(format!("{}: {what}", file.display()))
}

/// Not of the kind `InvalidInput`: the address is not what is wrong.
fn invalid(message: String) -> io::Error {
    io::Error::other(message)
}

/// A TCP connection under TLS, whose errors say what they mean.
pub(crate) struct TlsByteStream(TlsStream<TcpStream>);

impl AsyncRead for TlsByteStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0)
            .poll_read(cx, buf)
            .map(|read| match read {
                // The end without a goodbye: a line is whole or it is not, so nothing is cut short unnoticed.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
                // With TLS 1.3 a client learns here that its certificate was refused.
                read => read.map_err(|error| in_words(error, None)),
            })
    }
}

impl AsyncWrite for TlsByteStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0)
            .poll_write(cx, buf)
            .map_err(|error| in_words(error, None))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0)
            .poll_flush(cx)
            .map_err(|error| in_words(error, None))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The error with rustls' words replaced by those of an operator. `ca_file`: whom the client trusts.
fn in_words(error: io::Error, ca_file: Option<&Path>) -> io::Error {
    let Some(inner) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    else {
        return error;
    };

    // The connection tells by the kind that nothing was run.
    let is_refused = matches!(inner, Error::AlertReceived(alert) if is_of_certificate(*alert));
    let kind = if is_refused {
        io::ErrorKind::PermissionDenied
    } else {
        error.kind()
    };

    io::Error::new(kind, words(inner, ca_file))
}

fn words(error: &Error, ca_file: Option<&Path>) -> String {
    let words = match error {
        Error::InvalidMessage(_) => "the server answers in plain bytes: it has no TLS on this port",
        Error::InvalidCertificate(error) => return of_certificate(error, ca_file),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )
        | Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server has only TLS versions older than 1.2"
        }
        Error::AlertReceived(alert) => return of_alert(*alert),
        other => return format!("TLS: {other}"),
    };

    words.into()
}

fn of_certificate(error: &CertificateError, ca_file: Option<&Path>) -> String {
    match error {
        CertificateError::UnknownIssuer => match ca_file {
            Some(file) => {
                format!(
                    "the server's certificate is not from an authority in {}",
                    file.display()
                )
            }
            None => {
                "the server's certificate is not from an authority that this system knows".into()
            }
        },
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "the server's certificate is not for `{}`, but for {}; is the address right? if so, set `server_name`",
            expected.to_str(),
            if presented.is_empty() {
                "no name".into()
            } else {
                presented.join(", ")
            },
        ),
        CertificateError::NotValidForName => "the server's certificate is for another name".into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet; is this machine's clock right?".into()
        }
        other => format!("the server's certificate is refused: {other}"),
    }
}

fn is_of_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied
    )
}

/// What the server says of this client.
fn of_alert(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::CertificateRequired => {
            "the server requires a client certificate; set `certificate_file` and `key_file`"
        }
        AlertDescription::UnknownCA => {
            "the server does not know the authority of this client's certificate"
        }
        AlertDescription::CertificateExpired => {
            "the server says that this client's certificate has expired, or is not valid yet"
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => "the server refuses this client's certificate",
        AlertDescription::NoApplicationProtocol => {
            "the server speaks another protocol on this port (ALPN)"
        }
        other => return format!("the server ended the connection with the TLS alert {other:?}"),
    };

    words.into()
}
