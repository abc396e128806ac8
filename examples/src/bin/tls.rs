//! TLS: a server with a certificate, and a client that trusts the authority that signed it.
//!
//! The certificates are made here; elsewhere they come from your authority, as files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rpc_client::{Client, Config, TlsConfig};
use rpc_server::{ClientCertificates, ListenOptions, Router, Server, ServerTls, Status, TlsFiles};

fn make_certificate(directory: &Path) -> Result<TlsFiles, Box<dyn std::error::Error>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (certificate, key) = (directory.join("server.pem"), directory.join("server.key"));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    // A key that others can read is refused.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;

    Ok(TlsFiles {
        certificate,
        key,
        client_ca: None,
        client_certificates: ClientCertificates::Off,
    })
}

async fn secret() -> Result<&'static str, Status> {
    Ok("encrypted")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let tls = ServerTls::load(make_certificate(directory.path())?)?;

    let server = Server::builder()
        .listen_with(ListenOptions::new("127.0.0.1:0").tls(tls.clone()))
        .router(Router::new().route(100, secret)?)
        .bind()
        .await?;
    let port = server.addresses()[0]
        .tcp()
        .ok_or("it listens on TCP")?
        .port();
    tokio::spawn(server.serve(rpc_server::shutdown_signal()));

    let trust = TlsConfig {
        ca_file: Some(tls.files().certificate.clone()),
        ..TlsConfig::default()
    };
    let config = Config::default().with(|config| config.tls = Some(trust));
    let client = Client::with_config(format!("localhost:{port}"), config);
    println!("{}", client.call::<_, String>(100, &()).await?);
    Ok(())
}
