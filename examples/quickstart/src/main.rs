//! Ships every line of a log file to a daemon in this process, through one connection that all
//! tasks share; reads the entries back; then does the same job over HTTP, to compare.
//!
//! `quickstart [FILE]`: without FILE it looks for a log of this machine, and says which it took.

mod http;
mod job;
mod report;
mod rpc;
mod serving;
mod source;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use rpc_core::api::log::Append;

use http::Behind;
use job::{Job, TASKS};
use report::{Row, print_table};
use rpc::{RpcServer, RpcTransport};
use source::Source;

type Error = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: quickstart [FILE]

Ships every line of FILE to a daemon in this process over one shared connection, reads the entries
back, and does the same over HTTP to compare. Without FILE it takes a log of this machine.";
const EXIT_USAGE: u8 = 2;

const RPC: &str = "RPC, one shared connection";

const DURABLE: &str = "
The same job over HTTP: each entry is on disk (fdatasync) before it is answered.
All wait for the same disk, where entries that arrive together share one sync.
";
const TRANSPORT: &str = "
The transport alone: the same lines to a command that only decodes them and answers.
What is left is system calls, wake-ups and parsing, and for HTTP short a TCP connection a call.
";
const CLOSING: &str = r#"
One run in one process, where callers and servers share the processor, illustrates; benches/ measures.

By hand, a command is one line. Start a daemon that stays, and speak to it with nc:
  cargo rpc-server --data-dir /tmp/rpc-data
  echo '{"cmdid":1001,"params":{"level":"info","service":"me","message":"hello"}}' | nc -N 127.0.0.1 8889
  echo '{"cmdid":1002,"params":{"limit":2}}' | nc -N 127.0.0.1 8889
"#;

/// Calls of a run of the transport alone: enough that starting costs little of the time.
const TRANSPORT_CALLS: u64 = 20_000;
const TRANSPORT_BYTES_MAX: u64 = 64 << 20;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let file = match arguments.as_slice() {
        [] => None,
        [help] if help == "--help" || help == "-h" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [file] if !file.to_string_lossy().starts_with('-') => Some(PathBuf::from(file)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };

    let outcome = tokio::select! {
        outcome = run(file) => outcome,
        // The future is dropped, and the temporary directories with it.
        () = rpc_server::shutdown_signal() => Err("interrupted".into()),
    };

    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(file: Option<PathBuf>) -> Result<(), Error> {
    let source = source::find(file)?;
    describe(&source);
    let shipped = ship(&source.entries).await?;
    compare_durable(&source.entries, shipped).await?;
    compare_transport(&source.entries).await?;
    print!("{CLOSING}");
    Ok(())
}

fn describe(source: &Source) {
    println!("file: {}", source.path.display());
    println!("  {}", source.why);
    println!(
        "  {} lines to ship, {} empty ones skipped",
        source.entries.len(),
        source.empty
    );

    for note in &source.notes {
        println!("  {note}");
    }
}

/// The job itself: every line through one connection to a daemon, and back.
async fn ship(entries: &Arc<[Append]>) -> Result<Row, Error> {
    let data = tempfile::tempdir()?;
    let server = RpcServer::daemon(data.path()).await?;
    println!(
        "\ndaemon: {}, in this process, its store in {}",
        server.address(),
        data.path().display()
    );

    let job = Job::once(entries);
    let elapsed = job::run(&job, RpcTransport::new(server.address())).await?;
    let row = Row::new(RPC, job.calls, elapsed, server.connections());
    println!(
        "  shipped {} lines from {TASKS} tasks in {:.3} s: each was answered once it was on disk",
        job.calls,
        elapsed.as_secs_f64()
    );

    let stored = rpc::read_all(server.address()).await?;
    rpc::verify(entries, &stored.entries)?;
    println!(
        "  read {} entries back in {} pages: every line is there, and none that is not",
        stored.entries.len(),
        stored.pages
    );
    report::print_ends(&stored.entries)?;

    let (connections, requests) = (server.connections(), server.requests());
    println!(
        "  connections opened: {connections} for all {requests} calls, {} requests per connection \
         (the server's own count)",
        requests / connections.max(1)
    );

    server.stop().await?;
    Ok(row)
}

/// The same job against the same store, with HTTP in the place of RPC.
async fn compare_durable(entries: &Arc<[Append]>, shipped: Row) -> Result<(), Error> {
    let mut rows = vec![shipped];
    rows.extend(http::measure(&Job::once(entries), Behind::Store).await?);
    print!("{DURABLE}");
    print_table(&rows);
    Ok(())
}

/// The same lines to a command that decodes its typed params and answers, and does nothing else.
async fn compare_transport(entries: &Arc<[Append]>) -> Result<(), Error> {
    let job = Job::in_turn(entries, TRANSPORT_CALLS, TRANSPORT_BYTES_MAX);
    let server = RpcServer::without_store().await?;
    let elapsed = job::run(&job, RpcTransport::new(server.address())).await?;
    let mut rows = vec![Row::new(RPC, job.calls, elapsed, server.connections())];
    server.stop().await?;

    rows.extend(http::measure(&job, Behind::Nothing).await?);

    print!("{TRANSPORT}");
    print_table(&rows);
    Ok(())
}
