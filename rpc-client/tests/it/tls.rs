//! TLS and tokens of the client, against the real server: who gets in, and what a caller is told who does
//! not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rpc_client::{Client, Code, Config, Error, Mode, TlsConfig};
use rpc_server::{
    ClientCertificates, Context, ListenOptions, Reply, Router, Server, ServerHandle, ServerTls,
    Status, TlsFiles, Tokens,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::PATIENCE;

const TOKEN: &str = "token-of-orders-0123456789abcdef";

/// Authorities and certificates, in files of one directory.
struct Certificates(TempDir);

/// Years between which a certificate holds.
const NOW: (i32, i32) = (2020, 2120);
const PAST: (i32, i32) = (2020, 2021);
const FUTURE: (i32, i32) = (2110, 2120);

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

    /// Writes `name.pem` and `name.key`, a certificate of `host` that nobody else has signed.
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

#[tokio::test]
async fn calls_go_over_tls_by_setting_and_by_address_and_show_the_client_s_certificate() {
    let certificates = Certificates::new();
    let ca = certificates.authority("ca");
    certificates.issue(&ca, "server", "rpc.test", NOW);
    certificates.issue(&ca, "local", "127.0.0.1", NOW);
    certificates.issue(&ca, "client", "orders.internal", NOW);
    let (address, handle, _) = certificates.serve("server", Some("ca")).await;
    for mode in [Mode::Single, Mode::Pooled(2), Mode::Short] {
        let config =
            (with(certificates.tls("ca", Some("client")))).with(|config| config.pool.mode = mode);
        assert_eq!(ask(&address, config).await.unwrap(), "orders.internal");
    }
    assert!(handle.stats().access.tls_handshakes >= 3);
    // The name is that of the address, where none is set.
    let (address, ..) = certificates.serve("local", None).await;
    let tls = TlsConfig {
        server_name: None,
        ..certificates.tls("ca", None)
    };
    assert_eq!(
        ask(&format!("tls:{address}"), with(tls)).await.unwrap(),
        Value::Null
    );
    refused(
        ask(&format!("tls:{address}"), impatient()).await,
        "is not from an authority that this system knows",
    );
}

#[tokio::test]
async fn a_full_server_says_so_under_tls_and_who_was_turned_away_comes_back() {
    let certificates = Certificates::new();
    let ca = certificates.authority("ca");
    certificates.issue(&ca, "server", "rpc.test", NOW);
    let options = ListenOptions::new("127.0.0.1:0").tls(certificates.server_tls("server", None));
    let config = rpc_server::Config::default().with(|config| config.limits.connections_max = 1);
    let router = Router::new().route(100, who).unwrap();
    let server = Server::builder()
        .listen_with(options)
        .config(config)
        .router(router)
        .bind()
        .await
        .unwrap();
    let (address, handle) = (server.addresses()[0].to_string(), server.handle());
    tokio::spawn(server.serve(std::future::pending()));

    let first = Client::with_config(&*address, with(certificates.tls("ca", None)));
    assert_eq!(first.call::<_, Value>(100, &()).await.unwrap(), Value::Null);
    let patient = (with(certificates.tls("ca", None)))
        .with(|config| config.reconnect.fail_fast_after_ms = 20_000);
    let second = Client::with_config(&*address, patient);
    let error = second.call::<_, Value>(100, &()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`limits.connections_max` of 1 is reached"),
        "{error}"
    );
    assert!(!error.may_have_run() && error.is_retryable(), "{error}");
    assert_eq!(handle.stats().limits.connections_over_max, 1);

    drop(first);
    let is_over = async {
        while handle.stats().connections_open > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_over)
        .await
        .expect("the first one's connection ends");
    assert_eq!(
        second.call::<_, Value>(100, &()).await.unwrap(),
        Value::Null
    );
    let stats = handle.stats();
    assert_eq!(
        (
            stats.limits.connections_over_max,
            stats.connections_accepted
        ),
        (1, 3),
        "it was not stormed"
    );
}

#[tokio::test]
async fn each_refusal_has_its_own_words() {
    let certificates = Certificates::new();
    let (ca, others) = (
        certificates.authority("ca"),
        certificates.authority("others"),
    );
    for (name, years) in [("server", NOW), ("old", PAST), ("early", FUTURE)] {
        certificates.issue(&ca, name, "rpc.test", years);
    }
    certificates.issue(&ca, "elsewhere", "elsewhere.test", NOW);
    certificates.issue(&ca, "client-old", "orders", PAST);
    certificates.issue(&others, "client-of-others", "orders", NOW);
    let by_server = [
        (
            "server",
            "others",
            "the server's certificate is not from an authority in ",
        ),
        ("elsewhere", "ca", "is not for `rpc.test`, but for "),
        ("old", "ca", "the server's certificate has expired"),
        ("early", "ca", "the server's certificate is not valid yet"),
    ];
    for (server, trusts, part) in by_server {
        let (address, ..) = certificates.serve(server, None).await;
        refused(
            ask(&address, with(certificates.tls(trusts, None))).await,
            part,
        );
    }
    let (address, ..) = certificates.serve("server", Some("ca")).await;
    let by_client = [
        (None, "the server requires a client certificate"),
        (
            Some("client-of-others"),
            "the server does not know the authority of this client's certificate",
        ),
        (Some("client-old"), "this client's certificate has expired"),
    ];
    for (client, part) in by_client {
        refused(
            ask(&address, with(certificates.tls("ca", client))).await,
            part,
        );
    }
    let mixed = TlsConfig {
        key_file: None,
        ..certificates.tls("ca", Some("client-old"))
    };
    refused(
        ask(&address, with(mixed)).await,
        "`certificate_file` and `key_file` belong together",
    );
    let missing = TlsConfig {
        ca_file: Some("/nowhere/ca.pem".into()),
        ..TlsConfig::default()
    };
    refused(
        ask(&address, with(missing)).await,
        "/nowhere/ca.pem: No such file",
    );
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_by_name_or_refused_in_plain_words() {
    let certificates = Certificates::new();
    certificates.authority("ca");
    certificates.sign_itself("own", "rpc.test", IsCa::ExplicitNoCa);
    // As `openssl req -x509` makes one.
    certificates.sign_itself(
        "both",
        "rpc.test",
        IsCa::Ca(BasicConstraints::Unconstrained),
    );

    let (own, ..) = certificates.serve("own", None).await;
    ask(&own, with(certificates.tls("own", None)))
        .await
        .unwrap();
    refused(
        ask(&own, with(certificates.tls("ca", None))).await,
        "the server's certificate is not from an authority in ",
    );

    let (both, ..) = certificates.serve("both", None).await;
    let error = ask(&both, with(certificates.tls("both", None))).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains(
            "the server's certificate is that of an authority, as a self-signed one often is"
        ),
        "{error}"
    );
    assert!(!error.contains("CaUsedAsEndEntity"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_what_it_should_be_is_told_in_plain_words() {
    let certificates = Certificates::new();
    let ca = certificates.authority("ca");
    for name in ["server", "client", "other"] {
        certificates.issue(&ca, name, "rpc.test", NOW);
    }
    let (address, ..) = certificates.serve("server", Some("ca")).await;
    let file = |name: &str, text: &str| {
        std::fs::write(certificates.path(name), text).unwrap();
        certificates.path(name)
    };
    let own = certificates.tls("ca", Some("client"));

    for (tls, part) in [
        (
            TlsConfig {
                key_file: Some(certificates.path("other.key")),
                ..own.clone()
            },
            "other.key: the key does not belong to the certificate in `certificate_file`",
        ),
        (
            TlsConfig {
                key_file: Some(certificates.path("client.pem")),
                ..own.clone()
            },
            "client.pem: has no private key in PEM (`-----BEGIN PRIVATE KEY-----`)",
        ),
        (
            TlsConfig {
                ca_file: Some(file("empty.pem", "")),
                ..own.clone()
            },
            "empty.pem: has no certificate in PEM (`-----BEGIN CERTIFICATE-----`)",
        ),
        (
            TlsConfig {
                ca_file: Some(file("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n")),
                ..own.clone()
            },
            "cut.pem: is cut short",
        ),
        (
            TlsConfig {
                ca_file: Some(file(
                    "no.pem",
                    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
                )),
                ..own.clone()
            },
            "no.pem: has a certificate that cannot be read",
        ),
    ] {
        refused(ask(&address, with(tls)).await, part);
    }
}

#[tokio::test]
async fn tls_on_one_side_only_is_told_apart() {
    let certificates = Certificates::new();
    let ca = certificates.authority("ca");
    certificates.issue(&ca, "server", "rpc.test", NOW);
    let (plain, _) = serve(ListenOptions::new("127.0.0.1:0")).await;
    refused(
        ask(&plain, with(certificates.tls("ca", None))).await,
        "perhaps it has no TLS on this port",
    );
    let (encrypted, ..) = certificates.serve("server", None).await;
    let error = ask(&encrypted, impatient()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the server speaks TLS on this port"),
        "{error}"
    );
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_the_next_connection_on() {
    let certificates = Certificates::new();
    let ca = certificates.authority("ca");
    certificates.issue(&ca, "server", "rpc.test", NOW);
    certificates.issue(&ca, "client", "first", NOW);
    let (address, ..) = certificates.serve("server", Some("ca")).await;
    let client = Client::with_config(
        &*address,
        (with(certificates.tls("ca", Some("client"))))
            .with(|config| config.pool.mode = Mode::Short),
    );
    assert_eq!(client.call::<_, Value>(100, &()).await.unwrap(), "first");
    certificates.issue(&ca, "client", "the-second-one", NOW);
    assert_eq!(
        client.call::<_, Value>(100, &()).await.unwrap(),
        "the-second-one"
    );
}

#[tokio::test]
async fn calls_run_on_while_the_server_s_certificate_is_renewed() {
    let certificates = Certificates::new();
    let ca = certificates.authority("ca");
    certificates.issue(&ca, "server", "rpc.test", NOW);
    let (address, handle, tls) = certificates.serve("server", None).await;
    let client = Client::with_config(
        &*address,
        (with(certificates.tls("ca", None))).with(|config| config.pool.mode = Mode::Short),
    );
    let kept = Client::with_config(&*address, with(certificates.tls("ca", None)));
    kept.call::<_, Value>(100, &()).await.unwrap();
    let calls = async {
        for _ in 0..40 {
            client.call::<_, Value>(100, &()).await.unwrap();
            kept.call::<_, Value>(100, &()).await.unwrap();
        }
    };
    let renew = async {
        for _ in 0..10 {
            certificates.issue(&ca, "server", "rpc.test", NOW);
            assert!(tls.reload().unwrap());
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(calls, renew);
    assert_eq!(
        handle.stats().access.tls_handshakes,
        41,
        "one for the kept connection"
    );
}

fn token_file(directory: &Path, token: &str) -> PathBuf {
    let file = directory.join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    file
}

#[tokio::test]
async fn a_client_with_a_token_says_who_it_is_on_each_new_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (address, handle) =
        serve(ListenOptions::new("127.0.0.1:0").require_authentication(true)).await;
    let token_file = Some(token_file(directory.path(), TOKEN));
    let mut connections = 0;
    for (mode, ordered) in [
        (Mode::Single, false),
        (Mode::Single, true),
        (Mode::Pooled(2), false),
        (Mode::Short, false),
        (Mode::Short, true),
    ] {
        let config = impatient().with(|config| {
            config.pool.mode = mode;
            config.pool.ordered = ordered;
            config.pool.token_file = token_file.clone();
        });
        let client = Client::with_config(&*address, config);
        for _ in 0..2 {
            assert_eq!(client.call::<_, Value>(100, &()).await.unwrap(), "orders");
        }
        connections += if mode == Mode::Short { 2 } else { 1 };
        assert_eq!(
            handle.stats().access.authentications,
            connections,
            "{mode:?}"
        );
    }
    let client = Client::builder(&*address)
        .config(impatient())
        .token(TOKEN)
        .build();
    assert_eq!(client.call::<_, Value>(100, &()).await.unwrap(), "orders");
    assert!(!format!("{client:?}").contains(TOKEN));
    // Nobody who has no token gets further.
    let error = ask(&address, impatient()).await.unwrap_err();
    assert_eq!(error.code(), Code::UNAUTHENTICATED);
}

#[tokio::test]
async fn a_client_over_a_stream_of_its_users_own_is_authenticated_by_its_user() {
    let (_, handle) = serve(ListenOptions::new("127.0.0.1:0")).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(handle.serve_connection(far, "pipe"));
    let directory = tempfile::tempdir().unwrap();
    let token_file = Some(token_file(directory.path(), TOKEN));
    let client = Client::over(
        near,
        "pipe",
        impatient().with(|config| config.pool.token_file = token_file),
    );
    assert_eq!(
        client.call::<_, Value>(100, &()).await.unwrap(),
        Value::Null
    );
    let token = serde_json::json!({ "token": TOKEN });
    let shown: Value = client
        .call(rpc_client::CmdId::AUTHENTICATE, &token)
        .await
        .unwrap();
    assert_eq!(shown["identity"], "orders");
    assert_eq!(client.call::<_, Value>(100, &()).await.unwrap(), "orders");
}

#[tokio::test]
async fn a_server_without_tokens_is_called_without() {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .router(Router::new().route(100, who).unwrap());
    let server = server.bind().await.unwrap();
    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(std::future::pending()));
    let client = Client::builder(&*address)
        .config(impatient())
        .token(TOKEN)
        .build();
    assert_eq!(
        client.call::<_, Value>(100, &()).await.unwrap(),
        Value::Null
    );
}

/// With paused time, over pipes: how often the server is asked.
#[tokio::test(start_paused = true)]
async fn a_refused_token_fails_calls_at_once_and_the_server_is_not_stormed() {
    let server = Server::builder().router(Router::new().route(100, who).unwrap());
    let server = server.tokens(Tokens::default()).bind().await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.serve(std::future::pending()));
    let opened = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (count, serving) = (Arc::clone(&opened), handle.clone());
    let connect = move |_: String| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        tokio::spawn(serving.serve_connection(far, &format!("10.0.0.{number}:1")));
        std::future::ready(Ok(near))
    };
    let config = Config::default().with(|config| config.reconnect.cap_ms = 5_000);
    let client = Client::builder("pipe")
        .config(config)
        .connector(connect)
        .token(TOKEN)
        .build();
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let error = client.call::<_, Value>(100, &()).await.unwrap_err();
        assert_eq!(error.code(), Code::UNAUTHENTICATED, "{error}");
        assert!(
            error
                .to_string()
                .contains("the server refuses this client's token"),
            "{error}"
        );
        assert!(!error.to_string().contains(TOKEN) && error.is_unreachable());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let opened = opened.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        (2..=13).contains(&opened),
        "asked {opened} times in a minute"
    );
    assert_eq!(handle.stats().access.token_failures, opened);
}
