//! Reasons of failed handshakes, in words for an operator.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// What went wrong with a client's handshake.
pub(crate) fn words(error: &io::Error) -> String {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        Some(error) => of_tls(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the client closed the connection before the handshake was done".into()
        }
        None => format!("the connection was lost: {error}"),
    }
}

fn of_tls(error: &Error) -> String {
    let words = match error {
        Error::InvalidMessage(_) => "plain bytes, or no TLS, on a port with TLS",
        Error::NoCertificatesPresented => "the client shows no certificate, and this listener requires one",
        Error::InvalidCertificate(error) => return of_certificate(error),
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            // TLS 1.2 has it, and nothing older.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => "the client offers only TLS versions older than 1.2",
        Error::NoApplicationProtocol => "the client asks for a protocol (ALPN) other than `ndjson-rpc/1`",
        Error::AlertReceived(alert) => return of_alert(*alert),
        other => return other.to_string(),
    };

    words.into()
}

fn of_certificate(error: &CertificateError) -> String {
    let what = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet"
        }
        CertificateError::UnknownIssuer => "is not from an authority in `client_ca_file`",
        CertificateError::BadSignature => "is not signed by the authority that it names",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not meant for clients"
        }
        CertificateError::Revoked => "was revoked",
        other => return format!("the client's certificate is refused: {other}"),
    };

    format!("the client's certificate {what}")
}

/// What the client says of this server.
fn of_alert(alert: AlertDescription) -> String {
    let what = match alert {
        AlertDescription::UnknownCA => "it does not know the authority",
        AlertDescription::CertificateExpired => "it has expired, or is not valid yet",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it names another host, or is wrong"
        }
        other => return format!("the client gave up with the alert {other:?}"),
    };

    format!("the client refuses this server's certificate: {what}")
}
