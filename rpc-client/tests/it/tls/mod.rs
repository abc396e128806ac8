//! TLS and tokens of the client, against the real server: which callers get in, and the errors of the others.

mod calls;
mod refusals;
mod tokens;

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rpc_client::{Client, Config, Error, TlsConfig};
use rpc_server::{
    ClientCertificates, Context, ListenOptions, Reply, Router, Server, ServerHandle, ServerTls,
    Status, TlsFiles, Tokens,
};
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "token-of-orders-0123456789abcdef";

/// Authorities and certificates, in files of one directory.
struct Certificates(TempDir);

/// Years between which a certificate holds.
const NOW: (i32, i32) = (2020, 2120);

type Authority = CertifiedIssuer<'static, KeyPair>;

impl Certificates {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn authority(&self, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), authority.pem()).unwrap();
        authority
    }

    /// Writes `name.pem` and `name.key`, a certificate of `host`.
    fn issue(&self, authority: &Authority, name: &str, host: &str, years: (i32, i32)) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        self.write(name, &certificate.pem(), &key);
    }

    /// Writes `name.pem` and `name.key`, a certificate of `host` that only itself has signed.
    fn sign_itself(&self, name: &str, host: &str, is_ca: IsCa) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        self.write(name, &certificate.pem(), &key);
    }

    fn write(&self, name: &str, certificate: &str, key: &KeyPair) {
        use std::os::unix::fs::PermissionsExt;

        std::fs::write(self.path(&format!("{name}.pem")), certificate).unwrap();
        let key_file = self.path(&format!("{name}.key"));
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A server whose certificate is `name`, which wants those of `clients` where that is given.
    async fn serve(&self, name: &str, clients: Option<&str>) -> (String, ServerHandle, ServerTls) {
        let tls = self.server_tls(name, clients);
        let (address, handle) = serve(ListenOptions::new("127.0.0.1:0").tls(tls.clone())).await;
        (address, handle, tls)
    }

    fn server_tls(&self, name: &str, clients: Option<&str>) -> ServerTls {
        let files = TlsFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            client_ca: clients.map(|clients| self.path(&format!("{clients}.pem"))),
            client_certificates: match clients {
                Some(_) => ClientCertificates::Required,
                None => ClientCertificates::Off,
            },
        };
        ServerTls::load(files).unwrap()
    }

    fn tls(&self, ca: &str, certificate: Option<&str>) -> TlsConfig {
        TlsConfig {
            ca_file: Some(self.path(&format!("{ca}.pem"))),
            server_name: Some("rpc.test".into()),
            certificate_file: certificate.map(|name| self.path(&format!("{name}.pem"))),
            key_file: certificate.map(|name| self.path(&format!("{name}.key"))),
        }
    }
}

async fn who(context: Context) -> Result<Reply, Status> {
    context.identity().map_or(Ok(Reply::empty()), Reply::new)
}

async fn serve(options: ListenOptions) -> (String, ServerHandle) {
    let tokens = Tokens::parse(&format!("orders {}", Tokens::hash(TOKEN).unwrap())).unwrap();
    let config = rpc_server::Config::default().with(|config| config.token_failures.delay_ms = 1);
    let router = Router::new().route(100, who).unwrap();
    let server = Server::builder()
        .listen_with(options)
        .config(config)
        .tokens(tokens)
        .router(router);
    let server = server.bind().await.unwrap();
    let (address, handle) = (server.addresses()[0].to_string(), server.handle());
    tokio::spawn(server.serve(std::future::pending()));
    (address, handle)
}

/// Says at once what went wrong.
fn impatient() -> Config {
    Config::default().with(|config| {
        config.reconnect.fail_fast_after_ms = 0;
        config.retry.attempts_max = 1;
        config.timeouts.call_timeout_ms = 20_000;
    })
}

fn with(tls: TlsConfig) -> Config {
    impatient().with(|config| config.tls = Some(tls))
}

async fn ask(address: &str, config: Config) -> Result<Value, Error> {
    Client::with_config(address, config).call(100, &()).await
}

/// The call was not sent, and the error has this part.
#[track_caller]
fn refused(result: Result<Value, Error>, part: &str) {
    let error = result.expect_err("it is refused");
    assert!(error.to_string().contains(part), "{error}");
    assert!(error.is_unreachable() && !error.may_have_run(), "{error}");
}
