//! TLS refusals in words for an operator: what is wrong, and what would be right.
//!
//! rustls shows many of its errors by the names of its variants. Those that have a likely cause have words here; of the
//! others, which are faults of a TLS implementation, the name is taken apart into words.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use rustls::pki_types::pem;
use rustls::{
    AlertDescription, CertificateError, Error, InconsistentKeys, InvalidMessage, PeerIncompatible,
    PeerMisbehaved,
};

/// The error with rustls' words replaced by those of an operator. `ca_file`: whom the client trusts.
pub(super) fn in_words(error: io::Error, ca_file: Option<&Path>) -> io::Error {
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

/// What is wrong with a certificate or a key of this side's own.
pub(super) fn of_own(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key does not belong to the certificate in `certificate_file`".into()
        }
        Error::InvalidCertificate(_) => {
            "has a certificate that cannot be read: it is not valid X.509".into()
        }
        Error::General(what) => format!("cannot be used: {what}"),
        other => format!("cannot be used: {}", words(other, None)),
    }
}

/// What is wrong with a file in PEM that should have a `what`, the word after `BEGIN`.
pub(super) fn of_pem(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => {
            format!(
                "has no {} in PEM (`-----BEGIN {what}-----`)",
                what.to_lowercase()
            )
        }
        pem::Error::MissingSectionEnd { .. } => {
            "is cut short: a part in PEM has no line with `-----END`".into()
        }
        pem::Error::IllegalSectionStart { .. } => {
            "is not valid PEM: a line with `-----BEGIN` is damaged".into()
        }
        pem::Error::Base64Decode(_) => "is not valid PEM: a part of it is not Base64".into(),
        other => format!("is not valid PEM: {other}"),
    }
}

fn words(error: &Error, ca_file: Option<&Path>) -> String {
    let words = match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server answers in plain bytes: it has no TLS on this port"
        }
        Error::InvalidMessage(what) => {
            return format!("the server's TLS cannot be read: {}", plain(what));
        }
        Error::InvalidCertificate(error) => return of_certificate(error, ca_file),
        Error::InvalidCertRevocationList(error) => {
            return format!(
                "the list of revoked certificates is refused: {}",
                plain(error)
            );
        }
        Error::NoCertificatesPresented => "the server shows no certificate",
        Error::PeerIncompatible(what) => return of_incompatible(what),
        Error::AlertReceived(AlertDescription::ProtocolVersion) => OLD_VERSIONS,
        Error::AlertReceived(alert) => return of_alert(*alert),
        Error::NoApplicationProtocol
        | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => OTHER_ALPN,
        Error::PeerMisbehaved(what) => {
            return format!("the server breaks the rules of TLS: {}", plain(what));
        }
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the server breaks the rules of TLS: a message that does not belong there"
        }
        Error::DecryptError => {
            "what the server sent cannot be decrypted: it was changed on its way, or is not TLS"
        }
        Error::PeerSentOversizedRecord => {
            "the server breaks the rules of TLS: a record is longer than allowed"
        }
        Error::FailedToGetCurrentTime => "this machine's clock cannot be read",
        Error::FailedToGetRandomBytes => "the system could not provide random numbers",
        Error::General(what) => return format!("TLS: {what}"),
        other => return format!("TLS: {}", plain(other)),
    };

    words.into()
}

const OLD_VERSIONS: &str = "the server has only TLS versions older than 1.2";
const OTHER_ALPN: &str = "the server speaks another protocol on this port (ALPN)";

fn of_incompatible(what: &PeerIncompatible) -> String {
    let missing = match what {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => return OLD_VERSIONS.into(),
        PeerIncompatible::NoCipherSuitesInCommon => "cipher suite",
        PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired => {
            "key exchange"
        }
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => "signature scheme",
        other => {
            return format!(
                "the server's TLS does not fit this client's: {}",
                plain(other)
            );
        }
    };

    format!("the server and this client have no {missing} of TLS in common; renew the older one")
}

