//! gRPC: tonic on both sides. The messages and the service are what its generator would write, so that
//! no protoc is needed.

use std::convert::Infallible;
use std::future::{self, Ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::client;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{self, NamedService, ServerStreamingService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::{Caller, Connect, Entries, announce};
use rpc_benches::log_call::{self, Counter, Entry, Receipt};

const LOG: &str = "/bench.Log/Log";
const SLOW: &str = "/bench.Log/Slow";
const FOLLOW: &str = "/bench.Log/Follow";

// Whatever of these could hold calls up is set higher than the loads go.

/// No call waits for a stream.
const STREAMS_MAX: u32 = 65_536;
/// No message waits for its stream's window to be opened.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// For all calls of a connection together. The usual 1 MiB on the server's side would be 64 messages of
/// 16 KiB.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// A message of 16 KiB is a little more than HTTP/2's usual frame; it should not need a second one.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

#[derive(Clone, PartialEq, Message)]
struct EntryMessage {
    #[prost(string, tag = "1")]
    level: String,
    #[prost(string, tag = "2")]
    service: String,
    #[prost(string, tag = "3")]
    message: String,
    #[prost(string, tag = "4")]
    trace: String,
    #[prost(uint64, tag = "5")]
    ts: u64,
}

#[derive(Clone, PartialEq, Message)]
struct ReceiptMessage {
    #[prost(bool, tag = "1")]
    accepted: bool,
    #[prost(uint64, tag = "2")]
    seq: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SlowMessage {
    #[prost(uint64, tag = "1")]
    milliseconds: u64,
}

impl From<&Entry> for EntryMessage {
    fn from(entry: &Entry) -> Self {
        let Entry {
            level,
            service,
            message,
            trace,
            ts,
        } = entry.clone();

        Self {
            level,
            service,
            message,
            trace,
            ts,
        }
    }
}

impl From<EntryMessage> for Entry {
    fn from(entry: EntryMessage) -> Self {
        let EntryMessage {
            level,
            service,
            message,
            trace,
            ts,
        } = entry;

        Self {
            level,
            service,
            message,
            trace,
            ts,
        }
    }
}

struct Log(Arc<Counter>);

impl UnaryService<EntryMessage> for Log {
    type Response = ReceiptMessage;
    type Future = Ready<Result<Response<ReceiptMessage>, Status>>;

    fn call(&mut self, request: Request<EntryMessage>) -> Self::Future {
        let Receipt { accepted, seq } = self.0.accept(&request.into_inner().into());
        future::ready(Ok(Response::new(ReceiptMessage { accepted, seq })))
    }
}

struct Slow;

impl UnaryService<SlowMessage> for Slow {
    type Response = ();
    type Future = BoxFuture<Response<()>, Status>;

    fn call(&mut self, request: Request<SlowMessage>) -> Self::Future {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(request.into_inner().milliseconds)).await;
            Ok(Response::new(()))
        })
    }
}

struct Follow;

impl ServerStreamingService<EntryMessage> for Follow {
    type Response = EntryMessage;
    type ResponseStream = BoxStream<'static, Result<EntryMessage, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<EntryMessage>) -> Self::Future {
        let entries = log_call::follow(request.into_inner().into());
        let messages = entries.map(|entry| Ok(EntryMessage::from(&entry)));
        future::ready(Ok(Response::new(stream::iter(messages).boxed())))
    }
}

#[derive(Clone)]
struct LogService(Arc<Counter>);

impl NamedService for LogService {
    const NAME: &'static str = "bench.Log";
}

impl Service<http::Request<Body>> for LogService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let log = Log(Arc::clone(&self.0));
        Box::pin(async move {
            Ok(match request.uri().path() {
                LOG => {
                    server::Grpc::new(ProstCodec::default())
                        .unary(log, request)
                        .await
                }
                SLOW => {
                    server::Grpc::new(ProstCodec::default())
                        .unary(Slow, request)
                        .await
                }
                FOLLOW => {
                    server::Grpc::new(ProstCodec::default())
                        .server_streaming(Follow, request)
                        .await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    announce(&listener.local_addr()?);

    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .add_service(LogService(Arc::default()))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}

/// Opens one HTTP/2 channel for each connection. Calls have no deadline, as tonic's have by default.
pub(crate) struct Grpc;

/// A share of a channel.
pub(crate) struct GrpcCaller {
    client: client::Grpc<Channel>,
}

impl Connect for Grpc {
    type Caller = GrpcCaller;

    async fn connect(&self, address: SocketAddr, callers: usize) -> Result<Vec<GrpcCaller>> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            // A place for each caller in the queue to the connection.
            .buffer_size(callers)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .connect()
            .await
            .context("cannot connect")?;

        Ok((0..callers)
            .map(|_| GrpcCaller {
                client: client::Grpc::new(channel.clone()),
            })
            .collect())
    }
}

impl GrpcCaller {
    async fn unary<M, R>(&mut self, path: &'static str, message: M) -> Result<R>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        self.client.ready().await?;
        let path = PathAndQuery::from_static(path);
        Ok(self
            .client
            .unary(Request::new(message), path, ProstCodec::default())
            .await?
            .into_inner())
    }
}

impl Caller for GrpcCaller {
    async fn log(&mut self, entry: &Entry) -> Result<Receipt> {
        let ReceiptMessage { accepted, seq } = self.unary(LOG, EntryMessage::from(entry)).await?;
        Ok(Receipt { accepted, seq })
    }

    async fn slow(&mut self, time: Duration) -> Result<()> {
        self.unary(
            SLOW,
            SlowMessage {
                milliseconds: u64::try_from(time.as_millis())?,
            },
        )
        .await
    }

    async fn follow(&mut self, entry: &Entry) -> Result<Entries> {
        self.client.ready().await?;
        let path = PathAndQuery::from_static(FOLLOW);
        let messages = self.client.server_streaming(
            Request::new(EntryMessage::from(entry)),
            path,
            ProstCodec::<EntryMessage, EntryMessage>::default(),
        );
        let messages = messages.await?.into_inner();
        Ok(messages.map_ok(Entry::from).map_err(Into::into).boxed())
    }
}
