//! The same job over HTTP/1.1: a server and a client of hyper, which axum and reqwest are made of.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rpc_core::api::log::{APPEND, Append, Appended};
use rpc_daemon::log_router;
use rpc_server::{RawJson, Router, Service};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Error;
use crate::job::{self, Job, Transport};
use crate::report::Row;
use crate::serving::Serving;

/// The most calls that are made with a connection each: a closed connection keeps its port for a while, and every
/// system has more ports than this.
const SHORT_CALLS_MAX: u64 = 10_000;

const JSON: &str = "application/json";

/// What the HTTP handler hands its entries to.
#[derive(Clone, Copy)]
pub(crate) enum Behind {
    /// The daemon's own log service, called without a socket.
    Store,
    /// Nothing: it decodes the body and answers.
    Nothing,
}

/// Does the job over HTTP, with connections that are kept and with one a call. Each run has a server
/// and a store of its own.
pub(crate) async fn measure(job: &Job, behind: Behind) -> Result<[Row; 2], Error> {
    let keep_alive = run(job, behind, Connections::Kept).await?;
    let short = run(&job.at_most(SHORT_CALLS_MAX), behind, Connections::Short).await?;
    Ok([keep_alive, short])
}

async fn run(job: &Job, behind: Behind, connections: Connections) -> Result<Row, Error> {
    let data = tempfile::tempdir()?;
    let handler = match behind {
        Behind::Store => Handler::Store(log_router(data.path(), &job::log_settings())?),
        Behind::Nothing => Handler::Nothing,
    };
    let server = HttpServer::start(handler).await?;

    // The client goes with the job, and its idle connections with it.
    let transport = HttpTransport::new(server.address, connections);
    let elapsed = job::run(job, transport).await?;
    server.serving.stop().await?;

    // Relaxed, as all of this counter.
    let accepted = server.accepted.load(Ordering::Relaxed);
    let name = match connections {
        Connections::Kept => "HTTP, keep-alive",
        Connections::Short => "HTTP, short",
    };
    Ok(Row::new(name, job.calls, elapsed, accepted))
}

/// An HTTP server in this process.
struct HttpServer {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    serving: Serving,
}

impl HttpServer {
    /// Serves `handler` on a free port, and counts the connections.
    async fn start(handler: Handler) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepted = Arc::new(AtomicU64::new(0));

        let (handler, count) = (Arc::new(handler), Arc::clone(&accepted));
        let serving = Serving::start(async move |mut stopped| {
            // All calls are answered when the server is told to stop: what is left are idle connections.
            let mut connections = JoinSet::new();
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted?.0,
                    _ = &mut stopped => break,
                };
                // Relaxed: a count orders no other memory.
                count.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(stream, Arc::clone(&handler)));
                while connections.try_join_next().is_some() {}
            }

            connections.shutdown().await;
            Ok(())
        });

        Ok(Self {
            address,
            accepted,
            serving,
        })
    }
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, handler: Arc<Handler>) {
    // Without it small answers may wait for others, and the comparison would not be fair.
    _ = stream.set_nodelay(true);

    let answer = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
    });
    // An error is the client's as well, which reports it.
    _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// What answers the requests: the body is the command's params, the response its data.
enum Handler {
    Store(Router),
    Nothing,
}

impl Handler {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, body) = match self.data(request).await {
            Ok(data) => (StatusCode::OK, data),
            Err((status, message)) => (status, message),
        };

        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        let json = JSON.parse().expect("it is a header's value");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    async fn data(&self, request: Request<Incoming>) -> Result<String, (StatusCode, String)> {
        let bad = |error: &dyn std::error::Error| (StatusCode::BAD_REQUEST, error.to_string());
        let body = request.into_body().collect().await;
        let body = body.map_err(|error| bad(&error))?.to_bytes();

        match self {
            Self::Store(log) => {
                let text = std::str::from_utf8(&body).map_err(|error| bad(&error))?;
                let params = RawJson::parse(text).map_err(|error| bad(&error))?;
                let outcome = log.call(rpc_server::Request::new(APPEND, params)).await;
                let reply = outcome
                    .map_err(|status| (StatusCode::INTERNAL_SERVER_ERROR, status.to_string()))?;
                Ok(reply.data().map_or("null", RawJson::as_str).to_owned())
            }
            Self::Nothing => {
                let entry: Append = serde_json::from_slice(&body).map_err(|error| bad(&error))?;
                let seq = entry.message.len() as u64;
                serde_json::to_string(&Appended::new(seq)).map_err(|error| bad(&error))
            }
        }
    }
}

/// What becomes of a connection after a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connections {
    /// It is used again; there are as many as calls are under way.
    Kept,
    /// It is closed.
    Short,
}

/// Sends entries by HTTP.
#[derive(Clone)]
struct HttpTransport {
    client: Client<HttpConnector, Full<Bytes>>,
    connections: Connections,
    url: String,
}

impl HttpTransport {
    fn new(address: SocketAddr, connections: Connections) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);

        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            connections,
            url: format!("http://{address}/append"),
        }
    }
}

impl Transport for HttpTransport {
    async fn append(&self, entry: &Append) -> Result<(), Error> {
        let mut request = Request::post(&self.url).header(CONTENT_TYPE, JSON);
        if self.connections == Connections::Short {
            request = request.header(CONNECTION, "close");
        }
        let request = request.body(Full::new(serde_json::to_vec(entry)?.into()))?;

        let response = self.client.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(format!("HTTP {status}: {}", String::from_utf8_lossy(&body)).into());
        }

        serde_json::from_slice::<Appended>(&body)?;
        Ok(())
    }
}
