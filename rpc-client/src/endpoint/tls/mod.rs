//! TLS of a client: whom it trusts, what it shows, and why a handshake failed.
//!
//! TLS 1.3 and 1.2 by rustls with ring. Files are read when a connection is opened, and again once they have
//! changed, so that a renewed certificate is used from the next connection on.

mod refusal;

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::refusal::{in_words, of_own, of_pem};
use crate::config::TlsConfig;
use crate::endpoint::watched::Watched;

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
        stream: Watched,
        address: &str,
        config: &TlsConfig,
    ) -> io::Result<TlsByteStream> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        // The zone of an address is this machine's word, and certificates do not contain it.
        let host = host.split_once('%').map_or(host, |(address, _)| address);

        let name = config.server_name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned()).map_err(|_| {
            invalid(format!(
                "`{name}` is not a name that a certificate can have; set `server_name`"
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
                .map_err(|error| wrong(file, &of_own(&error)))?;
        }
    } else {
        // What cannot be read of a system's store is no reason to trust none of it.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(invalid(
                "no CA certificates were found on this system; set `ca_file`".into(),
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
                .map_err(|error| wrong(key_file, &of_pem(&error, "PRIVATE KEY")))?;
            let with_key = builder.with_client_auth_cert(certificates(certificate)?, key);
            with_key.map_err(|error| wrong(key_file, &of_own(&error)))?
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
    let certificates = certificates.map_err(|error| wrong(file, &of_pem(&error, "CERTIFICATE")))?;

    if certificates.is_empty() {
        return Err(wrong(
            file,
            &of_pem(&pem::Error::NoItemsFound, "CERTIFICATE"),
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
pub(crate) struct TlsByteStream(TlsStream<Watched>);

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
