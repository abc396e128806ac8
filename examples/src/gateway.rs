//! An HTTP gateway before two services: each of its requests calls both, over the connections that its process shares, with
//! its own deadline and trace.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rpc_client::{CallOptions, Code, shared};
use rpc_server::{Context, Server, ServerHandle, Status, service};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::process::Outcome;
use crate::web::Web;

/// How long the prices of the item "slow" take.
const SLOW: Duration = Duration::from_secs(2);

/// How long a request may take that says nothing of it.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What a service answers: its result, and what it knows of the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Known {
    /// How many, or how much.
    pub value: u64,
    /// Where the call came from.
    pub peer: String,
    /// Its trace, where it has one.
    pub trace: Option<String>,
    /// How much time it had left when it came, in milliseconds.
    pub left_ms: Option<u64>,
}

impl Known {
    fn of(context: &Context, value: u64) -> Self {
        let left = context.timeout();
        Self {
            value,
            peer: context.peer().map(ToString::to_string).unwrap_or_default(),
            trace: context.meta("traceparent"),
            left_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// What there is.
#[service]
pub trait Stock {
    /// How many of this item there are.
    #[rpc(cmdid = 200, idempotent)]
    async fn count(&self, context: Context, item: &str) -> Result<Known, Status>;
}

/// What it costs.
#[service]
pub trait Prices {
    /// What one of this item costs, in cents.
    #[rpc(cmdid = 201, idempotent)]
    async fn of(&self, context: Context, item: &str) -> Result<Known, Status>;
}

struct Shop;

impl Stock for Shop {
    async fn count(&self, context: Context, item: &str) -> Result<Known, Status> {
        Ok(Known::of(&context, item.len() as u64))
    }
}

impl Prices for Shop {
    async fn of(&self, context: Context, item: &str) -> Result<Known, Status> {
        if item == "slow" {
            tokio::time::sleep(SLOW).await;
        }
        Ok(Known::of(&context, 100 * item.len() as u64))
    }
}

/// The answer to a request: what both services say.
#[derive(Debug, Serialize, Deserialize)]
pub struct Offer {
    /// What there is.
    pub stock: Known,
    /// What it costs.
    pub price: Known,
}

/// A service of this process, on a free port.
pub struct Serving {
    /// Where it serves.
    pub address: Arc<str>,
    handle: ServerHandle,
}

impl Serving {
    /// Serves the stock.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn stock() -> Outcome<Self> {
        Self::start(rpc_server::Router::new().serve(StockServer(Shop))?).await
    }

    /// Serves the prices.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn prices() -> Outcome<Self> {
        Self::start(rpc_server::Router::new().serve(PricesServer(Shop))?).await
    }

    async fn start(router: rpc_server::Router) -> Outcome<Self> {
        let server = Server::builder()
            .listen("127.0.0.1:0")
            .router(router)
            .bind()
            .await?;
        let (address, handle) = (server.addresses()[0].to_string(), server.handle());
        tokio::spawn(server.serve(std::future::pending()));
        Ok(Self {
            address: address.into(),
            handle,
        })
    }

    /// How many connections it has taken.
    pub fn connections(&self) -> u64 {
        self.handle.stats().connections_accepted
    }

    /// How many requests it has taken.
    pub fn requests(&self) -> u64 {
        self.handle.stats().requests
    }
}

/// Where the services are that a gateway calls.
#[derive(Clone)]
struct Services {
    stock: Arc<str>,
    prices: Arc<str>,
}

/// Starts a gateway before these services: `GET /offers/ITEM`, with the headers `Rpc-Timeout-Ms` and `traceparent`.
///
/// # Errors
/// If no port is free.
pub async fn gateway(stock: &Serving, prices: &Serving) -> Outcome<Web> {
    let services = Services {
        stock: Arc::clone(&stock.address),
        prices: Arc::clone(&prices.address),
    };
    let router = Router::new().route("/offers/{item}", get(offer));
    Web::start(router.with_state(services)).await
}

/// One request: both services are called side by side, and no longer than the caller waits.
async fn offer(
    State(services): State<Services>,
    Path(item): Path<String>,
    headers: HeaderMap,
) -> Response {
    let options = options_of(&headers);
    let stock = StockClient::new(shared(&services.stock)).with(options.clone());
    let prices = PricesClient::new(shared(&services.prices)).with(options);

    match tokio::try_join!(stock.count(&item), prices.of(&item)) {
        Ok((stock, price)) => Json(Offer { stock, price }).into_response(),
        Err(status) => (http_status(status.code()), status.to_string()).into_response(),
    }
}

/// The deadline and the trace of a request, for the calls that it makes.
fn options_of(headers: &HeaderMap) -> CallOptions {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let timeout = text("rpc-timeout-ms").and_then(|ms| ms.parse().ok());

    let options = CallOptions::new().timeout(timeout.map_or(TIMEOUT, Duration::from_millis));
    match text("traceparent") {
        Some(trace) => options.meta("traceparent", trace),
        None => options,
    }
}

/// What the caller of the gateway is told of a failure.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::INVALID_ARGUMENT => StatusCode::BAD_REQUEST,
        Code::NOT_FOUND => StatusCode::NOT_FOUND,
        Code::RESOURCE_EXHAUSTED => StatusCode::TOO_MANY_REQUESTS,
        Code::UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        Code::DEADLINE_EXCEEDED => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
