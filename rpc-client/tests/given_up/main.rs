//! Calls that are given up leave nothing behind: neither a place in the client's table, nor memory on
//! either side, nor a handler at the server.
//!
//! ```text
//! cargo test -p rpc-client --test given_up -- 1000000
//! ```
//!
//! 100,000 calls by default; half of them time out, half are dropped.

use std::error::Error;
use std::future::pending;
use std::time::Duration;

use futures::future::join_all;
use rpc_client::{Client, Config};
use rpc_core::Status;
use rpc_server::{Router, Server};

/// Calls at one time, and places in the client's table: were one of them not given back, a call of
/// every later round would find no place.
const PLACES: usize = 500;
/// What memory may grow by after the first tenth, whatever the number of calls: an allocator keeps
/// some, a leak of ten bytes a call would be ten megabytes in a million.
const GROWTH_KIB_MAX: u64 = 2 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let calls: usize = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(100_000);
    let router = Router::new().route(100, pending::<Result<(), Status>>)?;
    // A cancel for each call is what is wanted here, and no flood.
    let config = rpc_server::Config::default().with(|config| config.throttle.frames_per_second = 0);
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .config(config)
        .router(router)
        .bind()
        .await?;
    let (address, handle) = (server.addresses()[0].to_string(), server.handle());
    tokio::spawn(server.serve(pending()));

    let client = Client::with_config(
        address,
        Config::default().with(|config| config.limits.in_flight_per_connection = PLACES),
    );
    client.connect().await?;
    let rounds = calls.div_ceil(2 * PLACES);
    let warm = rounds.div_ceil(10);
    let mut resident_before = 0;
    for round in 0..rounds {
        if round == warm {
            resident_before = resident_kib()?;
        }
        time_out(&client).await?;
        drop_them(&client).await?;
    }
    // The server has read the last cancel when it answers this.
    let _: serde_json::Value = client.call(0, &()).await?;
    let resident = resident_kib()?;
    let in_flight = handle.stats().in_flight;
    println!(
        "{} calls given up; at the server {in_flight} run; resident {resident_before} KiB after {} calls, {resident} KiB at the end",
        rounds * 2 * PLACES,
        warm * 2 * PLACES,
    );
    if in_flight > 0 || resident > resident_before + GROWTH_KIB_MAX {
        return Err("something was left behind".into());
    }
    Ok(())
}

async fn time_out(client: &Client) -> Result<(), Box<dyn Error>> {
    let soon = client.command(100).timeout(Duration::from_millis(2));
    for result in join_all((0..PLACES).map(|_| soon.call::<_, ()>(&()))).await {
        let error = result.err().ok_or("nothing answers this")?;
        if !error.is_deadline() {
            return Err(error.into());
        }
        if !error.was_sent() {
            return Err(format!("it found no place: {error}").into());
        }
    }
    Ok(())
}

async fn drop_them(client: &Client) -> Result<(), Box<dyn Error>> {
    {
        let mut calls: Vec<_> = (0..PLACES)
            .map(|_| Box::pin(client.call::<_, ()>(100, &())))
            .collect();
        for call in &mut calls {
            if futures::poll!(call).is_ready() {
                return Err("nothing answers this".into());
            }
        }
    }
    // What was begun and dropped at once still leaves, and the cancel behind it.
    Ok(client.flush().await?)
}

/// What this process has in memory.
fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
