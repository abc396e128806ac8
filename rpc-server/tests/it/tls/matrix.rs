//! Twelve certificates and their likes: who gets in, who does not, and what each side is told.

use std::io::Error;
use std::time::Duration;

use rpc_server::{ClientCertificates, Config};
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::authority::{Authority, Holds, Pair};
use super::{HOST, TlsServer};
use crate::logged::Logged;
use crate::sockets::{pass, until};
use crate::support::{Client, PATIENCE};

fn tls_error(error: &Error) -> &TlsError {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .unwrap_or_else(|| panic!("{error:?}"))
}

/// The server takes the client in.
async fn gets_in(server: &TlsServer, trusts: &Authority, pair: Option<&Pair>) -> serde_json::Value {
    let mut client = server.connect(trusts, pair).await.unwrap();
    let reply = client.ask("{\"id\":1,\"cmdid\":100}").await;
    assert_eq!(reply["code"], 0, "{reply}");
    reply["data"].clone()
}

/// The client gets nothing but this alert: in the handshake, or with TLS 1.3 at its first read.
async fn is_refused(
    server: &TlsServer,
    trusts: &Authority,
    pair: Option<&Pair>,
    alert: AlertDescription,
) {
    async fn read(connected: std::io::Result<Client<TlsStream<TcpStream>>>) -> Error {
        match connected {
            Err(error) => error,
            Ok(mut client) => {
                // A call on its way must not take the alert back.
                let _ = client.io.write_all(b"{\"id\":1,\"cmdid\":100}\n").await;
                let _ = client.io.flush().await;
                let mut byte = [0];
                client
                    .io
                    .read(&mut byte)
                    .await
                    .expect_err("the server ends it")
            }
        }
    }
    let error = read(server.connect(trusts, pair).await).await;
    assert_eq!(tls_error(&error), &TlsError::AlertReceived(alert));
}

#[tokio::test]
async fn a_right_certificate_on_both_sides_gets_in() {
    let (ca, clients) = (Authority::new("servers"), Authority::new("clients"));
    let server = TlsServer::start(
        &ca.server(HOST, Holds::Now),
        Some(&clients),
        ClientCertificates::Required,
    )
    .await;
    let orders = clients.client("orders", Vec::new(), Holds::Now);
    assert_eq!(gets_in(&server, &ca, Some(&orders)).await, "orders");
    let stats = server.server.stats().access;
    assert_eq!(
        (
            stats.tls_handshakes,
            stats.tls_handshakes_refused,
            stats.tls_handshakes_under_way
        ),
        (1, 0, 0)
    );
    // 2120-01-01.
    assert_eq!(stats.certificate_expires_unix_seconds, 4_733_510_400);
}

#[tokio::test]
async fn a_full_server_answers_its_operator_over_tls_too() {
    let ca = Authority::new("both");
    let pair = ca.server(HOST, Holds::Now);
    let config = Config::default().with(|config| config.limits.connections_max = 1);
    let server = TlsServer::with(config, &pair, None, ClientCertificates::Off).await;
    let mut first = server.connect(&ca, None).await.unwrap();
    assert_eq!(first.ask("{\"id\":1,\"cmdid\":100}").await["code"], 0);

    let mut operator = server.connect(&ca, None).await.unwrap();
    let stats = operator.ask("{\"id\":1,\"cmdid\":3}").await;
    assert_eq!(
        stats["data"]["server"]["connections_accepted"], 2,
        "{stats}"
    );

    // One that does not end its handshake has no seat that another one could have.
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(server.tcp().await);
    }
    let mut operator = server.connect(&ca, None).await.unwrap();
    assert_eq!(operator.ask("{\"cmdid\":0}").await["code"], 0);
}

#[tokio::test]
async fn no_certificate_where_one_is_required_is_refused() {
    let (logged, ca) = (Logged::begin(), Authority::new("both"));
    let server = TlsServer::start(
        &ca.server(HOST, Holds::Now),
        Some(&ca),
        ClientCertificates::Required,
    )
    .await;
    is_refused(&server, &ca, None, AlertDescription::CertificateRequired).await;
    let line = logged
        .line_with("the client shows no certificate, and this listener requires one")
        .await;
    assert!(
        line.contains("rpc_server::audit") && line.contains("peer=127.0.0.1:"),
        "{line}"
    );
    assert_eq!(server.server.stats().access.tls_handshakes_refused, 1);
}

