//! The authorities that a gateway's certificate must lead to.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::MappingError;

/// The authorities of a PEM file, or those of the system where none is named. It blocks.
///
/// # Errors
/// The file cannot be read, or there are no certificates.
pub fn authorities(ca_file: &str) -> Result<RootCertStore, MappingError> {
    let certificates = match ca_file {
        "" => rustls_native_certs::load_native_certs().certs,
        file => certificates_of(file)
            .map_err(|what| MappingError::new(format!("`http.ca_file` = \"{file}\": {what}")))?,
    };

    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(MappingError::new(
            "no CA certificates were found on this system; install `ca-certificates`, or name an `http.ca_file`",
        ));
    }
    Ok(roots)
}

fn certificates_of(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    certificates
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}
