//! The same job over HTTP/1.1: an axum server in this process, and reqwest.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt;
use rpc_core::api::log::{APPEND, Append, Appended};
use rpc_server::daemon::log_router;
use rpc_server::{RawJson, Request, Router, Service};
use tokio::net::TcpListener;

use crate::Error;
use crate::job::{self, Job, Transport};
use crate::report::Row;
use crate::serving::Serving;

/// A connection a call leaves its port unusable for a while; every system has more than so many.
const SHORT_CALLS_MAX: u64 = 10_000;

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
    let app = match behind {
        Behind::Store => {
            let log = Arc::new(log_router(data.path(), &job::log_settings())?);
            axum::Router::new()
                .route("/append", post(append))
                .with_state(log)
        }
        Behind::Nothing => axum::Router::new().route("/append", post(decode)),
    };

    let server = HttpServer::start(app).await?;

    // The client goes with the job, and its idle connections with it.
    let elapsed = job::run(job, HttpTransport::new(server.address, connections)?).await?;
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
    /// Serves `app` on a free port, and counts the connections.
    async fn start(app: axum::Router) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;

        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        let listener = listener.tap_io(move |stream| {
            // Relaxed: a count orders nothing else.
            count.fetch_add(1, Ordering::Relaxed);

            // Without it small answers may wait for others, and the comparison would not be fair.
            _ = stream.set_nodelay(true);
        });

        let serving = Serving::start(async move |stopped| {
            axum::serve(listener, app)
                .with_graceful_shutdown(async { _ = stopped.await })
                .await?;
            Ok(())
        });

        Ok(Self {
            address,
            accepted,
            serving,
        })
    }
}

/// The body is the command's params, the response its data.
async fn append(
    State(log): State<Arc<Router>>,
    body: String,
) -> Result<impl IntoResponse, (StatusCode, String)> {
    let params =
        RawJson::parse(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;

    let outcome = log.call(Request::new(APPEND, params)).await;
    let reply =
        outcome.map_err(|status| (StatusCode::INTERNAL_SERVER_ERROR, status.to_string()))?;
    let data = reply.data().map_or("null", RawJson::as_str).to_owned();
    Ok(([(CONTENT_TYPE, "application/json")], data))
}

async fn decode(Json(entry): Json<Append>) -> Json<Appended> {
    Json(Appended {
        seq: entry.message.len() as u64,
    })
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
    client: reqwest::Client,
    connections: Connections,
    url: String,
}

impl HttpTransport {
    fn new(address: SocketAddr, connections: Connections) -> Result<Self, Error> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self {
            client,
            connections,
            url: format!("http://{address}/append"),
        })
    }
}

impl Transport for HttpTransport {
    async fn append(&self, entry: &Append) -> Result<(), Error> {
        let mut request = self.client.post(&self.url).json(entry);
        if self.connections == Connections::Short {
            request = request.header(CONNECTION, "close");
        }

        let response = request.send().await?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("HTTP {status}: {}", response.text().await?).into());
        }

        response.json::<Appended>().await?;
        Ok(())
    }
}
