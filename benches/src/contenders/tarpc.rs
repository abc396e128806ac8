//! tarpc over TCP, with JSON or bincode.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt;
use tarpc::context::{self, Context};
use tarpc::serde_transport;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::{Bincode, Json};
use tarpc::tokio_util::codec::LengthDelimitedCodec;
use tarpc::{ClientMessage, Response, Transport, client, server};
use tokio::net::{TcpListener, TcpStream};

use super::{Caller, Connect, announce};
use rpc_benches::log_call::{Counter, Entry, Receipt};

/// Calls in flight on a connection and replies that wait to be written: more than any load has, so
/// that none waits for another.
const IN_FLIGHT_MAX: usize = 65_536;

#[tarpc::service]
trait Log {
    async fn log(entry: Entry) -> Receipt;
    async fn slow(milliseconds: u64);
}

#[derive(Clone)]
struct LogServer(Arc<Counter>);

impl Log for LogServer {
    async fn log(self, _: Context, entry: Entry) -> Receipt {
        self.0.accept(&entry)
    }

    async fn slow(self, _: Context, milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// How messages are written.
#[derive(Clone, Copy)]
pub(crate) enum Format {
    /// Text.
    Json,
    /// Binary.
    Bincode,
}

/// Serves until the process ends.
pub(crate) async fn serve(listen: SocketAddr, format: Format) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    announce(&listener.local_addr()?);
    let server = LogServer(Arc::default());

    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let framed = LengthDelimitedCodec::builder().new_framed(stream);
        let server = server.clone();

        match format {
            Format::Json => tokio::spawn(handle(
                serde_transport::new(framed, Json::default()),
                server,
            )),
            Format::Bincode => tokio::spawn(handle(
                serde_transport::new(framed, Bincode::default()),
                server,
            )),
        };
    }
}

fn handle<T>(transport: T, server: LogServer) -> impl Future<Output = ()> + Send + 'static
where
    T: Transport<Response<LogResponse>, ClientMessage<LogRequest>> + Send + 'static,
    T::Error: Send + Sync,
{
    let config = server::Config {
        pending_response_buffer: IN_FLIGHT_MAX,
    };

    BaseChannel::new(config, transport)
        .execute(server.serve())
        .for_each(|call| async {
            tokio::spawn(call);
        })
}

/// Opens one client for each connection.
pub(crate) struct Tarpc {
    /// The server's too.
    pub(crate) format: Format,
}

/// A share of a client.
pub(crate) struct TarpcCaller {
    client: LogClient,
}

impl Connect for Tarpc {
    type Caller = TarpcCaller;

    async fn connect(&self, address: SocketAddr, callers: usize) -> Result<Vec<TarpcCaller>> {
        let stream = TcpStream::connect(address)
            .await
            .context("cannot connect")?;
        stream.set_nodelay(true)?;

        let framed = LengthDelimitedCodec::builder().new_framed(stream);
        let config = {
            let mut config = client::Config::default();
            config.max_in_flight_requests = IN_FLIGHT_MAX;
            config.pending_request_buffer = IN_FLIGHT_MAX;
            config
        };

        let client = match self.format {
            Format::Json => {
                LogClient::new(config, serde_transport::new(framed, Json::default())).spawn()
            }
            Format::Bincode => {
                LogClient::new(config, serde_transport::new(framed, Bincode::default())).spawn()
            }
        };

        Ok((0..callers)
            .map(|_| TarpcCaller {
                client: client.clone(),
            })
            .collect())
    }
}

impl Caller for TarpcCaller {
    async fn log(&mut self, entry: &Entry) -> Result<Receipt> {
        // The context's deadline is tarpc's usual one: ten seconds.
        Ok(self.client.log(context::current(), entry.clone()).await?)
    }

    async fn slow(&mut self, time: Duration) -> Result<()> {
        Ok(self
            .client
            .slow(context::current(), u64::try_from(time.as_millis())?)
            .await?)
    }
}
