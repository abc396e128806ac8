//! Newcomers at a server that is full of idle connections, with `limits.make_room_after_ms`: every newcomer is served, no
//! call fails, and no busy connection or one without ids is asked to go.
//!
//! ```text
//! cargo run --release -p rpc-examples --bin make_room                                  # 10,000 idle, 1,000 newcomers
//! cargo run --release -p rpc-examples --bin make_room -- --idle 400 --newcomers 40
//! ```
//!
//! Half of the connections that have to go belong to clients that read nothing until they call again. The server
//! is a process of its own, so that each process has descriptors for one end of the connections only.

mod line;
mod population;
mod service;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use rpc_client::{Client, Config};
use rpc_examples::process::{Outcome, Process};
use serde::Deserialize;

use population::{Population, Tally};

const USAGE: &str = "usage: make_room [--idle N] [--newcomers N]";
const EXIT_USAGE: u8 = 2;

/// Longer than a connection has to be idle before it is asked to make room.
const REST: Duration = Duration::from_millis(500);

/// Newcomers that connect at one time.
const NEWCOMERS_AT_ONCE: usize = 16;

/// Descriptors of each process beside its connections.
const OTHER_DESCRIPTORS: usize = 100;

#[derive(Clone, Copy)]
struct Sizes {
    idle: usize,
    newcomers: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    // What this program starts itself with.
    let result = if let ["serve", connections_max] = arguments[..] {
        match connections_max.parse() {
            Ok(connections_max) => service::serve(connections_max).await.map(|()| true),
            Err(error) => Err(error.into()),
        }
    } else {
        let Some(sizes) = Sizes::of(&arguments) else {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        };
        show(sizes).await
    };

    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("make_room: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Sizes {
    fn of(mut arguments: &[&str]) -> Option<Self> {
        let mut sizes = Self {
            idle: 10_000,
            newcomers: 1_000,
        };

        while let [flag, number, rest @ ..] = arguments {
            let number = number.parse().ok()?;
            match *flag {
                "--idle" => sizes.idle = number,
                "--newcomers" => sizes.newcomers = number,
                _ => return None,
            }
            arguments = rest;
        }

        // While connections leave, there may be an eighth more than the limit.
        let fits = (1..=sizes.idle / 8).contains(&sizes.newcomers);
        (arguments.is_empty() && fits).then_some(sizes)
    }

    /// Connections that nothing may touch: as many busy ones as ones without ids.
    fn untouchable(self) -> usize {
        (self.idle / 100).max(1)
    }

    fn connections_max(self) -> usize {
        self.idle + 2 * self.untouchable()
    }
}

async fn show(sizes: Sizes) -> Outcome<bool> {
    let needed = sizes.connections_max() + sizes.newcomers + OTHER_DESCRIPTORS;
    let limit = descriptors_max()?;
    if limit < needed {
        return Err(format!(
            "{limit} open files are allowed, and {needed} are needed; allow more with `ulimit -n {needed}`, or try fewer connections with --idle and --newcomers"
        )
        .into());
    }

    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", &sizes.connections_max().to_string()]);
    let server = Process::start(&mut command)?;
    let population = Population::connect(&server.address, sizes).await?;
    tokio::time::sleep(REST).await;
    println!(
        "{} connections of at most {}; now {} newcomers",
        population.len(),
        sizes.connections_max(),
        sizes.newcomers
    );

    let began = Instant::now();
    let (newcomers, kept) = newcomers(&server.address, sizes.newcomers).await?;
    let took = began.elapsed();
    let client = kept.first().ok_or("there is no newcomer")?;
    let mut rows = vec![("newcomers", newcomers)];
    rows.extend(population.call_all(client).await);

    print_rows(&rows);
    let stats: Stats = client.call(3, &serde_json::json!({})).await?;
    let Counts {
        connections_retired: retired,
        connections_refused: refused,
    } = stats.server;
    println!(
        "the newcomers took {} ms; the server has asked {retired} connections to go, and refused {refused}",
        took.as_millis()
    );
    println!(
        "Look at `asked to go`: only idle connections with ids are, and none of their calls fails."
    );
    let all_held = rows.iter().all(|(name, tally)| tally.holds(name));
    Ok(all_held && refused == 0)
}

/// Connects newcomers, each by a client of its own, and calls once with each. They stay.
async fn newcomers(address: &str, number: usize) -> Outcome<(Tally, Vec<Client>)> {
    let call = |_| async {
        let config = Config::default().with(|config| config.retry.attempts_max = 1);
        let client = Client::with_config(address, config);
        let result = client.call::<_, serde_json::Value>(0, &()).await;
        Outcome::Ok((client, result))
    };
    let called: Vec<_> = stream::iter(0..number)
        .map(call)
        .buffer_unordered(NEWCOMERS_AT_ONCE)
        .try_collect()
        .await?;

    let mut tally = Tally::default();
    let mut clients = Vec::new();
    for (client, result) in called {
        tally.count(result.map(drop).map_err(|error| error.to_string()));
        clients.push(client);
    }
    Ok((tally, clients))
}

fn print_rows(rows: &[(&str, Tally)]) {
    println!(
        "{:46} {:>11} {:>11} {:>7} {:>7}",
        "who", "connections", "asked to go", "calls", "failed"
    );
    for (name, tally) in rows {
        println!(
            "{name:46} {:>11} {:>11} {:>7} {:>7}",
            tally.connections, tally.asked, tally.calls, tally.failed
        );
        if let Some(error) = &tally.first_error {
            println!("  the first failure: {error}");
        }
    }
}

/// What the built-in command `stats` tells, as far as it is needed.
#[derive(Deserialize)]
struct Stats {
    server: Counts,
}

#[derive(Deserialize)]
struct Counts {
    connections_retired: u64,
    connections_refused: u64,
}

/// The number of files that this process may open.
fn descriptors_max() -> Outcome<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .ok_or("/proc/self/limits does not say how many files may be open")?;
    let soft = line.split_whitespace().nth(3).unwrap_or_default();
    Ok(soft.parse().unwrap_or(usize::MAX))
}
