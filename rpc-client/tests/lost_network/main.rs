//! A lost network as a client and a server with default settings see it.
//!
//! Two network namespaces of its own, joined by a virtual cable, for each case: the server in one, the
//! client in the other. Packets are dropped or rejected by nftables, or the server is frozen; then all
//! is healed. It prints how long the loss took to be found, how exactly calls kept their deadlines
//! meanwhile, and how soon calls succeeded again, and fails where a bound is broken.
//!
//! ```text
//! .ci/netns --short     each fault once, half a minute; a service that logs loses it for 15 s
//! .ci/netns --full      each fault under each load; a service that logs loses it for a minute
//! ```
//!
//! It needs root, `ip` (iproute2) and `nft` (nftables), and says so where it does not have them. Without
//! an argument, as `cargo test` runs it, it does nothing.

mod case;
mod client;
mod fault;
mod namespaces;
#[path = "../../../rpc-server/tests/needs/mod.rs"]
mod needs;
mod probes;
mod server;
mod shipping;

use std::process::ExitCode;
use std::time::Duration;

use case::{Case, Measured};
use client::Load;
use fault::Fault;
use futures::future::join_all;
use probes::Course;
use tokio::signal::unix::{SignalKind, signal};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One thread: the children shall die with the thread that started them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &*arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        ["server"] => server::run().await.map(|()| ExitCode::SUCCESS),
        ["client", address, load] => client::run(address, load.parse()?)
            .await
            .map(|()| ExitCode::SUCCESS),
        ["client-without-pings", address] => client::run_without_pings(address)
            .await
            .map(|()| ExitCode::SUCCESS),
        ["server-of-log"] => shipping::serve().await.map(|()| ExitCode::SUCCESS),
        ["service", address] => shipping::run_service(address)
            .await
            .map(|()| ExitCode::SUCCESS),
        ["--full"] => check(&Case::all(), Duration::from_secs(60)).await,
        ["--short"] => check(&Case::short(), Duration::from_secs(15)).await,
        _ => {
            println!("skipped: `.ci/netns` runs it, with --short or --full");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `outage` is how long the network of a service that logs is lost.
async fn check(cases: &[Case], outage: Duration) -> Result<ExitCode> {
    if let Err(missing) = namespaces::is_possible().await {
        needs::leave_out(&missing);
        return Ok(ExitCode::SUCCESS);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        // However it ends, what was made is dropped, and with it processes and namespaces.
        outcome = measure(cases, outage) => {
            let Outcome { measured, courses, shipped } = outcome?;
            let is_kept = report_courses(&courses) & report_shipped(&shipped);
            let code = report(&measured);
            Ok(if is_kept { code } else { ExitCode::FAILURE })
        }
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}

/// What was measured, and what became of the rest.
struct Outcome {
    measured: Vec<(Case, Measured)>,
    courses: Vec<Result<String>>,
    shipped: Result<String>,
}

/// All faults of one load at the same time, and what is lost of probes and of a log beside them: most of the time is spent waiting.
async fn measure(cases: &[Case], outage: Duration) -> Result<Outcome> {
    let numbered = Course::ALL.into_iter().enumerate();
    let courses = join_all(numbered.map(|(n, course)| course.run(Fault::ALL.len() + n)));
    let shipping = shipping::run(Fault::ALL.len() + Course::ALL.len(), outage);
    let (measured, courses, shipped) = tokio::join!(measure_cases(cases), courses, shipping);
    Ok(Outcome {
        measured: measured?,
        courses,
        shipped,
    })
}

async fn measure_cases(cases: &[Case]) -> Result<Vec<(Case, Measured)>> {
    let mut measured = Vec::new();
    for load in Load::ALL {
        let cases: Vec<Case> = cases
            .iter()
            .copied()
            .filter(|case| case.load == load)
            .collect();
        let runs = cases.iter().enumerate().map(|(n, case)| case.run(n));
        for (case, result) in cases.iter().zip(join_all(runs).await) {
            measured.push((*case, result.map_err(|error| format!("{case}: {error}"))?));
        }
    }
    Ok(measured)
}

/// Whether each was as it shall be.
fn report_courses(courses: &[Result<String>]) -> bool {
    println!("| an idle connection without pings | what happens |");
    println!("| --- | --- |");
    for (course, result) in Course::ALL.iter().zip(courses) {
        match result {
            Ok(line) => println!("| {course} | {line} |"),
            Err(error) => eprintln!("BROKEN {course}: {error}"),
        }
    }
    println!();
    courses.iter().all(Result::is_ok)
}

/// Whether each entry was in the log, or counted there.
fn report_shipped(shipped: &Result<String>) -> bool {
    match shipped {
        Ok(line) => println!("A service whose log was away: {line}\n"),
        Err(error) => eprintln!("BROKEN a service whose log was away: {error}"),
    }
    shipped.is_ok()
}

fn report(measured: &[(Case, Measured)]) -> ExitCode {
    println!(
        "| fault | load | client detects it after | upper bound | server detects it after | calls end after their deadlines by, p50 / max | calls succeed again after |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut broken = Vec::new();
    for (case, measured) in measured {
        println!("{}", measured.row(*case));
        broken.extend(measured.broken(*case).map(|what| format!("{case}: {what}")));
    }
    println!("\nWhat the client said:");
    for fault in Fault::ALL {
        let reasons = measured.iter().filter(|(case, _)| case.fault == fault);
        for (case, measured) in reasons {
            println!("- {case}: {}", measured.reason);
        }
    }
    for broken in &broken {
        eprintln!("BROKEN {broken}");
    }
    if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
