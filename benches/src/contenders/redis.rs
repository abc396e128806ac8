//! Redis' ECHO of the entry's JSON, through redis-rs' multiplexed connection.
//!
//! It measures transport and multiplexing: the server parses no entry and counts nothing. The client
//! decodes what comes back, and makes the receipt itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::{Caller, Connect, announce};
use crate::process::foreign;
use rpc_benches::log_call::{Counter, Entry, Receipt};

/// As long as this project's clients wait; redis-rs would wait half a second.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether there is a Redis.
pub(crate) fn is_available() -> bool {
    foreign::succeeds("redis-server", &["--version"])
}

/// Serves until the process ends.
pub(crate) async fn serve(listen: SocketAddr) -> Result<()> {
    // Redis has no port 0, so a free one is found for it.
    let address = TcpListener::bind(listen).await?.local_addr()?;

    // setpriv, of util-linux, because redis-server does not end with its stdin.
    let mut redis = Command::new("setpriv");
    redis.args(["--pdeathsig", "KILL", "redis-server"]);
    redis.args([
        "--bind",
        &address.ip().to_string(),
        "--port",
        &address.port().to_string(),
    ]);
    redis.args([
        "--save",
        "",
        "--appendonly",
        "no",
        "--protected-mode",
        "no",
        "--loglevel",
        "warning",
    ]);

    // Its log, errors included, goes to stdout, where only the address belongs.
    redis.stdout(std::io::stderr());

    let child = foreign::start(&mut redis)?;
    tokio::spawn(async move {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        announce(&address);
    });

    foreign::run(child).await
}

/// Opens one connection for each connection.
pub(crate) struct Redis;

/// A share of a connection.
pub(crate) struct RedisCaller {
    connection: MultiplexedConnection,
    counter: Arc<Counter>,
}

impl Connect for Redis {
    type Caller = RedisCaller;

    async fn connect(&self, address: SocketAddr, callers: usize) -> Result<Vec<RedisCaller>> {
        let tcp = TcpSettings::default().set_nodelay(true);
        let server = (address.ip().to_string(), address.port())
            .into_connection_info()?
            .set_tcp_settings(tcp);

        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(TIMEOUT))
            // A place for each caller in the queue to the connection.
            .set_pipeline_buffer_size(callers);

        let connection = Client::open(server)?
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        let connection = connection.context("cannot connect")?;

        let counter = Arc::new(Counter::default());
        let caller = || RedisCaller {
            connection: connection.clone(),
            counter: Arc::clone(&counter),
        };

        Ok((0..callers).map(|_| caller()).collect())
    }
}

impl Caller for RedisCaller {
    async fn log(&mut self, entry: &Entry) -> Result<Receipt> {
        let json = serde_json::to_vec(entry)?;
        let json: Vec<u8> = redis::cmd("ECHO")
            .arg(json)
            .query_async(&mut self.connection)
            .await?;
        Ok(self.counter.accept(&serde_json::from_slice(&json)?))
    }

    /// Waits for a list that stays empty, and the connection with it: Redis runs the commands of one
    /// connection in their order.
    async fn slow(&mut self, time: Duration) -> Result<()> {
        let mut wait = redis::cmd("BLPOP");
        Ok(wait
            .arg("nothing")
            .arg(time.as_secs_f64())
            .query_async(&mut self.connection)
            .await?)
    }
}
