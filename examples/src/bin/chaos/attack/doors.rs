//! Peers that make the server hold something before it serves them, or instead: TLS, pages over HTTP, refusals.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::holds::large_replies;
use super::{Seen, connect_with_small_buffer};
use crate::Outcome;

/// How long a connection is kept before it is made anew.
const STAY: Duration = Duration::from_secs(3);

/// The beginning of a TLS record that is said to have 16,000 bytes.
const RECORD_HEAD: [u8; 5] = [0x16, 0x03, 0x01, 0x3e, 0x80];

/// Begins the attack of this name, if it is one of these; its peers are there then.
pub(super) async fn begin(
    name: &str,
    address: &Arc<str>,
    seen: &Arc<Seen>,
    authority: &str,
) -> Outcome<bool> {
    match name {
        "tls-replies-unread-50" => {
            let tls = connector(Path::new(authority))?;
            let send = move |stream| {
                let tls = tls.clone();
                async move {
                    let mut stream = tls.connect(localhost(), stream).await?;
                    large_replies().send(&mut stream).await?;
                    std::future::pending().await
                }
            };
            hold(address, seen, 50, send).await;
        }
        "tls-half-hellos-1000" => {
            let hello: Vec<u8> = [&RECORD_HEAD[..], &[1; 12_000]].concat();
            hold(address, seen, 1_000, sends(hello)).await;
        }
        "pages-half-asked-1000" => {
            let head = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(8_000));
            hold(address, seen, 1_000, sends(head.into())).await;
        }
        "pages-unread-1000" => {
            let request = "GET /stats.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
            hold(address, seen, 1_000, sends(request.into())).await;
        }
        "refused-2000" => hold(address, seen, 2_000, sends(b"{\"cmdid\":0}\n".to_vec())).await,
        _ => return Ok(false),
    }

    Ok(true)
}

/// Connections that send, read nothing, and are made anew after a while; all of them have begun when it returns.
async fn hold<Sent>(
    address: &Arc<str>,
    seen: &Arc<Seen>,
    count: usize,
    send: impl Fn(TcpStream) -> Sent + Clone + Send + Sync + 'static,
) where
    Sent: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut first = Vec::new();
    for _ in 0..count {
        let (address, seen, send) = (Arc::clone(address), Arc::clone(seen), send.clone());
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        first.push(told);

        tokio::spawn(async move {
            let mut tell = Some(tell);
            while !seen.is_over() {
                let stream = connect_with_small_buffer(&address).await;
                drop(tell.take());

                if let Ok(stream) = stream {
                    Seen::one(&seen.done);
                    if let Ok(Err(_)) = timeout(STAY, send(stream)).await {
                        Seen::one(&seen.ended);
                    }
                }
                sleep(Duration::from_millis(200)).await;
            }
        });
    }

    for told in first {
        drop(told.await);
    }
}

/// Sends these bytes, reads nothing, and stays.
fn sends(bytes: Vec<u8>) -> impl Fn(TcpStream) -> BoxFuture<'static, io::Result<()>> + Clone {
    let bytes: Arc<[u8]> = bytes.into();
    move |mut stream| {
        let bytes = Arc::clone(&bytes);
        Box::pin(async move {
            stream.write_all(&bytes).await?;
            std::future::pending().await
        })
    }
}

/// Knows a server by the certificate in this file.
fn connector(authority: &Path) -> Outcome<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;

    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("this is a name")
}