#[tokio::test]
async fn where_a_certificate_is_optional_a_client_without_one_gets_in_without_an_identity() {
    let ca = Authority::new("both");
    let server = TlsServer::start(
        &ca.server(HOST, Holds::Now),
        Some(&ca),
        ClientCertificates::Optional,
    )
    .await;
    assert_eq!(gets_in(&server, &ca, None).await, json!(null));
    let orders = ca.client("orders", Vec::new(), Holds::Now);
    assert_eq!(gets_in(&server, &ca, Some(&orders)).await, "orders");
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused_also_where_none_need_be_shown() {
    let (logged, ca, others) = (
        Logged::begin(),
        Authority::new("both"),
        Authority::new("others"),
    );
    let stranger = others.client("orders", Vec::new(), Holds::Now);
    for ask in [ClientCertificates::Required, ClientCertificates::Optional] {
        let server = TlsServer::start(&ca.server(HOST, Holds::Now), Some(&ca), ask).await;
        is_refused(&server, &ca, Some(&stranger), AlertDescription::UnknownCA).await;
        logged
            .line_with("the client's certificate is not from an authority in `client_ca_file`")
            .await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_know_the_server_s_authority_leaves_and_the_server_says_why() {
    let (logged, ca, others) = (
        Logged::begin(),
        Authority::new("servers"),
        Authority::new("others"),
    );
    let server =
        TlsServer::start(&ca.server(HOST, Holds::Now), None, ClientCertificates::Off).await;
    let error = server
        .connect(&others, None)
        .await
        .err()
        .expect("it knows no authority here");
    assert_eq!(
        tls_error(&error),
        &TlsError::InvalidCertificate(CertificateError::UnknownIssuer)
    );
    logged
        .line_with("the client refuses this server's certificate: it does not know the authority")
        .await;
}

#[tokio::test]
async fn a_server_of_another_name_is_left() {
    let (logged, ca) = (Logged::begin(), Authority::new("servers"));
    let server = TlsServer::start(
        &ca.server("other.test", Holds::Now),
        None,
        ClientCertificates::Off,
    )
    .await;
    let error = server
        .connect(&ca, None)
        .await
        .err()
        .expect("it wants another one");
    let named = matches!(
        tls_error(&error),
        TlsError::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
    );
    assert!(named, "{error}");
    logged
        .line_with("the client refuses this server's certificate: ")
        .await;
}

#[tokio::test]
async fn a_server_whose_certificate_has_expired_says_so_loudly_and_is_left() {
    let (logged, ca) = (Logged::begin(), Authority::new("servers"));
    let server =
        TlsServer::start(&ca.server(HOST, Holds::Past), None, ClientCertificates::Off).await;
    assert!(
        logged.text().contains("ERROR") && logged.text().contains("THE CERTIFICATE HAS EXPIRED")
    );
    let error = server
        .connect(&ca, None)
        .await
        .err()
        .expect("it is too old");
    let expired = matches!(
        tls_error(&error),
        TlsError::InvalidCertificate(CertificateError::ExpiredContext { .. })
    );
    assert!(expired, "{error}");
    logged
        .line_with("the client refuses this server's certificate: it has expired")
        .await;
    // 2021-01-01.
    assert_eq!(
        server
            .server
            .stats()
            .access
            .certificate_expires_unix_seconds,
        1_609_459_200
    );
}

#[tokio::test]
async fn a_client_whose_certificate_has_expired_is_refused() {
    let (logged, ca) = (Logged::begin(), Authority::new("both"));
    let server = TlsServer::start(
        &ca.server(HOST, Holds::Now),
        Some(&ca),
        ClientCertificates::Required,
    )
    .await;
    let old = ca.client("orders", Vec::new(), Holds::Past);
    is_refused(
        &server,
        &ca,
        Some(&old),
        AlertDescription::CertificateExpired,
    )
    .await;
    logged
        .line_with("the client's certificate has expired")
        .await;
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_refused_on_either_side() {
    let (logged, ca) = (Logged::begin(), Authority::new("both"));
    let server = TlsServer::start(
        &ca.server(HOST, Holds::Now),
        Some(&ca),
        ClientCertificates::Required,
    )
    .await;
    let early = ca.client("orders", Vec::new(), Holds::Future);
    is_refused(
        &server,
        &ca,
        Some(&early),
        AlertDescription::CertificateExpired,
    )
    .await;
    logged
        .line_with("the client's certificate is not valid yet")
        .await;
    let server = TlsServer::start(
        &ca.server(HOST, Holds::Future),
        None,
        ClientCertificates::Off,
    )
    .await;
    let error = server
        .connect(&ca, None)
        .await
        .err()
        .expect("it is too early");
    let early = matches!(
        tls_error(&error),
        TlsError::InvalidCertificate(CertificateError::NotValidYetContext { .. })
    );
    assert!(early, "{error}");
}

#[tokio::test]
async fn a_self_signed_certificate_is_not_believed_on_either_side() {
    let (logged, ca) = (Logged::begin(), Authority::new("both"));
    let server = TlsServer::start(&ca.self_signed(HOST), Some(&ca), ClientCertificates::Off).await;
    let error = server
        .connect(&ca, None)
        .await
        .err()
        .expect("no authority speaks for it");
    assert_eq!(
        tls_error(&error),
        &TlsError::InvalidCertificate(CertificateError::UnknownIssuer)
    );
    let server = TlsServer::start(
        &ca.server(HOST, Holds::Now),
        Some(&ca),
        ClientCertificates::Required,
    )
    .await;
    is_refused(
        &server,
        &ca,
        Some(&ca.self_signed("orders")),
        AlertDescription::UnknownCA,
    )
    .await;
    logged
        .line_with("the client's certificate is not from an authority in `client_ca_file`")
        .await;
}

/// A hello of TLS 1.1, as an old OpenSSL sends it: version 3.2, two cipher suites, and these extensions.
fn hello_of_tls_1_1(extensions: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x14, 0x00, 0x35, 1, 0]);
    if !extensions.is_empty() {
        body.extend([0, length(extensions)]);
        body.extend(extensions);
    }
    let mut hello = vec![0x16, 3, 1, 0, length(&body) + 4, 1, 0, 0, length(&body)];
    hello.extend(body);
    hello
}

fn old_hello() -> Vec<u8> {
    hello_of_tls_1_1(&[])
}

#[tokio::test]
async fn a_client_that_knows_only_tls_1_1_is_refused() {
    let (logged, ca) = (Logged::begin(), Authority::new("servers"));
    let server =
        TlsServer::start(&ca.server(HOST, Holds::Now), None, ClientCertificates::Off).await;
    // Supported groups, and with them signature algorithms, which TLS 1.1 has not.
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let signatures = [&groups[..], &[0, 13, 0, 4, 0, 2, 4, 3]].concat();
    // One record each: a fatal alert, `handshake_failure` or `protocol_version`.
    for (extensions, alert) in [(&[][..], 40), (&groups, 40), (&signatures, 70)] {
        let mut stream = server.tcp().await;
        stream
            .write_all(&hello_of_tls_1_1(extensions))
            .await
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, alert], "{extensions:?}");
        drop(stream);
        logged
            .line_with("the client offers only TLS versions older than 1.2")
            .await;
    }
}

