//! Identities out of certificates; calls and drains over TLS.

use rcgen::SanType;
use rpc_server::{
    ClientCertificates, Config, Grants, ListenOptions, Router, Server, ServerTls, TlsFiles,
};
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::authority::{Authority, Holds};
use super::{HOST, TlsServer, WHO, who};
use crate::rig::{FILL, Rig};
use crate::support::{PATIENCE, TestServer, call};

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

#[tokio::test]
async fn the_identity_is_the_first_uri_else_the_first_dns_name_else_the_common_name() {
    let ca = Authority::new("both");
    let server = TlsServer::start(
        &ca.server(HOST, Holds::Now),
        Some(&ca),
        ClientCertificates::Required,
    )
    .await;
    for (common, alternatives, expected) in [
        ("orders", vec![], "orders"),
        (
            "orders",
            vec![dns("orders.internal"), dns("x.internal")],
            "orders.internal",
        ),
        (
            "orders",
            vec![dns("orders.internal"), uri("spiffe://internal/orders")],
            "spiffe://internal/orders",
        ),
    ] {
        let pair = ca.client(common, alternatives, Holds::Now);
        let mut client = server.connect(&ca, Some(&pair)).await.unwrap();
        assert_eq!(client.ask("{\"cmdid\":100}").await["data"], expected);
    }
}

#[tokio::test]
async fn a_certificate_without_a_name_is_no_identity() {
    let ca = Authority::new("both");
    let server = TlsServer::start(
        &ca.server(HOST, Holds::Now),
        Some(&ca),
        ClientCertificates::Required,
    )
    .await;
    for unnamed in ["", "*"] {
        let pair = ca.client(unnamed, vec![], Holds::Now);
        let mut client = server.connect(&ca, Some(&pair)).await.unwrap();
        let mut byte = [0];
        assert!(
            !matches!(client.io.read(&mut byte).await, Ok(1)),
            "{unnamed:?}"
        );
    }
    assert_eq!(server.server.stats().access.tls_handshakes_refused, 2);
}

#[tokio::test]
async fn a_certificate_is_an_authentication_and_has_its_grants() {
    let ca = Authority::new("both");
    let pair = ca.server(HOST, Holds::Now);
    let files = TlsFiles {
        certificate: pair.certificate,
        key: pair.key,
        client_ca: Some(ca.ca()),
        client_certificates: ClientCertificates::Optional,
    };
    let tls = ServerTls::load(files).unwrap();
    let server = Server::builder()
        .listen_with(
            ListenOptions::new("127.0.0.1:0")
                .require_authentication(true)
                .tls(tls.clone()),
        )
        .grants(Grants::new().grant("orders", ["100"]).unwrap())
        .router(
            Router::new()
                .route(WHO, who)
                .unwrap()
                .route(101, who)
                .unwrap(),
        )
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let server = TlsServer {
        server: TestServer::of(server),
        address,
        tls,
    };
    let mut unnamed = server.connect(&ca, None).await.unwrap();
    assert_eq!(unnamed.ask("{\"cmdid\":100}").await["code"], 16);
    let pair = ca.client("orders", vec![], Holds::Now);
    let mut orders = server.connect(&ca, Some(&pair)).await.unwrap();
    assert_eq!(
        orders.ask("{\"cmdid\":100}").await,
        json!({"code":0,"data":"orders"})
    );
    assert_eq!(orders.ask("{\"cmdid\":101}").await["code"], 7);
}

/// The way of a reply over TLS is through two buffers more.
#[tokio::test]
async fn at_a_drain_every_reply_is_read_before_the_end_and_the_end_is_a_proper_one() {
    let (ca, rig) = (Authority::new("servers"), Rig::new());
    let pair = ca.server(HOST, Holds::Now);
    let files = TlsFiles {
        certificate: pair.certificate,
        key: pair.key,
        client_ca: None,
        client_certificates: ClientCertificates::Off,
    };
    let tls = ServerTls::load(files).unwrap();
    let server = Server::builder()
        .listen_with(ListenOptions::new("127.0.0.1:0").tls(tls.clone()))
        .config(Config::default().with(|config| {
            config.timeouts.linger_timeout_ms = 20_000;
            config.drain.goaway_grace_ms = 0;
        }))
        .router(rig.router())
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let mut server = TlsServer {
        server: TestServer::of(server),
        address,
        tls,
    };
    let mut client = server.connect(&ca, None).await.unwrap();
    for id in 1..=8 {
        client
            .send(call(id, FILL, "\"params\":{\"bytes\":50000}"))
            .await;
    }
    client.io.get_mut().get_ref().0.set_nodelay(true).unwrap();
    tokio::io::AsyncWriteExt::flush(&mut client.io)
        .await
        .unwrap();
    while rig.probe.started() < 8 {
        tokio::task::yield_now().await;
    }
    server.server.begin_to_drain();
    assert!(client.line().await.starts_with("{\"event\":\"goaway\""));
    rig.gate.let_pass(8);
    // All of it is written, and more than the client's system takes before it is read; what comes now would
    // have a plain close reset the connection, which takes the rest back.
    let is_written = async {
        while server.server.stats().bytes_out < 8 * 50_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_written)
        .await
        .expect("the replies are written");
    client.send(call(9, FILL, "\"params\":{\"bytes\":2}")).await;
    tokio::io::AsyncWriteExt::flush(&mut client.io)
        .await
        .unwrap();
    // Ends without an error only where the server has said goodbye.
    let all = client.read_to_end().await;
    let replies = all
        .lines()
        .filter(|line| line.len() > 50_000 && line.contains("\"code\":0"))
        .count();
    assert_eq!(replies, 8, "of {} lines", all.lines().count());
    drop(client);
    assert!(server.server.drained().await.is_clean);
}

#[tokio::test]
async fn a_client_that_ends_without_a_goodbye_still_gets_its_replies() {
    let ca = Authority::new("servers");
    let server =
        TlsServer::start(&ca.server(HOST, Holds::Now), None, ClientCertificates::Off).await;
    let mut client = server.connect(&ca, None).await.unwrap();
    client.send("{\"id\":1,\"cmdid\":0}\n").await;
    tokio::io::AsyncWriteExt::flush(&mut client.io)
        .await
        .unwrap();
    // The socket's end, under TLS.
    let (socket, _) = client.io.get_mut().get_mut();
    tokio::io::AsyncWriteExt::shutdown(socket).await.unwrap();
    client.expect("{\"id\":1,\"code\":0,\"data\":{}}").await;
    client.expect_end().await;
}
