//! Messages that wait in a list of Redis reach those who wait for them, as in the article about long polling with Tornado and
//! Redis: by long polling and by server-sent events, over the port of the service.
//!
//! `longpoll` starts a Redis of its own (`redis-server`, over a socket in a temporary directory) and a server in a process of
//! its own, and lets 4,000 clients wait while 4,000 messages a second come: first by long polling, then by events. With
//! `--python PROGRAM` the article's program on Python's tornado has the same clients and messages, twice: it pops one message at
//! a time, as in the article, and up to 256, as the server here does. `--quick` is short, for the tests. `--stay` serves on with
//! a page for a browser.

mod clients;
mod mailboxes;
mod measure;
mod redis;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use measure::{Kind, Load};
use redis::Redis;
use rpc_examples::process::Outcome;

const USAGE: &str = "usage: longpoll [--quick] [--python PROGRAM] | --stay";
const EXIT_USAGE: u8 = 2;

/// What the article has.
const WHOLE: Load = Load {
    clients: 4_000,
    messages_per_second: 4_000,
    time: Duration::from_secs(10),
};

/// For the tests.
const QUICK: Load = Load {
    clients: 100,
    messages_per_second: 200,
    time: Duration::from_secs(1),
};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    let outcome = match arguments[..] {
        [] => compare(WHOLE, None).await,
        ["--quick"] => compare(QUICK, None).await,
        ["--python", python] => compare(WHOLE, Some(python)).await,
        ["--quick", "--python", python] => compare(QUICK, Some(python)).await,
        ["--stay"] => stay().await,
        // As this program starts itself.
        ["--serve", socket] => server::serve(PathBuf::from(socket)).await,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };

    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("longpoll: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a row for each way of waiting.
async fn compare(load: Load, python: Option<&str>) -> Outcome<()> {
    println!(
        "{} clients wait, and {} messages a second come for {} s, each for one of them:\n",
        load.clients,
        load.messages_per_second,
        load.time.as_secs()
    );
    println!("{}", measure::HEAD);

    let mut kinds = vec![Kind::LongPoll, Kind::Events];
    if let Some(python) = python {
        kinds.extend([1, server::POPPED_MAX].map(|popped_max| Kind::Original {
            python: python.to_owned(),
            popped_max,
        }));
    }
    for kind in kinds {
        // A Redis of its own for each, so that no row finds messages of the one before.
        let redis = Redis::start().await?;
        println!("{}", measure::measure(&kind, load, &redis).await?);
    }

    println!(
        "\nLook at the time from Redis to the client, and at the processor time that the server takes of each second.\n\
         Who waits costs memory only; long polling costs a request for each answer, events do not."
    );
    Ok(())
}

/// Serves until it is interrupted.
async fn stay() -> Outcome<()> {
    let redis = Redis::start().await?;
    let server = server::start(&redis.socket)?;

    println!("the page:  http://{}/longpoll?to=7", server.address);
    println!(
        "a message: redis-cli -s {} lpush messages '{{\"to\":7,\"text\":\"hello\"}}'",
        redis.socket.display()
    );
    println!("Ctrl-C ends it.");
    rpc_server::shutdown_signal().await;
    Ok(())
}