#[tokio::test]
async fn plain_bytes_on_a_port_with_tls_are_told_apart_and_run_nothing() {
    let (logged, ca) = (Logged::begin(), Authority::new("servers"));
    let server =
        TlsServer::start(&ca.server(HOST, Holds::Now), None, ClientCertificates::Off).await;
    for plain in ["{\"id\":1,\"cmdid\":100}\n", "GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = server.tcp().await;
        stream.write_all(plain.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(!answer.contains(&b'{'), "{answer:?}");
    }
    logged
        .line_with("plain bytes, or no TLS, on a port with TLS")
        .await;
    // The last one is over when the server knows that its peer is gone.
    while server.server.stats().access.tls_handshakes_refused < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.server.stats().requests, 0);
}

#[tokio::test]
async fn a_hello_on_a_port_without_tls_is_told_apart() {
    let logged = Logged::begin();
    let server = rpc_server::Server::builder()
        .listen("127.0.0.1:0")
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let _server = crate::support::TestServer::of(server);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&old_hello()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty(), "{answer:?}");
    let line = logged
        .line_with("a TLS client hello on a port without TLS")
        .await;
    assert!(
        line.contains(&format!("peer={}", stream.local_addr().unwrap())),
        "{line}"
    );
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended_and_others_go_on_meanwhile() {
    let (logged, ca) = (Logged::begin(), Authority::new("servers"));
    let config = Config::default().with(|config| config.accept.handshake_timeout_ms = 60_000);
    let server = TlsServer::with(
        config,
        &ca.server(HOST, Holds::Now),
        None,
        ClientCertificates::Off,
    )
    .await;
    let mut silent = server.tcp().await;
    let mut half = server.tcp().await;
    half.write_all(&old_hello()[..20]).await.unwrap();
    until(|| server.server.stats().access.tls_handshakes_under_way == 2).await;
    gets_in(&server, &ca, None).await;

    pass(Duration::from_secs(61)).await;
    for stream in [&mut silent, &mut half] {
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the server ends it");
        assert!(read.is_ok_and(|n| n == 0) || answer.is_empty());
    }
    logged
        .line_with("not done within `accept.handshake_timeout_ms` of 60000 ms")
        .await;
}

#[tokio::test]
async fn handshakes_past_their_number_wait_for_their_turn() {
    let ca = Authority::new("servers");
    let config = Config::default().with(|config| config.accept.handshakes_max = 1);
    let server = TlsServer::with(
        config,
        &ca.server(HOST, Holds::Now),
        None,
        ClientCertificates::Off,
    )
    .await;
    let under_way = async |n| {
        while server.server.stats().access.tls_handshakes_under_way < n {
            tokio::task::yield_now().await;
        }
    };
    let mut first = server.tcp().await;
    first.write_all(&old_hello()[..20]).await.unwrap();
    under_way(1).await;
    let second = gets_in(&server, &ca, None);
    let leave = async {
        under_way(2).await;
        // Enough for a whole handshake, if it had its turn.
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.server.stats().access.tls_handshakes, 0);
        drop(first);
    };
    tokio::join!(second, leave);
}
