//! The shares of four servers in the calls: behind nginx, from a list, from DNS, and among the threads of one server.
//!
//! ```text
//! cargo run --release -p rpc-examples --bin balance                  # nginx where it is installed
//! cargo run --release -p rpc-examples --bin balance -- --calls 40
//! ```
//!
//! nginx runs as this user, with a file and a socket of its own in a temporary directory (Debian: `nginx-light` and
//! `libnginx-mod-stream`).

mod dns;
mod four;
mod nginx;

use std::process::ExitCode;
use std::time::Duration;

use rpc_client::{Client, Config, Mode};
use rpc_examples::process::Outcome;

use dns::DnsServer;
use four::{Four, threads_of_one};
use nginx::Nginx;

const USAGE: &str = "usage: balance [--calls N]";
const EXIT_USAGE: u8 = 2;

/// Programs that call, each with a client of its own.
const CALLERS: usize = 2;

/// How long a connection lasts in the row of connections that end by their age.
const AGE: Duration = Duration::from_millis(100);

/// How long a caller of that row calls for: its connection is replaced this number of times or so.
const AGES: u32 = 20;

/// The calls of one row: how many each server got.
pub(crate) struct Shares {
    pub(crate) calls: Vec<u64>,
    pub(crate) connections: u64,
    pub(crate) failed: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let calls = match arguments[..] {
        [] => Some(400),
        ["--calls", calls] => calls.parse().ok(),
        _ => None,
    };
    let Some(calls) = calls else {
        eprintln!("{USAGE}");
        return ExitCode::from(EXIT_USAGE);
    };

    match show(calls).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("balance: {failed} calls failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("balance: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table, and returns how many calls have failed.
async fn show(calls: usize) -> Outcome<usize> {
    println!(
        "{:58} {:>11}   calls at server 1, 2, 3, 4",
        "who calls", "connections"
    );
    let mut failed = 0;
    let mut row = |name: &str, shares: Shares| {
        let each: Vec<String> = shares.calls.iter().map(u64::to_string).collect();
        println!("{name:58} {:>11}   {}", shares.connections, each.join(", "));
        failed += shares.failed;
    };

    if nginx::is_there() {
        row(
            "2 clients behind nginx that keep their connection",
            behind_nginx(Mode::Single, calls).await?,
        );
        row(
            "2 clients behind nginx, a connection for each call",
            behind_nginx(Mode::Short, calls).await?,
        );
        row(
            "2 clients behind nginx, drain.connection_age_max_ms = 100",
            behind_nginx_by_age().await?,
        );
    } else {
        println!(
            "skipped: the rows behind nginx, which is not installed (nginx-light, libnginx-mod-stream)"
        );
    }

    row(
        "2 clients with a list of the servers",
        by_list(calls).await?,
    );
    row("2 clients with dns:", by_dns(calls).await?);
    row(
        "one server with workers = 4, 64 connections that are kept",
        threads_of_one(64, calls).await?,
    );

    println!(
        "Look at the servers with 0 calls: behind a balancer of connections, a kept connection stays where it was made."
    );
    Ok(failed)
}

async fn behind_nginx(mode: Mode, calls: usize) -> Outcome<Shares> {
    let four = Four::start(|_| {}).await?;
    let nginx = Nginx::before(four.addresses()).await?;
    let config = Config::default().with(|config| config.pool.mode = mode);

    let mut failed = 0;
    for _ in 0..CALLERS {
        let client = Client::with_config(&*nginx.address, config.clone());
        failed += four::call(&client, calls / CALLERS).await;
    }
    Ok(four.shares(failed))
}

async fn behind_nginx_by_age() -> Outcome<Shares> {
    let age_ms = u64::try_from(AGE.as_millis())?;
    let four = Four::start(|config| config.drain.connection_age_max_ms = age_ms).await?;
    let nginx = Nginx::before(four.addresses()).await?;

    let clients: Vec<_> = (0..CALLERS).map(|_| Client::new(&*nginx.address)).collect();
    let calls = clients
        .iter()
        .map(|client| four::call_for(client, AGE * AGES));
    let failed = futures::future::join_all(calls).await.into_iter().sum();
    Ok(four.shares(failed))
}

async fn by_list(calls: usize) -> Outcome<Shares> {
    let four = Four::start(|_| {}).await?;
    by_target(&four, &four.addresses().join(","), calls).await
}

async fn by_dns(calls: usize) -> Outcome<Shares> {
    let four = Four::on_one_port().await?;
    let dns = DnsServer::start(&four::HOSTS).await?;
    let target = format!("dns://{}/four.example:{}", dns.address, four.port()?);
    by_target(&four, &target, calls).await
}

async fn by_target(four: &Four, target: &str, calls: usize) -> Outcome<Shares> {
    let mut failed = 0;
    for _ in 0..CALLERS {
        let client = Client::new(target);
        failed += four::call(&client, calls / CALLERS).await;
    }
    Ok(four.shares(failed))
}
