//! Shutdown: a server drains. It takes no new connections, answers what it has accepted, and ends.
//!
//! `rpc_server::shutdown_signal()` waits for SIGTERM or SIGINT; here a channel takes its place.

use std::time::Duration;

use rpc_client::Client;
use rpc_server::{Config, Router, Server, Status};
use tokio::sync::{Notify, oneshot};

static STARTED: Notify = Notify::const_new();

async fn slow() -> Result<&'static str, Status> {
    STARTED.notify_one();
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok("finished, though the server was asked to stop meanwhile")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Calls that run longer than this after the signal are ended with code 14.
    let config = Config::default().with(|config| config.drain.timeout_ms = 10_000);
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .config(config)
        .router(Router::new().route(100, slow)?)
        .bind()
        .await?;
    let address = server.addresses()[0].to_string();

    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));

    let client = Client::new(address);
    let called = client.clone();
    let call = tokio::spawn(async move { called.call::<_, String>(100, &()).await });

    STARTED.notified().await;
    stop.send(()).map_err(|()| "the server has ended already")?;
    println!("{}", call.await??);

    let drained = serving.await??;
    println!("drained: {drained:?}");

    let error = client.call::<_, String>(100, &()).await.unwrap_err();
    println!("after it: {error}");
    Ok(())
}
