//! This project's calls over HTTP, with the client that the bare contender of HTTP has.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::http::{Bare, BareCaller, Post};
use super::rpc::SLOW;
use super::{Caller, Connect};
use rpc_benches::log_call::{Entry, LOG, Receipt};

/// hyper's connections with nothing around them, one a caller.
pub(crate) struct HttpRpc;

/// One caller over a connection of its own.
pub(crate) struct HttpRpcCaller {
    connection: BareCaller,
    log_path: String,
    slow_path: String,
}

impl Connect for HttpRpc {
    type Caller = HttpRpcCaller;

    async fn connect(&self, address: SocketAddr, callers: usize) -> Result<Vec<HttpRpcCaller>> {
        let bare = Bare { is_short: false };
        let connections = bare.connect(address, callers).await?;
        let caller = |connection| HttpRpcCaller {
            connection,
            log_path: format!("/{LOG}"),
            slow_path: format!("/{SLOW}"),
        };

        Ok(connections.into_iter().map(caller).collect())
    }
}

impl Caller for HttpRpcCaller {
    async fn log(&mut self, entry: &Entry) -> Result<Receipt> {
        let body = serde_json::to_vec(entry)?;
        let body = self.connection.post(&self.log_path, body).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    async fn slow(&mut self, time: Duration) -> Result<()> {
        let body = time.as_millis().to_string().into_bytes();
        self.connection.post(&self.slow_path, body).await.map(drop)
    }
}
