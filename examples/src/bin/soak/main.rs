//! A server under mixed load and constant faults for a long time: what was answered, and what is left behind.
//!
//! `cargo run --release -p rpc-examples --bin soak -- --minutes 30` runs a server in a process of its own, and between it and
//! the clients here a proxy that cuts, halves and delays connections. Every call carries a number, the server
//! notes how often it ran each, and in the end both books are compared. Each second the server's memory,
//! descriptors and tasks are written down; a line is fitted to the memory behind a warm-up. It ends with 1
//! where a reply was wrong, lost or doubled, memory grows, or anything is left.

mod callers;
mod ledger;
mod proxy;
mod samples;
mod server;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use callers::Callers;
use samples::Samples;

pub(crate) use rpc_examples::process::Outcome;

/// What memory may grow by in ten minutes.
const MIB_PER_TEN_MINUTES: f64 = 1.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["server"] => server::serve().await.map(|()| true),
                [] => run(Duration::from_secs(60)).await,
                ["--minutes", minutes] => {
                    run(Duration::from_secs_f64(minutes.parse::<f64>()? * 60.0)).await
                }
                _ => Err("the only argument is --minutes N".into()),
            }
        })
    });

    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}

/// Loads the server for that long. False where something does not hold.
async fn run(time: Duration) -> Outcome<bool> {
    let server = server::start()?;
    let (proxy, cuts) = proxy::start(server.address.clone()).await?;

    // Past the proxy: for looking, not for load.
    let direct = rpc_client::Client::new(&*server.address);
    let before = samples::look(&server, &direct).await?;

    let callers = Callers::start(&proxy);
    let (mut samples, end) = (Samples::default(), Instant::now() + time);
    while Instant::now() < end {
        tokio::time::sleep(
            Duration::from_secs(1).min(end.saturating_duration_since(Instant::now())),
        )
        .await;
        samples.add(samples::look(&server, &direct).await?);
    }

    let counted = callers.stop().await?;
    let verdict = ledger::compare(&counted, &direct).await?;
    let after = samples::until_back(&server, &direct, before).await?;

    let is_long_enough = time >= Duration::from_secs(300);
    let slope = samples.mib_per_ten_minutes();

    println!("| what | seen | bound |\n| --- | --- | --- |");
    println!("| time | {:.1} min | |", time.as_secs_f64() / 60.0);
    println!("| calls | {} | |", counted.kinds());
    println!("| failed, and said how | {} | |", counted.failures());
    println!("| connections cut, ended, delayed by the proxy | {cuts} | |");
    println!(
        "| replies that were wrong | {} {} | 0 |",
        counted.wrong, counted.first_wrong
    );
    println!(
        "| calls that ran though they were said not to have, or did not though answered | {} | 0 |",
        verdict.lost
    );
    println!("| calls that ran twice | {} | 0 |", verdict.doubled);
    println!("| memory | {} | |", samples.memory());

    let judged = if is_long_enough {
        ""
    } else {
        ", judged from 5 minutes on"
    };
    println!(
        "| memory's slope | {slope:.2} MiB in ten minutes | {MIB_PER_TEN_MINUTES} MiB{judged} |"
    );
    println!(
        "| descriptors, before and after | {}, {} | no more |",
        before.descriptors, after.descriptors
    );
    println!(
        "| tasks, before and after | {}, {} | no more |",
        before.tasks, after.tasks
    );

    let is_sound = counted.wrong == 0 && verdict.lost == 0 && verdict.doubled == 0;
    let nothing_is_left = after.descriptors <= before.descriptors && after.tasks <= before.tasks;
    let is_flat = !is_long_enough || slope < MIB_PER_TEN_MINUTES;
    let has_run = counted.calls() > 0;

    println!(
        "\n{}",
        if is_sound && nothing_is_left && is_flat && has_run {
            "all of it held"
        } else {
            "MISSED"
        }
    );

    Ok(is_sound && nothing_is_left && is_flat && has_run)
}
