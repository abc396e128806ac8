//! One order through two services, as a trace: a shop's handler calls the payments, and a collector of
//! OpenTelemetry is sent three spans that hang together.
//!
//! The collector is a small one of this program's own, so that nothing has to be installed; with
//! `OTLP_ENDPOINT=http://127.0.0.1:4318` the spans go to a real one instead.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};

use axum::extract::State as Shared;
use axum::routing::post;
use axum::{Json, Router as Http};
use rpc_client::Client;
use rpc_client::layers::Trace;
use rpc_server::telemetry::Exporter;
use rpc_server::{Context, Router, Server, Status, TracesConfig, service};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[service]
trait Payments {
    /// Charges an amount; answers it.
    #[rpc(cmdid = 2101)]
    async fn charge(&self, cents: u64) -> Result<u64, Status>;
}

#[service]
trait Shop {
    /// Pays an order; answers what it cost.
    #[rpc(cmdid = 2001)]
    async fn check_out(&self, context: Context, cents: u64) -> Result<u64, Status>;
}

struct Bank;

impl Payments for Bank {
    async fn charge(&self, cents: u64) -> Result<u64, Status> {
        Ok(cents)
    }
}

/// It is given the payments.
struct Till(Client);

impl Shop for Till {
    /// The call that it makes belongs to its own: same trace, and no longer than its caller waits.
    async fn check_out(&self, context: Context, cents: u64) -> Result<u64, Status> {
        let payments = PaymentsClient::new(self.0.within(&context));
        payments.charge(cents).await
    }
}

/// A span as a collector has it.
#[derive(Debug, Clone)]
struct Span {
    name: String,
    trace: String,
    id: String,
    parent: String,
}

type Spans = Arc<Mutex<Vec<Span>>>;

async fn collect(Shared(spans): Shared<Spans>, Json(batch): Json<Value>) -> Json<Value> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();

    for resource in list(&batch, "resourceSpans") {
        for scope in list(&resource, "scopeSpans") {
            for span in list(&scope, "spans") {
                let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
                let (name, trace) = (text("name"), text("traceId"));
                let (id, parent) = (text("spanId"), text("parentSpanId"));

                spans.lock().expect("no thread panics with it").push(Span {
                    name,
                    trace,
                    id,
                    parent,
                });
            }
        }
    }

    Json(json!({}))
}

/// Serves a router on a port of its own, and says where.
async fn serve(router: Router) -> Result<String, Box<dyn Error>> {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .router(router.traced())
        .bind()
        .await?;

    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(std::future::pending()));
    Ok(address)
}

async fn one_order() -> Result<(), Box<dyn Error>> {
    let payments = serve(Router::new().serve(PaymentsServer(Bank))?).await?;
    let till = Till(Client::new(payments.as_str()));
    let shop = serve(Router::new().serve(ShopServer(till))?).await?;

    let shop = ShopClient::new(Client::new(shop.as_str()).layer(Trace));
    let paid = shop.check_out(250).await?;
    println!("paid {paid} cents");
    Ok(())
}

/// The spans of the one trace as a tree, by their names.
fn chain(spans: &[Span]) -> Vec<String> {
    let below: BTreeMap<&str, &Span> = spans
        .iter()
        .map(|span| (span.parent.as_str(), span))
        .collect();

    let mut names = Vec::new();
    let mut at = below.get("");
    while let Some(span) = at {
        names.push(span.name.clone());
        at = below.get(span.id.as_str());
    }

    names
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let spans = Spans::default();

    let elsewhere = std::env::var("OTLP_ENDPOINT").ok();
    let endpoint = match &elsewhere {
        Some(endpoint) => endpoint.clone(),
        None => runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let collector = Http::new()
                .route("/v1/traces", post(collect))
                .with_state(Arc::clone(&spans));
            tokio::spawn(async { axum::serve(listener, collector).await });
            std::io::Result::Ok(format!("http://{address}"))
        })?,
    };

    let exporter = Exporter::new(&TracesConfig {
        endpoint: endpoint.clone(),
        service_name: "traced-example".into(),
        ..TracesConfig::default()
    })?;
    tracing_subscriber::registry().with(exporter.layer()).init();

    runtime.block_on(one_order())?;
    exporter.shutdown();

    if elsewhere.is_some() {
        println!("the spans went to {endpoint}");
        return Ok(());
    }

    let spans = spans.lock().expect("no thread panics with it").clone();
    let chain = chain(&spans);
    println!(
        "trace {}: {}",
        spans.first().map_or("none", |span| &span.trace),
        chain.join(" > ")
    );

    assert!(
        spans.iter().all(|span| span.trace == spans[0].trace),
        "all are of one trace: {spans:?}"
    );
    assert_eq!(
        chain,
        ["rpc_call", "shop.check_out", "payments.charge"],
        "{spans:?}"
    );
    Ok(())
}
