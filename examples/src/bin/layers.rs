//! Layers: code that runs around every call of a server or of a client.

use std::future::Future;
use std::time::Instant;

use rpc_client::Client;
use rpc_server::layers::ConcurrencyLimit;
use rpc_server::{Code, Outcome, Request, Router, Server, Service, Status};

/// Prints how long each call took.
#[derive(Clone)]
struct Timing<S>(S);

impl<S: Service> Service for Timing<S> {
    // `call` only prepares the call: what is done for it belongs into the future, which may never be polled.
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let (cmdid, call) = (request.cmdid, self.0.call(request));

        async move {
            let started = Instant::now();
            let outcome = call.await;

            let code = outcome.as_ref().map_or_else(Status::code, |_| Code::OK);
            println!("command {cmdid}: {code}, {:?}", started.elapsed());
            outcome
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::new()
        .route(100, async || Ok::<_, Status>("fast"))?
        .route(101, async || {
            Err::<(), _>(Status::not_found("there is nothing here"))
        })?
        // The layer that is added last is the outermost.
        .layer(ConcurrencyLimit::new(64))
        .layer(rpc_client::layer_fn(Timing));

    let server = Server::builder()
        .listen("127.0.0.1:0")
        .router(router)
        .bind()
        .await?;
    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(rpc_server::shutdown_signal()));

    let client = Client::new(address);
    println!("{}", client.call::<_, String>(100, &()).await?);
    println!("{}", client.call::<_, ()>(101, &()).await.unwrap_err());
    Ok(())
}
