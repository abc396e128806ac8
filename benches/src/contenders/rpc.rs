//! This project, as its users use it: a typed handler, the default layers, a deadline on each call.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use rpc_client::{Client, Config, Mode};
use rpc_core::Status;
use rpc_server::{ListenOptions, Params, Reply, Router, Server, State};

use super::{Caller, Connect, Entries, announce, tls};
use rpc_benches::log_call::{self, Counter, Entry, LOG, Receipt};

/// Items that a stream sends ahead of its reader: about as many as gRPC's windows hold here.
const STREAM_CREDIT: u64 = 4_096;

/// The cmdid of the slow call; its params are milliseconds.
pub(crate) const SLOW: u32 = 10_001;

async fn log(
    State(counter): State<Arc<Counter>>,
    Params(entry): Params<Entry>,
) -> Result<Receipt, Status> {
    Ok(counter.accept(&entry))
}

async fn slow(Params(milliseconds): Params<u64>) -> Result<(), Status> {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    Ok(())
}

/// The cmdid of the stream; its params are the entry.
const FOLLOW: u32 = 10_002;

async fn follow(Params(entry): Params<Entry>) -> Reply {
    Reply::stream(stream::iter(log_call::follow(entry)).map(Ok))
}

/// How the server serves.
pub(crate) struct Serving {
    pub(crate) listen: SocketAddr,
    /// The number of its own runtimes; 0: on the one that this runs on.
    pub(crate) runtimes: usize,
    pub(crate) spin_us: u64,
    /// With TLS, by a certificate in this directory.
    pub(crate) tls: Option<PathBuf>,
    /// Takes calls over HTTP, too.
    pub(crate) http_calls: bool,
}

/// Serves until the process ends.
pub(crate) async fn serve(serving: Serving) -> Result<()> {
    let router = Router::with_state(Arc::new(Counter::default()))
        .route(LOG, log)?
        .route(SLOW, slow)?
        .route(FOLLOW, follow)?;

    let config = rpc_server::Config::default().with(|config| {
        config.limits.connections_max = 20_000;
        config.limits.connections_per_address = 0;
        config.timeouts.spin_us = serving.spin_us;
    });

    let mut listen = ListenOptions::new(serving.listen.to_string()).http_calls(serving.http_calls);
    if let Some(directory) = &serving.tls {
        listen = listen.tls(tls::server(directory)?);
    }

    let server = Server::builder()
        .listen_with(listen)
        .config(config)
        .workers(serving.runtimes)
        .router(router);
    let server = server.bind().await?;

    announce(&server.addresses()[0]);
    server.serve(std::future::pending::<()>()).await?;
    Ok(())
}

/// Opens one client for each connection, or one whose calls each open their own.
pub(crate) struct Rpc {
    /// Each call opens its own connection.
    pub(crate) is_short: bool,
    pub(crate) spin_us: u64,
    /// Speaks TLS with a server whose certificate is in this directory.
    pub(crate) tls: Option<PathBuf>,
}

pub(crate) struct RpcCaller(Client);

impl Connect for Rpc {
    type Caller = RpcCaller;

    async fn connect(&self, address: SocketAddr, callers: usize) -> Result<Vec<RpcCaller>> {
        let config = Config::default().with(|config| {
            config.timeouts.spin_us = self.spin_us;
            config.tls = self.tls.as_deref().map(tls::client);
            config.limits.stream_credit = STREAM_CREDIT;
        });

        if self.is_short {
            let client = Client::with_config(
                address.to_string(),
                config.with(|config| config.pool.mode = Mode::Short),
            );
            return Ok((0..callers).map(|_| RpcCaller(client.clone())).collect());
        }

        share(address, callers, config).await
    }
}

/// Opens one client, and hands out callers that share it.
pub(crate) async fn share(
    address: SocketAddr,
    callers: usize,
    config: Config,
) -> Result<Vec<RpcCaller>> {
    let client = Client::with_config(address.to_string(), config);
    client.connect().await?;
    Ok((0..callers).map(|_| RpcCaller(client.clone())).collect())
}

impl Caller for RpcCaller {
    async fn log(&mut self, entry: &Entry) -> Result<Receipt> {
        Ok(self.0.call(LOG, entry).await?)
    }

    async fn slow(&mut self, time: Duration) -> Result<()> {
        let milliseconds = u64::try_from(time.as_millis())?;
        Ok(self.0.call(SLOW, &milliseconds).await?)
    }

    async fn follow(&mut self, entry: &Entry) -> Result<Entries> {
        let entries = self.0.stream(FOLLOW, entry).await?;
        Ok(entries.map_err(Into::into).boxed())
    }
}
