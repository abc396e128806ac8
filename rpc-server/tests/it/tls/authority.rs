//! Certificates of all kinds, made anew for each test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use tempfile::TempDir;

/// An authority, and the directory that its files are in.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate with its key, in files.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// When a certificate holds.
#[derive(Clone, Copy)]
pub(crate) enum Holds {
    Now,
    Past,
    Future,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// Its own certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A server's certificate for this host name.
    pub(crate) fn server(&self, host: &str, holds: Holds) -> Pair {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue("server", params, holds)
    }

    /// A client's certificate with this common name, and these alternative ones.
    pub(crate) fn client(&self, name: &str, alternatives: Vec<SanType>, holds: Holds) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = alternatives;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue("client", params, holds)
    }

    /// A certificate that is signed by itself only.
    pub(crate) fn self_signed(&self, host: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        self.write("self-signed", &certificate.pem(), &key.serialize_pem())
    }

    fn issue(&self, name: &str, mut params: CertificateParams, holds: Holds) -> Pair {
        let (from, until) = match holds {
            Holds::Now => (2020, 2120),
            Holds::Past => (2020, 2021),
            Holds::Future => (2110, 2120),
        };
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(name, &certificate.pem(), &key.serialize_pem())
    }

    fn write(&self, name: &str, certificate: &str, key: &str) -> Pair {
        // One authority may issue several.
        let number = std::fs::read_dir(self.directory.path()).unwrap().count();
        let pair = Pair {
            certificate: self.path(&format!("{name}-{number}.pem")),
            key: self.path(&format!("{name}-{number}.key")),
        };
        std::fs::write(&pair.certificate, certificate).unwrap();
        std::fs::write(&pair.key, key).unwrap();
        set_mode(&pair.key, 0o600);
        pair
    }
}

pub(crate) fn set_mode(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}
