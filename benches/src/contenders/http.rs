//! HTTP/1.1: axum on hyper as the server; hyper's client, its connections alone, or reqwest.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::extract::State;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use super::{Caller, Connect, announce};
use rpc_benches::log_call::{Counter, Entry, Receipt};

async fn log(State(counter): State<Arc<Counter>>, Json(entry): Json<Entry>) -> Json<Receipt> {
    Json(counter.accept(&entry))
}

async fn slow(Json(milliseconds): Json<u64>) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Serves until the process ends.
pub(crate) async fn serve(listen: SocketAddr) -> Result<()> {
    let router = Router::new()
        .route("/log", post(log))
        .route("/slow", post(slow))
        .with_state(Arc::new(Counter::default()));

    let listener = TcpListener::bind(listen).await?;
    announce(&listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("http: {error}");
        }
    });

    axum::serve(listener, router).await?;
    Ok(())
}

/// What both ways to use hyper have in common: they bring a body to a path, and another one back.
pub(super) trait Post: Send + 'static {
    fn post(&mut self, path: &str, body: Vec<u8>) -> impl Future<Output = Result<Bytes>> + Send;
}

async fn body_of(reply: Response<Incoming>) -> Result<Bytes> {
    ensure!(
        matches!(reply.status(), StatusCode::OK | StatusCode::NO_CONTENT),
        "status {}",
        reply.status()
    );
    Ok(reply.into_body().collect().await?.to_bytes())
}

impl<P: Post> Caller for P {
    async fn log(&mut self, entry: &Entry) -> Result<Receipt> {
        let body = self.post("/log", serde_json::to_vec(entry)?).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    async fn slow(&mut self, time: Duration) -> Result<()> {
        self.post("/slow", time.as_millis().to_string().into_bytes())
            .await
            .map(drop)
    }
}

/// hyper's client as programs use it: its pool keeps a connection for each call in flight.
pub(crate) struct Pooled;

/// One caller over the pool.
pub(crate) struct PooledCaller {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Connect for Pooled {
    type Caller = PooledCaller;

    async fn connect(&self, address: SocketAddr, callers: usize) -> Result<Vec<PooledCaller>> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let base = format!("http://{address}");

        Ok((0..callers)
            .map(|_| PooledCaller {
                client: client.clone(),
                base: base.clone(),
            })
            .collect())
    }
}

impl Post for PooledCaller {
    async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Bytes> {
        let request = Request::post(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;

        body_of(self.client.request(request).await?).await
    }
}

/// hyper's connections with nothing around them, one a caller: no pool, a lost one is not opened again.
pub(crate) struct Bare {
    /// Each call opens its own connection.
    pub(crate) is_short: bool,
}

/// One caller over a connection of its own.
pub(crate) struct BareCaller {
    address: SocketAddr,
    host: String,
    connection: Option<SendRequest<Full<Bytes>>>,
    is_short: bool,
}

impl Connect for Bare {
    type Caller = BareCaller;

    async fn connect(&self, address: SocketAddr, callers: usize) -> Result<Vec<BareCaller>> {
        let mut all = Vec::with_capacity(callers);
        for _ in 0..callers {
            let connection = if self.is_short {
                None
            } else {
                Some(open(address).await?)
            };

            all.push(BareCaller {
                address,
                host: address.to_string(),
                connection,
                is_short: self.is_short,
            });
        }

        Ok(all)
    }
}

async fn open(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address)
        .await
        .context("cannot connect")?;
    stream.set_nodelay(true)?;

    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("http: {error}");
        }
    });

    Ok(sender)
}

impl Post for BareCaller {
    async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Bytes> {
        let mut sender = match self.connection.take() {
            Some(sender) => sender,
            None => open(self.address).await?,
        };
        sender.ready().await?;

        let request = Request::post(path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let body = body_of(sender.send_request(request).await?).await?;

        if !self.is_short {
            self.connection = Some(sender);
        }

        Ok(body)
    }
}

/// reqwest, whose pool keeps a connection for each call in flight.
pub(crate) struct Reqwest;

/// One caller over reqwest.
pub(crate) struct ReqwestCaller {
    client: reqwest::Client,
    base: String,
}

impl Connect for Reqwest {
    type Caller = ReqwestCaller;

    async fn connect(&self, address: SocketAddr, callers: usize) -> Result<Vec<ReqwestCaller>> {
        let client = reqwest::Client::builder().tcp_nodelay(true).build()?;
        let base = format!("http://{address}");

        Ok((0..callers)
            .map(|_| ReqwestCaller {
                client: client.clone(),
                base: base.clone(),
            })
            .collect())
    }
}

impl Caller for ReqwestCaller {
    async fn log(&mut self, entry: &Entry) -> Result<Receipt> {
        let reply = self
            .client
            .post(format!("{}/log", self.base))
            .json(entry)
            .send()
            .await?;
        Ok(reply.error_for_status()?.json().await?)
    }

    async fn slow(&mut self, time: Duration) -> Result<()> {
        let milliseconds = u64::try_from(time.as_millis())?;
        let reply = self
            .client
            .post(format!("{}/slow", self.base))
            .json(&milliseconds)
            .send()
            .await?;
        reply.error_for_status()?;
        Ok(())
    }
}
