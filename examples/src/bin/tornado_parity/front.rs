//! An HTTP server that calls a service once for each of its requests, as the article's Django did: by this protocol, and by HTTP
//! with kept and with short connections.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use hyper::Request;
use rpc_examples::web::{Connections, Http, Web};
use serde_json::json;

use crate::Error;
use crate::load::{Length, Load};
use crate::service::{Base, HANDLED, Serving};

/// How the front reaches its service.
#[derive(Clone)]
enum Behind {
    Rpc(rpc_client::Client),
    Http { http: Arc<Http>, url: Arc<str> },
}

impl Behind {
    /// One call of the service.
    async fn call(&self) -> Result<u64, Error> {
        match self {
            Self::Rpc(client) => Ok(client.call(HANDLED, &json!({})).await?),
            Self::Http { http, url } => {
                let answer = http.send(Request::post(&**url), "{}").await?;
                Ok(serde_json::from_str(&answer.body)?)
            }
        }
    }
}

/// The page: each request is one call of what is behind.
async fn front(behind: Behind) -> Result<Web, Error> {
    let page = async |State(behind): State<Behind>| match behind.call().await {
        Ok(count) => (StatusCode::OK, count.to_string()),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
    };
    Web::start(Router::new().route("/", get(page)).with_state(behind)).await
}

/// The service as HTTP has it: the same work behind a path.
async fn service_as_http(base: Base) -> Result<Web, Error> {
    let handled = async |State(base): State<Base>| base.handled().to_string();
    Web::start(
        Router::new()
            .route("/handled", post(handled))
            .with_state(base),
    )
    .await
}

/// Runs the article's tests against the front with each way to its service, and prints the table.
pub(crate) async fn compare(length: Length) -> Result<(), Error> {
    let service = Serving::start().await?;
    let as_http = service_as_http(Base::default()).await?;
    let url: Arc<str> = format!("http://{}/handled", as_http.address).into();
    let http = |connections| Behind::Http {
        http: Arc::new(Http::new(connections)),
        url: Arc::clone(&url),
    };

    println!("{}", Load::HEAD);
    for (name, behind) in [
        (
            "rpc, one connection",
            Behind::Rpc(rpc_client::Client::new(&*service.address)),
        ),
        ("HTTP, kept", http(Connections::Kept)),
        ("HTTP, short", http(Connections::Short)),
    ] {
        let front = front(behind).await?;
        let row = Load::run(name, front.address, length).await?.to_string();
        println!("{}", row.trim_end());
    }

    let connections = service.connections();
    println!(
        "\nThe front had {connections} connection to the rpc service for all of its requests. Look at the last row: \
         a connection for each call is what the article found slow."
    );
    service.stop().await
}
