//! The certificate of servers with TLS: the server's half makes it, the client's half trusts it.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rpc_client::TlsConfig;
use rpc_server::{ClientCertificates, ServerTls, TlsFiles};

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// Where the servers of this run have their certificates; [`remove`] removes it.
pub(crate) fn directory() -> PathBuf {
    std::env::temp_dir().join(format!("rpc-benches-{}", std::process::id()))
}

/// Removes what the servers of this run have written there.
pub(crate) fn remove() {
    // Where no server had TLS, there is nothing to remove.
    drop(fs::remove_dir_all(directory()));
}

/// Makes a certificate for 127.0.0.1, writes it and its key into the directory, and loads both.
pub(super) fn server(directory: &Path) -> Result<ServerTls> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));

    // The key is for this user alone.
    let mut builder = fs::DirBuilder::new();
    let made_directory = builder.recursive(true).mode(0o700).create(directory);
    made_directory.with_context(|| format!("cannot create {}", directory.display()))?;
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;

    Ok(ServerTls::load(TlsFiles {
        certificate,
        key,
        client_ca: None,
        client_certificates: ClientCertificates::Off,
    })?)
}

/// What knows the certificate that a server has written there.
pub(super) fn client(directory: &Path) -> TlsConfig {
    TlsConfig {
        ca_file: Some(directory.join(CERTIFICATE)),
        ..TlsConfig::default()
    }
}
