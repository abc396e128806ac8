//! Addresses and sockets.

mod addresses;
mod connections;

use rpc_server::{Config, Router, Server};

use crate::rig::Rig;
use crate::support::TestServer;

async fn bind(address: &str) -> std::io::Result<Server> {
    Server::builder()
        .listen(address)
        .router(Router::new())
        .bind()
        .await
}

async fn tcp(config: Config, rig: &Rig) -> (TestServer, std::net::SocketAddr) {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .config(config)
        .router(rig.router())
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    (TestServer::of(server), address)
}
