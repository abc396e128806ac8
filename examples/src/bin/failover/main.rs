//! A client of three servers while they are killed, restarted, drained and slow.
//!
//! ```text
//! cargo run --release -p rpc-examples --bin failover -- 100
//! ```
//!
//! Three processes serve one command under load. In each round one of them is killed with SIGKILL and
//! started again: only calls that were at it may fail, and each failure must be true, which a record that
//! the handlers write shows. With idempotent calls none may fail, and none while the servers are drained
//! one after another. At last one server is slow and one is added, and the shares of all are printed.
//! It ends with 1 where any of that does not hold.

mod load;
mod servers;

use std::error::Error;
use std::path::Path;

use rpc_client::{Client, Config};

use load::{Load, Repeats, Report};
use servers::{Servers, Stop};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // What this program starts itself with.
        ["serve", address, record, delay_ms] => {
            servers::serve(address, Path::new(record), delay_ms.parse()?).await
        }
        [] => check(100).await,
        [rounds] => check(rounds.parse().map_err(|_| "usage: failover [ROUNDS]")?).await,
        _ => Err("usage: failover [ROUNDS]".into()),
    }
}

async fn check(rounds: usize) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    killed(&dir.path().join("killed"), rounds, Repeats::Forbidden).await?;
    killed(&dir.path().join("idempotent"), rounds, Repeats::Allowed).await?;
    drained(&dir.path().join("drained"), rounds).await?;
    shares(&dir.path().join("shares")).await?;
    println!("all of it held");
    Ok(())
}

/// Kills one server a round, under load.
async fn killed(dir: &Path, rounds: usize, repeats: Repeats) -> Outcome<()> {
    let what = match repeats {
        Repeats::Allowed => "idempotent calls",
        Repeats::Forbidden => "calls that may run once only",
    };
    println!("kill -9 of one of three servers, {rounds} times, under {what}");

    let mut servers = Servers::start(dir, &[0, 0, 0]).await?;
    let client = Client::new(servers.target());
    let load = Load::start(&client, repeats);
    load.until_all_answer(&client).await?;

    let mut total = Report::default();
    for round in 1..=rounds {
        let at = round % 3;
        servers.restart(at, Stop::Kill).await?;
        load.until_all_answer(&client).await?;
        let report = load.take_report();
        println!("  round {round}: server {at} killed: {report}");

        if let Some(failure) = report.failed_elsewhere_than(servers.address(at)) {
            return Err(
                format!("a call failed that was not at the killed server: {failure}").into(),
            );
        }

        total.add(report);
    }

    total.add(load.end().await);
    println!("  in all: {total}");
    if repeats == Repeats::Allowed && total.failures() > 0 {
        return Err("an idempotent call failed".into());
    }

    let runs = servers.stop_and_count_runs().await?;
    total.check_against(&runs, repeats)?;
    println!(
        "  every verdict is true: {} runs were recorded",
        runs.values().sum::<u64>()
    );
    Ok(())
}

/// Drains one server a round, under load: no call fails.
async fn drained(dir: &Path, rounds: usize) -> Outcome<()> {
    println!("rolling restarts with drain, {rounds} times");

    let mut servers = Servers::start(dir, &[0, 0, 0]).await?;
    let client = Client::new(servers.target());
    let load = Load::start(&client, Repeats::Forbidden);
    load.until_all_answer(&client).await?;

    for round in 1..=rounds {
        servers.restart(round % 3, Stop::Drain).await?;
        load.until_all_answer(&client).await?;
    }

    let total = load.end().await;
    println!("  in all: {total}");
    if total.failures() > 0 {
        return Err("a call failed while servers were drained".into());
    }

    total.check_against(&servers.stop_and_count_runs().await?, Repeats::Forbidden)
}

/// Three servers, one of them slow, then a fourth one: who gets how much.
async fn shares(dir: &Path) -> Outcome<()> {
    println!("shares of servers that take 1, 1 and 20 ms");

    let servers = Servers::start(dir, &[1, 1, 20, 1]).await?;
    let list = dir.join("servers");
    let write = |count: usize| std::fs::write(&list, servers.addresses()[..count].join("\n"));
    write(3)?;

    let client = Client::with_config(format!("file:{}", list.display()), Config::default());
    let load = Load::start(&client, Repeats::Forbidden);
    load.until_all_answer(&client).await?;
    let three = load.shares(&client, 3_000).await?;
    println!("  three servers: {three:?} percent");

    write(4)?;
    while client.endpoints().len() < 4 {
        load.some_calls().await?;
    }
    load.until_all_answer(&client).await?;
    let four = load.shares(&client, 4_000).await?;
    println!("  a fourth one that takes 1 ms: {four:?} percent");
    load.end().await;

    let share = |shares: &[(String, u64)], at: usize| {
        shares
            .iter()
            .find(|(address, _)| address == servers.address(at))
            .map_or(0, |(_, share)| *share)
    };

    if share(&three, 2) > 15 || share(&four, 2) > 15 {
        return Err("the slow server gets more than 15 %".into());
    }
    if share(&four, 3) < 15 {
        return Err("the added server gets less than 15 %".into());
    }

    Ok(())
}
