//! Middleware of the crate `tower` around a router, and around a client.

use std::time::Duration;

use rpc_client::{Client, Config, Error, Reply, Request, ServiceClient};
use rpc_server::tower::TowerLayer;
use rpc_server::{Router, Server, Status};
use tokio::time::{Sleep, sleep};
use tower::ServiceBuilder;
use tower::retry::Policy;

/// Tries again what has certainly not run, which the client's error knows.
#[derive(Clone)]
struct WhereSafe;

impl Policy<Request<'static>, Reply, Error> for WhereSafe {
    type Future = Sleep;

    fn retry(
        &mut self,
        _: &mut Request<'static>,
        result: &mut Result<Reply, Error>,
    ) -> Option<Sleep> {
        let error = result.as_ref().err().filter(|error| error.is_retryable())?;
        println!("again: {error}");
        Some(sleep(Duration::from_millis(20)))
    }

    fn clone_request(&mut self, request: &Request<'static>) -> Option<Request<'static>> {
        Some(request.clone())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let slow = async || {
        sleep(Duration::from_millis(50)).await;
        Ok::<_, Status>("done")
    };
    // One call at a time; what comes meanwhile is shed.
    let one = ServiceBuilder::new().load_shed().concurrency_limit(1);
    let router = Router::new().route(100, slow)?.layer(TowerLayer::new(one));
    let server = Server::builder().listen("127.0.0.1:0").router(router);
    let server = server.bind().await?;
    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(rpc_server::shutdown_signal()));

    // Retries are tower's here, not the client's own; in front of them a bounded queue.
    let config = Config::default().with(|config| config.retry.attempts_max = 1);
    let client = Client::with_config(address, config);
    let stack = ServiceBuilder::new()
        .buffer(16)
        .retry(WhereSafe)
        .service(client);
    let client = ServiceClient::new(rpc_client::tower::service(stack));
    let calls = (0..3).map(|_| client.call::<_, String>(100, &()));
    println!("{:?}", futures::future::try_join_all(calls).await?);
    Ok(())
}