fn of_certificate(error: &CertificateError, ca_file: Option<&Path>) -> String {
    let what = match error {
        CertificateError::UnknownIssuer => match ca_file {
            Some(file) => {
                return format!(
                    "the server's certificate is not from an authority in {}",
                    file.display()
                );
            }
            None => {
                "is not from an authority that this system knows; set `ca_file` to trust another one"
            }
        },
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            return format!(
                "the server's certificate is not for `{}`, but for {}; is the address right? if so, set `server_name`",
                expected.to_str(),
                names(presented),
            );
        }
        CertificateError::NotValidForName => "is for another name",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet; is this machine's clock right?"
        }
        CertificateError::BadEncoding => "cannot be read: it is not valid X.509",
        CertificateError::Revoked => "was revoked",
        CertificateError::UnhandledCriticalExtension => {
            "has a critical extension that this client does not know"
        }
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "cannot be checked: no valid list of revoked certificates covers it"
        }
        CertificateError::BadSignature => "is not signed by the authority that it names",
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed in a way that this client does not accept, as with SHA-1 or a short RSA key"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not meant for servers: its extended key usage lacks `serverAuth`"
        }
        CertificateError::InvalidOcspResponse => "comes with an OCSP response that is not valid",
        CertificateError::ApplicationVerificationFailure => "is refused by this program",
        CertificateError::Other(inner) => return of_other(&inner.to_string()),
        other => return of_other(&format!("{other:?}")),
    };

    format!("the server's certificate {what}")
}

/// By the names of webpki, which rustls passes on.
fn of_other(name: &str) -> String {
    let what = match name {
        "CaUsedAsEndEntity" => {
            "is that of an authority, as a self-signed one often is, and not one of a server; let the \
             authority issue one for the server, or make the self-signed one with \
             `-addext basicConstraints=CA:FALSE`"
        }
        "EndEntityUsedAsCa" => "is issued by a certificate that is not an authority's",
        "UnsupportedCertVersion" => {
            "has an old version of X.509; create a new one, as version 3 with a `subjectAltName`"
        }
        "NameConstraintViolation" => "has a name that its authority may not certify",
        "PathLenConstraintViolated" | "MaximumPathDepthExceeded" => {
            "is too far from its authority: the chain between them is longer than allowed"
        }
        "MaximumPathBuildCallsExceeded" | "MaximumSignatureChecksExceeded" => {
            "comes with too many others to find the way to its authority"
        }
        other => return format!("the server's certificate is refused: {}", plain(other)),
    };

    format!("the server's certificate {what}")
}

/// The names on a certificate, as rustls lists them: `DnsName("rpc.test")`.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no name".into();
    }

    let inner = |name: &String| {
        let quoted = name.split_once('(').map_or(&**name, |(_, rest)| rest);
        let name = quoted.trim_end_matches(')').trim_matches('"');
        format!("`{name}`")
    };
    let shown: Vec<_> = presented.iter().map(inner).collect();
    shown.join(", ")
}

/// A variant's name as words: `NoCipherSuites(7)` is `no cipher suites`.
fn plain(variant: impl std::fmt::Debug) -> String {
    let name = format!("{variant:?}");
    let name = name.trim_matches('"');
    let end = name.find(|c: char| !c.is_ascii_alphanumeric());

    let mut words = String::new();
    let mut is_in_word = false;
    for c in name[..end.unwrap_or(name.len())].chars() {
        if c.is_ascii_uppercase() && is_in_word {
            words.push(' ');
        }
        is_in_word = c.is_ascii_lowercase() || c.is_ascii_digit();
        let _ = write!(words, "{}", c.to_ascii_lowercase());
    }
    words
}

