//! Addresses and sockets.

mod addresses;
mod connections;

use rpc_server::{Router, Server};

async fn bind(address: &str) -> std::io::Result<Server> {
    Server::builder()
        .listen(address)
        .router(Router::new())
        .bind()
        .await
}
