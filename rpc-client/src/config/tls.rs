//! TLS as a client speaks it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Whom a client trusts under TLS, and what it shows. All files are in PEM, and are read again when a
/// connection is opened after they have changed.
///
/// ```
/// use rpc_client::{Config, TlsConfig};
///
/// let tls = TlsConfig {
///     ca_file: Some("/etc/rpc/ca.pem".into()),
///     server_name: Some("log.internal".into()),
///     ..TlsConfig::default()
/// };
/// let config = Config::default().with(|config| config.tls = Some(tls));
/// # let _ = config;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificates of the authorities that are trusted; without it those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The name that the server's certificate must have; without it the host of the address.
    pub server_name: Option<String>,
    /// The client's certificate, then those that lead from it to an authority, for a server that asks.
    pub certificate_file: Option<PathBuf>,
    /// The private key of `certificate_file`.
    pub key_file: Option<PathBuf>,
}
