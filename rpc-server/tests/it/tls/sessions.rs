//! Sessions that are resumed.

use std::sync::Arc;

use rpc_server::ClientCertificates;
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio_rustls::TlsConnector;

use super::authority::{Authority, Holds};
use super::{HOST, TlsServer, client};
use crate::support::Client;

/// Connects, asks who it is, and returns how the handshake went.
async fn ask_who(server: &TlsServer, connector: &TlsConnector) -> HandshakeKind {
    let name = ServerName::try_from(HOST).unwrap();
    let stream = connector.connect(name, server.tcp().await).await.unwrap();
    let kind = stream.get_ref().1.handshake_kind().unwrap();

    // The ticket comes before the reply.
    let mut client = Client::new(stream);
    let reply = client.ask("{\"cmdid\":100}").await;
    assert_eq!(reply, json!({"code": 0, "data": "orders"}), "{kind:?}");
    kind
}

#[tokio::test]
async fn a_session_is_resumed_with_its_identity_until_the_certificates_are_loaded_again() {
    let ca = Authority::new("both");
    let pair = ca.server(HOST, Holds::Now);
    let server = TlsServer::start(&pair, Some(&ca), ClientCertificates::Required).await;
    let orders = ca.client("orders", vec![], Holds::Now);
    let connector = TlsConnector::from(Arc::new(client(&ca.ca(), Some(&orders))));

    assert_eq!(ask_who(&server, &connector).await, HandshakeKind::Full);
    assert_eq!(ask_who(&server, &connector).await, HandshakeKind::Resumed);
    assert_eq!(ask_who(&server, &connector).await, HandshakeKind::Resumed);

    server.tls.reload().unwrap();
    assert_eq!(ask_who(&server, &connector).await, HandshakeKind::Full);
}
