//! A gateway: an HTTP server whose handler calls two services, over one shared connection to each, with the deadline and the
//! trace of its own request.
//!
//! It makes some requests by itself and prints what came of them. `gateway --stay` serves on until Ctrl-C.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hyper::Request;
use rpc_examples::gateway::{Offer, Serving, gateway};
use rpc_examples::process::Outcome;
use rpc_examples::web::{Connections, Http};
use tokio::task::JoinSet;

const USAGE: &str = "usage: gateway [--stay]";
const EXIT_USAGE: u8 = 2;

/// Requests at once, and each of their callers' requests.
const CALLERS: usize = 64;
const REQUESTS: usize = 20;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What the caller of a slow item gives it.
const SHORT: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let stays = match arguments[..] {
        [] => Stays::No,
        ["--stay"] => Stays::Yes,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };

    match show(stays).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether it serves on at the end.
#[derive(PartialEq, Eq)]
enum Stays {
    No,
    Yes,
}

async fn show(stays: Stays) -> Outcome<()> {
    let (stock, prices) = (Serving::stock().await?, Serving::prices().await?);
    let gateway = gateway(&stock, &prices).await?;
    let url = |item: &str| format!("http://{}/offers/{item}", gateway.address);
    let http = Http::new(Connections::Kept);

    let request = Request::get(url("pear")).header("traceparent", TRACE);
    let answer = http
        .send(request.header("rpc-timeout-ms", "700"), "")
        .await?;
    let offer: Offer = serde_json::from_str(&answer.body)?;
    println!(
        "a request: {} pears at {} cents",
        offer.stock.value, offer.price.value
    );
    for (name, known) in [("stock", &offer.stock), ("prices", &offer.price)] {
        println!(
            "  {name:6} was called with {} ms left, in trace {}",
            known.left_ms.unwrap_or_default(),
            known.trace.as_deref().unwrap_or("none")
        );
    }

    let started = Instant::now();
    let ms = SHORT.as_millis().to_string();
    let answer = http
        .send(Request::get(url("slow")).header("rpc-timeout-ms", ms), "")
        .await?;
    println!(
        "a slow service: {} after {} ms, as its caller had asked for",
        answer.status,
        started.elapsed().as_millis()
    );

    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (http, url) = (http.clone(), url("fig"));
        callers.spawn(async move {
            for _ in 0..REQUESTS {
                http.get(&url).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    println!(
        "{CALLERS} callers at once, {} requests:",
        CALLERS * REQUESTS
    );
    for (name, service) in [("stock", &stock), ("prices", &prices)] {
        println!(
            "  {name:6} took {} requests over {} connection",
            service.requests(),
            service.connections()
        );
    }

    if stays == Stays::Yes {
        println!("serving: curl {} (Ctrl-C ends it)", url("pear"));
        rpc_server::shutdown_signal().await;
    }
    Ok(())
}
