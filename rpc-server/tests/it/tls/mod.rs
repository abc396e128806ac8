//! TLS from outside: handshakes that go well, and those that do not.

pub(crate) mod authority;
mod files;
mod gone;
mod identity;
mod matrix;
mod sessions;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rpc_server::{
    ClientCertificates, Config, Context, ListenOptions, Reply, Router, Server, ServerTls, Status,
    TlsFiles,
};
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Client, TestServer};
use authority::{Authority, Pair};

/// Tells the identity of its caller.
const WHO: u32 = 100;

/// The name on the servers' certificates.
const HOST: &str = "rpc.test";

async fn who(context: Context) -> Result<Reply, Status> {
    context.identity().map_or(Ok(Reply::empty()), Reply::new)
}

/// A server with one listener, on TLS.
struct TlsServer {
    server: TestServer,
    address: SocketAddr,
    tls: ServerTls,
}

impl TlsServer {
    async fn start(pair: &Pair, client_ca: Option<&Authority>, ask: ClientCertificates) -> Self {
        Self::with(Config::default(), pair, client_ca, ask).await
    }

    async fn with(
        config: Config,
        pair: &Pair,
        client_ca: Option<&Authority>,
        client_certificates: ClientCertificates,
    ) -> Self {
        let router = Router::new().route(WHO, who).unwrap();
        Self::serving(router, config, pair, client_ca, client_certificates).await
    }

    async fn serving<S: Clone + Send + Sync + 'static>(
        router: Router<S>,
        config: Config,
        pair: &Pair,
        client_ca: Option<&Authority>,
        client_certificates: ClientCertificates,
    ) -> Self {
        let files = TlsFiles {
            certificate: pair.certificate.clone(),
            key: pair.key.clone(),
            client_ca: client_ca.map(Authority::ca),
            client_certificates,
        };
        let tls = ServerTls::load(files).unwrap();
        let server = Server::builder()
            .listen_with(ListenOptions::new("127.0.0.1:0").tls(tls.clone()))
            .config(config)
            .router(router)
            .bind()
            .await
            .unwrap();
        let address = server.addresses()[0].tcp().unwrap();
        Self {
            server: TestServer::of(server),
            address,
            tls,
        }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection after its handshake.
    async fn connect(
        &self,
        trusts: &Authority,
        pair: Option<&Pair>,
    ) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let connector = TlsConnector::from(Arc::new(client(&trusts.ca(), pair)));
        let stream = connector
            .connect(ServerName::try_from(HOST).unwrap(), self.tcp().await)
            .await?;
        Ok(Client::new(stream))
    }
}

/// What a client trusts and shows.
fn client(ca: &Path, pair: Option<&Pair>) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = CertificateDer::pem_file_iter(&pair.certificate)
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}
