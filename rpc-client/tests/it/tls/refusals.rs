//! Certificates, files and servers that are refused, in plain words.

use rcgen::{BasicConstraints, IsCa};
use rpc_client::{Client, TlsConfig};
use rpc_server::{ListenOptions, Router, Server};
use serde_json::Value;

use super::{Certificates, NOW, ask, impatient, refused, serve, who, with};
use crate::support::PATIENCE;

const PAST: (i32, i32) = (2020, 2021);

const FUTURE: (i32, i32) = (2110, 2120);

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
