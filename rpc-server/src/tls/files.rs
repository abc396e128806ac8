//! Certificates and keys out of files in PEM.

use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Longest file of certificates or of a key, in bytes: a bundle of all public authorities has a fifth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The certificates of a file, in their order, at least one.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(file)?;
    let certificates: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| TlsError::caused(file, error))?;
    if certificates.is_empty() {
        return Err(TlsError::new(
            file,
            "has no certificate in PEM (`-----BEGIN CERTIFICATE-----`)",
        ));
    }

    Ok(certificates)
}

/// The key of a file that only its owner, and perhaps a group, may read.
pub(super) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    check_secret(file)?;

    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::new(
            file,
            "has no private key in PEM (`-----BEGIN PRIVATE KEY-----`)",
        ),
        error => TlsError::caused(file, error),
    })
}

#[cfg(unix)]
fn check_secret(file: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::PermissionsExt;

    let about = std::fs::metadata(file).map_err(|error| TlsError::caused(file, error))?;
    let mode = about.permissions().mode() & 0o7777;
    let of_others = mode & 0o007;
    if of_others == 0 {
        return Ok(());
    }

    let message = format!(
        "other users of this machine may read or write this private key (mode {mode:04o}); set its mode to 0600, or \
         to 0640 with a group of its own"
    );
    Err(TlsError::new(file, message))
}

#[cfg(not(unix))]
fn check_secret(_file: &Path) -> Result<(), TlsError> {
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let about = std::fs::metadata(file).map_err(|error| TlsError::caused(file, error))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(TlsError::new(
            file,
            format!("is longer than {FILE_BYTES_MAX} bytes"),
        ));
    }

    std::fs::read(file).map_err(|error| TlsError::caused(file, error))
}
