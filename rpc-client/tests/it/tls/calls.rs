//! Calls over TLS, also while certificates are renewed.

use rpc_client::{Client, Mode, TlsConfig};
use serde_json::Value;

use super::{Certificates, NOW, ask, impatient, refused, with};

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