fn is_of_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
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
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "the server requires a client certificate; set `certificate_file` and `key_file`"
        }
        AlertDescription::UnknownCA => {
            "the server does not know the authority of this client's certificate"
        }
        AlertDescription::CertificateExpired => {
            "the server says that this client's certificate has expired, or is not valid yet"
        }
        AlertDescription::CertificateRevoked => {
            "the server says that this client's certificate was revoked"
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => "the server refuses this client's certificate",
        AlertDescription::NoApplicationProtocol => OTHER_ALPN,
        AlertDescription::UnrecognisedName => {
            "the server has no certificate for the name that is asked for; is the address right? if so, set \
             `server_name`"
        }
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "the server and this client have no cipher suite or key exchange of TLS in common; renew the older one"
        }
        AlertDescription::InternalError => {
            "the server broke off TLS for a reason of its own; its log may say why"
        }
        AlertDescription::Unknown(number) => {
            return format!("the server broke off TLS with the alert {number}");
        }
        other => return format!("the server broke off TLS: {}", plain(other)),
    };

    words.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{
        CertRevocationListError, EncryptedClientHelloError, ExtendedKeyPurpose, OtherError,
    };

    use super::*;

    /// An error of another library, which rustls shows by its name.
    #[derive(Debug)]
    struct Named(&'static str);

    impl std::fmt::Display for Named {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Named {}

    fn other(name: &'static str) -> Error {
        CertificateError::Other(OtherError(Arc::new(Named(name)))).into()
    }

    /// Words have no names of variants in them: no capital letter within one, no bracket, no double colon.
    fn is_plain(text: &str) -> bool {
        let accepted = ["serverAuth", "subjectAltName", "basicConstraints"];
        let text = accepted
            .iter()
            .fold(text.to_owned(), |text, word| text.replace(word, "word"));
        let letters: Vec<char> = text.chars().collect();
        let is_camel = |two: &[char]| two[0].is_lowercase() && two[1].is_uppercase();
        !letters.windows(2).any(is_camel) && !text.contains(['[', '{', '"']) && !text.contains("::")
    }

    fn check(error: impl Into<Error>, part: &str) {
        let error = error.into();
        let said = words(&error, Some(Path::new("/etc/ca.pem")));
        assert!(said.contains(part), "{error:?}: {said}");
        assert!(is_plain(&said), "{error:?}: {said}");
    }

    #[test]
    fn a_refused_certificate_is_told_in_plain_words() {
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
        check(CertificateError::BadEncoding, "not valid X.509");
        check(CertificateError::Expired, "has expired");
        check(
            CertificateError::ExpiredContext {
                time,
                not_after: time,
            },
            "has expired",
        );
        check(CertificateError::NotValidYet, "not valid yet");
        check(
            CertificateError::NotValidYetContext {
                time,
                not_before: time,
            },
            "not valid yet",
        );
        check(CertificateError::Revoked, "was revoked");
        check(
            CertificateError::UnhandledCriticalExtension,
            "critical extension",
        );
        check(
            CertificateError::UnknownIssuer,
            "is not from an authority in /etc/ca.pem",
        );
        check(
            CertificateError::UnknownRevocationStatus,
            "cannot be checked",
        );
        check(CertificateError::ExpiredRevocationList, "cannot be checked");
        let expired = CertificateError::ExpiredRevocationListContext {
            time,
            next_update: time,
        };
        check(expired, "cannot be checked");
        check(
            CertificateError::BadSignature,
            "not signed by the authority",
        );
        let signed = CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![1],
            supported_algorithms: Vec::new(),
        };
        check(signed, "signed in a way");
        let signed = CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: vec![1],
            public_key_algorithm_id: vec![2],
        };
        check(signed, "signed in a way");
        check(CertificateError::NotValidForName, "another name");
        let named = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("rpc.test").unwrap().to_owned(),
            presented: presented.iter().map(|name| (*name).to_owned()).collect(),
        };
        check(named(&[]), "not for `rpc.test`, but for no name");
        check(
            named(&[r#"DnsName("a.test")"#, "IpAddress(127.0.0.1)"]),
            "but for `a.test`, `127.0.0.1`;",
        );
        check(CertificateError::InvalidPurpose, "not meant for servers");
        let purpose = CertificateError::InvalidPurposeContext {
            required: ExtendedKeyPurpose::ServerAuth,
            presented: vec![ExtendedKeyPurpose::ClientAuth],
        };
        check(purpose, "not meant for servers");
        check(CertificateError::InvalidOcspResponse, "OCSP response");
        check(
            CertificateError::ApplicationVerificationFailure,
            "refused by this program",
        );
    }

    #[test]
    fn what_rustls_knows_by_a_name_of_another_library_is_told_in_plain_words() {
        for (name, part) in [
            (
                "CaUsedAsEndEntity",
                "that of an authority, as a self-signed one often is",
            ),
            ("EndEntityUsedAsCa", "not an authority's"),
            ("UnsupportedCertVersion", "old version of X.509"),
            ("NameConstraintViolation", "may not certify"),
            ("PathLenConstraintViolated", "too far from its authority"),
            ("MaximumPathDepthExceeded", "too far from its authority"),
            ("MaximumPathBuildCallsExceeded", "too many others"),
            ("MaximumSignatureChecksExceeded", "too many others"),
            (
                "MalformedDnsIdentifier",
                "is refused: malformed dns identifier",
            ),
            ("SomethingNew { of: 7 }", "is refused: something new"),
        ] {
            check(other(name), part);
        }
    }

    #[test]
    fn every_other_refusal_is_told_in_plain_words() {
        check(
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            "in plain bytes",
        );
        check(
            Error::InvalidMessage(InvalidMessage::MissingData("Certificate")),
            "cannot be read: missing data",
        );
        let revoked = Error::InvalidCertRevocationList(CertRevocationListError::BadSignature);
        check(revoked, "refused: bad signature");
        check(Error::NoCertificatesPresented, "shows no certificate");
        for (what, part) in [
            (
                PeerIncompatible::ServerDoesNotSupportTls12Or13,
                "older than 1.2",
            ),
            (
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
                "older than 1.2",
            ),
            (
                PeerIncompatible::NoCipherSuitesInCommon,
                "no cipher suite of TLS in common",
            ),
            (
                PeerIncompatible::NoKxGroupsInCommon,
                "no key exchange of TLS in common",
            ),
            (
                PeerIncompatible::NoSignatureSchemesInCommon,
                "no signature scheme of TLS in common",
            ),
            (
                PeerIncompatible::NullCompressionRequired,
                "does not fit this client's: null compression",
            ),
        ] {
            check(what, part);
        }
        check(
            PeerMisbehaved::MissingKeyShare,
            "breaks the rules of TLS: missing key share",
        );
        check(
            PeerMisbehaved::SelectedUnofferedApplicationProtocol,
            "another protocol",
        );
        check(Error::NoApplicationProtocol, "another protocol");
        check(Error::DecryptError, "cannot be decrypted");
        check(Error::EncryptError, "TLS: encrypt error");
        check(Error::PeerSentOversizedRecord, "longer than allowed");
        check(Error::FailedToGetCurrentTime, "clock");
        check(Error::FailedToGetRandomBytes, "random");
        check(Error::HandshakeNotComplete, "TLS: handshake not complete");
        check(Error::UnsupportedNameType, "TLS: unsupported name type");
        check(Error::BadMaxFragmentSize, "TLS: bad max fragment size");
        check(
            Error::General("in plain words".into()),
            "TLS: in plain words",
        );
        check(
            EncryptedClientHelloError::SniRequired,
            "TLS: invalid encrypted client hello",
        );
        let mismatch = Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
        assert!(of_own(&mismatch).contains("does not belong to the certificate"));
    }

    #[test]
    fn every_alert_is_told_in_plain_words() {
        for (alert, part) in [
            (
                AlertDescription::CertificateRequired,
                "requires a client certificate",
            ),
            (AlertDescription::UnknownCA, "does not know the authority"),
            (
                AlertDescription::CertificateExpired,
                "has expired, or is not valid yet",
            ),
            (AlertDescription::CertificateRevoked, "was revoked"),
            (
                AlertDescription::BadCertificate,
                "refuses this client's certificate",
            ),
            (AlertDescription::ProtocolVersion, "older than 1.2"),
            (AlertDescription::NoApplicationProtocol, "another protocol"),
            (AlertDescription::UnrecognisedName, "set `server_name`"),
            (
                AlertDescription::HandshakeFailure,
                "no cipher suite or key exchange",
            ),
            (AlertDescription::InternalError, "its log may say why"),
            (
                AlertDescription::BadRecordMac,
                "broke off TLS: bad record mac",
            ),
            (AlertDescription::Unknown(200), "the alert 200"),
        ] {
            check(Error::AlertReceived(alert), part);
        }

        // Whatever the number, known to rustls or not.
        for number in 0..=u8::MAX {
            check(Error::AlertReceived(AlertDescription::from(number)), "");
        }
    }
}
