//! Coming back after a loss: who begins it, how often it is tried, what callers get meanwhile.

mod loss;
mod pace;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use rpc_client::{BoxByteStream, Client, Config, Connect};
use rpc_server::{Server, ServerHandle};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Seen, router};

/// A server that can be cut off, with all of its connections, and come back.
#[derive(Clone)]
struct Island(Arc<Mutex<State>>);

struct State {
    server: ServerHandle,
    is_up: bool,
    connections: JoinSet<()>,
    attempts: Vec<Instant>,
    accepted: Vec<Instant>,
}

impl Island {
    async fn new() -> Self {
        let server = Server::builder()
            .router(router(Seen::default()))
            .bind()
            .await
            .unwrap()
            .handle();
        let (connections, attempts, accepted) = (JoinSet::new(), Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(State {
            server,
            is_up: true,
            connections,
            attempts,
            accepted,
        })))
    }

    fn client(&self, config: Config) -> Client {
        Client::builder("island")
            .config(config)
            .connector(self.clone())
            .build()
    }

    /// Cuts every connection, and refuses further ones until it rises.
    fn sink(&self) {
        self.cut();
        self.0.lock().unwrap().is_up = false;
    }

    /// Cuts every connection, and forgets what was counted.
    fn cut(&self) {
        let mut state = self.0.lock().unwrap();
        state.connections.abort_all();
        state.attempts.clear();
        state.accepted.clear();
    }

    fn rise(&self) {
        self.0.lock().unwrap().is_up = true;
    }

    fn attempts(&self) -> Vec<Instant> {
        self.0.lock().unwrap().attempts.clone()
    }

    fn accepted(&self) -> Vec<Instant> {
        self.0.lock().unwrap().accepted.clone()
    }
}

impl Connect for Island {
    fn connect(&self, _address: &str) -> BoxFuture<'static, io::Result<BoxByteStream>> {
        let mut state = self.0.lock().unwrap();
        state.attempts.push(Instant::now());
        let result = if state.is_up {
            state.accepted.push(Instant::now());
            let (ours, theirs) = tokio::io::duplex(1024);
            let serve = state.server.serve_connection(theirs, "island");
            state.connections.spawn(serve);
            Ok(Box::new(ours) as BoxByteStream)
        } else {
            Err(io::Error::from(io::ErrorKind::ConnectionRefused))
        };
        Box::pin(std::future::ready(result))
    }
}

/// A client with a call that is never answered, so that its connection is in use.
async fn in_use(island: &Island, config: Config) -> Client {
    let client = island.client(config.with(|config| config.liveness.ping_interval_ms = 0));
    client.connect().await.unwrap();
    let caller = client.clone();
    tokio::spawn(async move {
        let patient = caller.command(101).timeout(Duration::from_secs(29));
        assert!(
            patient
                .call::<_, ()>(&json!({}))
                .await
                .unwrap_err()
                .may_have_run()
        );
    });
    client.flush().await.unwrap();
    tokio::task::yield_now().await;
    client.flush().await.unwrap();
    client
}

/// A server whose connections say and do this for the call `ID`; a line without an end closes the connection.
fn short_lived(answer: &'static str) -> (impl Connect, Arc<Mutex<Vec<Instant>>>) {
    let opened: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let times = Arc::clone(&opened);
    let connect = move |_: String| {
        let mut times = times.lock().unwrap();
        times.push(Instant::now());
        if times.len() > 10_000 {
            return std::future::ready(Err(io::Error::other("they come without end")));
        }

        let (ours, theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let mut lines = BufReader::new(theirs);
            let mut line = String::new();
            while lines.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                let call: serde_json::Value = serde_json::from_str(&line).unwrap();
                let answer = answer.replace("ID", &call["id"].to_string());
                // The client may be done with it.
                let _ = lines.write_all(answer.as_bytes()).await;
                if !answer.ends_with('\n') {
                    return;
                }
                line.clear();
            }
        });
        std::future::ready(Ok(ours))
    };
    (connect, opened)
}
