//! Calls that are balanced over several servers.

mod failing;
mod shares;

use std::future::pending;

use rpc_server::{Router, Server, ServerHandle};

async fn serving(router: Router<()>) -> (String, ServerHandle) {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .router(router)
        .bind()
        .await
        .unwrap();
    let (address, handle) = (server.addresses()[0].to_string(), server.handle());
    tokio::spawn(server.serve(pending()));
    (address, handle)
}
