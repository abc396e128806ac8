//! Files that are wrong, and files that change.

use rpc_server::{ClientCertificates, ServerTls, TlsFiles};

use super::authority::{Authority, Holds, Pair, set_mode};
use super::{HOST, TlsServer};

fn load(pair: &Pair) -> Result<ServerTls, String> {
    let files = TlsFiles {
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
        client_ca: None,
        client_certificates: ClientCertificates::Off,
    };
    ServerTls::load(files).map_err(|error| error.to_string())
}

#[test]
fn a_key_that_everybody_may_read_is_refused_with_its_mode_and_the_right_one() {
    let ca = Authority::new("servers");
    let pair = ca.server(HOST, Holds::Now);
    for mode in [0o604, 0o644, 0o666, 0o602] {
        set_mode(&pair.key, mode);
        let message = load(&pair).unwrap_err();
        assert!(
            message.starts_with(&pair.key.display().to_string()),
            "{message}"
        );
        assert!(
            message.contains(&format!("(mode {mode:04o}); set its mode to 0600")),
            "{message}"
        );
    }
    for mode in [0o600, 0o640, 0o400] {
        set_mode(&pair.key, mode);
        load(&pair).unwrap();
    }
}

#[test]
fn files_that_are_missing_or_something_else_are_named() {
    let ca = Authority::new("servers");
    let (pair, other) = (ca.server(HOST, Holds::Now), ca.server(HOST, Holds::Now));
    let missing = ca.ca().with_file_name("nowhere.pem");
    let with = |certificate: &std::path::Path, key: &std::path::Path| {
        load(&Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        })
        .unwrap_err()
    };
    let message = with(&missing, &pair.key);
    assert!(message.contains("nowhere.pem: No such file"), "{message}");
    let message = with(&pair.certificate, &missing);
    assert!(message.contains("nowhere.pem: No such file"), "{message}");
    let message = with(&pair.key, &pair.key);
    assert!(message.contains("has no certificate in PEM"), "{message}");
    set_mode(&pair.certificate, 0o600);
    let message = with(&pair.certificate, &pair.certificate);
    assert!(message.contains("has no private key in PEM"), "{message}");
    let message = with(&pair.certificate, &other.key);
    let mixed_up = format!(
        "is not the key of the certificate in {}",
        pair.certificate.display()
    );
    assert!(message.contains(&mixed_up), "{message}");
    let files = TlsFiles {
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
        client_ca: None,
        client_certificates: ClientCertificates::Required,
    };
    let message = ServerTls::load(files).unwrap_err().to_string();
    assert!(message.contains("need `client_ca_file`"), "{message}");
}

#[tokio::test]
async fn a_new_certificate_is_served_from_its_reload_on_and_open_connections_stay() {
    let (ca, next) = (Authority::new("first"), Authority::new("second"));
    let (pair, other) = (ca.server(HOST, Holds::Now), next.server(HOST, Holds::Now));
    let server = TlsServer::start(&pair, None, ClientCertificates::Off).await;
    let mut open = server.connect(&ca, None).await.unwrap();
    assert_eq!(open.ask("{\"id\":1,\"cmdid\":0}").await["code"], 0);
    assert!(!server.tls.reload().unwrap(), "the same certificate");
    std::fs::copy(&other.certificate, &pair.certificate).unwrap();
    let message = server.tls.reload().unwrap_err().to_string();
    assert!(
        message.contains("is not the key of the certificate"),
        "half of the files: {message}"
    );
    let mut another = server
        .connect(&ca, None)
        .await
        .expect("what was there before is served");
    std::fs::copy(&other.key, &pair.key).unwrap();
    assert!(server.tls.reload().unwrap());
    assert!(server.connect(&ca, None).await.is_err());
    let mut new = server.connect(&next, None).await.unwrap();
    for client in [&mut open, &mut another, &mut new] {
        assert_eq!(client.ask("{\"id\":2,\"cmdid\":0}").await["code"], 0);
    }
}
