//! Providers behind TLS.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A provider with a certificate for this name, which answers one request. Answers its port and its certificate as PEM.
async fn provider(name: &str) -> (u16, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that does not trust it ends the handshake.
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let mut bytes = [0; 4096];
            assert!(stream.read(&mut bytes).await.unwrap() > 0);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ACCEPTED}",
                ACCEPTED.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (port, cert.pem())
}

async fn submit(port: u16, pem: &str) -> Submission {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let gateway = gateway(json!({
        "url": format!("https://localhost:{port}/"),
        "ca_file": ca_file,
        "query": {"to": "{to}", "text": "{text}"},
        "response": {"rules": [{"status": [200], "class": "sent"}]},
    }));
    gateway.submit(&message("hello")).await
}

#[tokio::test]
async fn a_provider_is_known_by_its_certificate_and_gets_nothing_without() {
    let (port, pem) = provider("localhost").await;
    assert!(is_accepted(&submit(port, &pem).await));

    let (port, _) = provider("localhost").await;
    let (_, other) = provider("localhost").await;
    for (port, pem) in [(port, other), provider("other.example").await] {
        let submitted = submit(port, &pem).await;
        let Submission::NotSent { error } = &submitted else {
            panic!("{submitted:?}");
        };
        assert!(error.starts_with("TLS failed: "), "{error}");
    }
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_named() {
    let settings = |file: &str| {
        let settings = json!({"url": "https://localhost/", "ca_file": file});
        HttpGateway::new(serde_json::from_value(settings).unwrap())
    };
    let error = settings("/nonexistent/ca.pem").err().unwrap().to_string();
    assert!(
        error.starts_with("`http.ca_file` = \"/nonexistent/ca.pem\""),
        "{error}"
    );
}
