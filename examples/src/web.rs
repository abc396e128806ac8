//! A web server and a client of HTTP/1.1, for examples that compare with HTTP or put it before a service.

use std::net::SocketAddr;

use axum::Router;
use http_body_util::{BodyExt, Full};
use hyper::header::CONNECTION;
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::process::Outcome;

/// A web server on a free port, until this is dropped.
pub struct Web {
    /// Where it serves.
    pub address: SocketAddr,
    task: AbortHandle,
}

impl Web {
    /// Serves these routes.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(router: Router) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            address,
            task: serving.abort_handle(),
        })
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What becomes of an HTTP connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// It is used again.
    Kept,
    /// It is closed.
    Short,
}

/// A client of HTTP/1.1, whose clones share its connections.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<hyper::body::Bytes>>,
    connections: Connections,
}

/// What a web server has answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: String,
}

impl Http {
    /// A client that keeps its connections, or opens one for each request.
    pub fn new(connections: Connections) -> Self {
        let mut connector = HttpConnector::new();
        // Small answers must not wait for others.
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            connections,
        }
    }

    /// Sends a request with this body, and waits for the whole answer.
    ///
    /// # Errors
    /// If no answer comes.
    pub async fn send(&self, request: Builder, body: &'static str) -> Outcome<Answer> {
        let request = match self.connections {
            Connections::Kept => request,
            Connections::Short => request.header(CONNECTION, "close"),
        };

        let response = self.client.request(request.body(Full::from(body))?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// The body that is answered to a GET of this URL.
    ///
    /// # Errors
    /// If no answer comes, or its status is not 200.
    pub async fn get(&self, url: &str) -> Outcome<String> {
        let answer = self.send(Request::get(url), "").await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            status => Err(format!("HTTP {status}: {}", answer.body).into()),
        }
    }
}
