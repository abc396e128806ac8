//! Calls over HTTP to this project's server, and to axum's for comparison. Both have a client of a few lines in the same
//! thread, which is counted with them.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use axum::Json;
use axum::extract::State;
use axum::routing::post;
use rpc_server::{ListenOptions, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use rpc_benches::log_call::{Counter, Entry, LOG, Receipt};

/// This project's server answers calls.
pub(crate) async fn ours(calls: u64) -> Result<()> {
    let listen = ListenOptions::new("127.0.0.1:0").http_calls(true);
    let server = Server::builder()
        .listen_with(listen)
        .router(crate::plain_router()?);
    let server = server.bind().await?;
    let address: SocketAddr = server.addresses()[0].to_string().parse()?;

    let serving = tokio::spawn(server.serve(pending::<()>()));
    call(address, &format!("/{LOG}"), calls).await?;
    serving.abort();
    Ok(())
}

/// axum's.
pub(crate) async fn axum(calls: u64) -> Result<()> {
    let log = |State(counter): State<Arc<Counter>>, Json(entry): Json<Entry>| async move {
        Json::<Receipt>(counter.accept(&entry))
    };
    let router = axum::Router::new()
        .route("/log", post(log))
        .with_state(Arc::new(Counter::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;

    let serving = tokio::spawn(axum::serve(listener, router).into_future());
    call(address, "/log", calls).await?;
    serving.abort();
    Ok(())
}

/// Makes calls one after another over one connection.
fn call(address: SocketAddr, path: &str, calls: u64) -> impl Future<Output = Result<()>> {
    let request = |body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let request = serde_json::to_string(&Entry::of(0)).map(|body| request(&body));

    async move {
        let request = request?;
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;

        let mut reply = [0; 4_096];
        for call in 1..=calls {
            stream.write_all(request.as_bytes()).await?;
            let mut read = 0;
            while read == 0 || reply[read - 1] != b'}' {
                let more = stream.read(&mut reply[read..]).await?;
                ensure!(more > 0, "the reply breaks off");
                read += more;
            }
            let seq = format!("\"seq\":{call}}}");
            ensure!(reply[..read].ends_with(seq.as_bytes()), "a wrong reply");
        }
        Ok(())
    }
}
