//! The server's process: serves, and says when it lost its client.

use std::future::pending;
use std::time::Duration;

use rpc_core::Status;
use rpc_server::{Params, Router, Server};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::Instant;

use crate::Result;
use crate::namespaces::SERVER;

/// The command that answers its params.
pub(crate) const ECHO: u32 = 100;

/// Prints its address; after a line of input, the milliseconds until it has no connection. Ends with
/// its input.
pub(crate) async fn run() -> Result<()> {
    let router = Router::new().route(ECHO, echo)?;
    let server = Server::builder()
        .listen(format!("{SERVER}:0"))
        .router(router)
        .bind()
        .await?;
    println!("{}", server.addresses()[0]);
    let handle = server.handle();
    tokio::spawn(server.serve(pending()));

    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let Some(_fault) = input.next_line().await? else {
        return Ok(());
    };
    let began = Instant::now();
    let found = async {
        while handle.stats().connections_open > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("{}", began.elapsed().as_millis());
        pending::<()>().await;
    };
    tokio::select! {
        () = found => {}
        _ = input.next_line() => {}
    }
    Ok(())
}

async fn echo(Params(value): Params<String>) -> std::result::Result<String, Status> {
    Ok(value)
}
