//! Python's tornado, as tornado-TCP used it; the client is this project's, in order on one connection.

use std::net::SocketAddr;

use anyhow::Result;
use rpc_client::Config;
use tokio::process::Command;

use super::Connect;
use super::rpc::{self, RpcCaller};
use crate::process::foreign;

const SERVER: &str = include_str!("../../tornado_server.py");

/// Whether there is a Python that has tornado.
pub(crate) fn is_available() -> bool {
    foreign::succeeds("python3", &["-c", "import tornado"])
}

/// Serves until the process ends. The script says itself where it listens.
pub(crate) async fn serve(listen: SocketAddr) -> Result<()> {
    let mut python = Command::new("python3");
    python.args(["-c", SERVER, "--listen", &listen.to_string()]);
    foreign::run(foreign::start(&mut python)?).await
}

/// Opens one client for each connection; its calls carry no id and are answered in their order.
pub(crate) struct Tornado;

impl Connect for Tornado {
    type Caller = RpcCaller;

    async fn connect(&self, address: SocketAddr, callers: usize) -> Result<Vec<RpcCaller>> {
        rpc::share(
            address,
            callers,
            Config::default().with(|config| config.pool.ordered = true),
        )
        .await
    }
}
