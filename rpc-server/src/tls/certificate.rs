//! Certificates read beyond what rustls checks: until when they hold, and whose they are.

use std::fmt;
use std::time::SystemTime;

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::Ia5String;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// An identity is no longer, in bytes: it appears in messages, and is kept with each connection.
const IDENTITY_BYTES_MAX: usize = 256;

pub(super) struct Validity {
    pub(super) until: SystemTime,
}

/// A certificate that cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable(x509_cert::der::Error);

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate cannot be read: {}", self.0)
    }
}

pub(super) fn validity(der: &[u8]) -> Result<Validity, Unreadable> {
    let certificate = Certificate::from_der(der).map_err(Unreadable)?;

    Ok(Validity {
        until: certificate
            .tbs_certificate()
            .validity()
            .not_after
            .to_system_time(),
    })
}

/// Whether a certificate is past its end, or cannot be read.
pub(crate) fn has_expired(der: &[u8]) -> bool {
    !validity(der).is_ok_and(|validity| validity.until > SystemTime::now())
}

/// Whose certificate it is: the first URI among its alternative names, else the first DNS name, else its
/// common name. None if it has neither.
pub(crate) fn identity(der: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?;
    let certificate = certificate.tbs_certificate();

    let names = match certificate.get_extension::<SubjectAltName>() {
        Ok(Some((_, SubjectAltName(names)))) => names,
        Ok(None) => Vec::new(),
        // What cannot be read in full is not read in part.
        Err(_) => return None,
    };

    let first = |pick: fn(&GeneralName) -> Option<&Ia5String>| {
        names.iter().find_map(pick).map(ToString::to_string)
    };

    let uri = || {
        first(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri),
            _ => None,
        })
    };

    let dns = || {
        first(|name| match name {
            GeneralName::DnsName(name) => Some(name),
            _ => None,
        })
    };

    let common_name = || match certificate.subject().common_name().ok()?? {
        DirectoryString::Utf8String(name) => Some(name),
        DirectoryString::PrintableString(name) => Some(name.to_string()),
        DirectoryString::BmpString(name) => Some(name.to_string()),
        DirectoryString::TeletexString(name) => Some(name.to_string()),
    };

    uri()
        .or_else(dns)
        .or_else(common_name)
        .filter(|name| !name.is_empty() && name.len() <= IDENTITY_BYTES_MAX && *name != "*")
}
