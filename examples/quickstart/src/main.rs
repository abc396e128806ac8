//! Ships every line of a log file to a daemon in this process, through one connection that all
//! tasks share; reads the entries back; then does the same job over HTTP, to compare.
//!
//! `quickstart [--stay] [FILE]`: without FILE it looks for a log of this machine, and says which it took; with
//! `--stay` the daemon goes on afterwards.

mod arguments;
mod http;
mod job;
mod report;
mod rpc;
mod serving;
mod source;
mod wire;

use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use rpc_core::api::log::Append;

use arguments::{Asked, Options};
use http::Behind;
use job::{Job, TASKS};
use report::{Row, print_table};
use rpc::{RpcServer, RpcTransport};
use source::Source;

type Error = Box<dyn std::error::Error + Send + Sync>;

const EXIT_USAGE: u8 = 2;

const RPC: &str = "RPC, one shared connection";

const DURABLE: &str = "
The same job over HTTP: each entry is on disk (fdatasync) before it is answered.
All three wait for the same disk; entries that arrive together share one sync.
";
const TRANSPORT: &str = "
The transport alone: the same lines to a command that only decodes them and answers.
This measures system calls, wake-ups and parsing; for HTTP short also a TCP connection per call.
";
const CLOSING: &str = "
This is one run in one process, in which callers and servers share the processor: an illustration. To measure, use benches/.
";
const START_ONE: &str = "
You can also call by hand, with one line. Start a daemon (or run this with --stay), and call it with nc:
  cargo rpc-server --data-dir /tmp/rpc-data
";

/// The daemon of a program that does not stay.
const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: &str = "8889";

/// Calls of a run of the transport alone: enough that starting costs little of the time.
const TRANSPORT_CALLS: u64 = 20_000;
const TRANSPORT_BYTES_MAX: u64 = 64 << 20;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match arguments::parse(std::env::args_os().skip(1)) {
        Some(Asked::Run(options)) => options,
        Some(Asked::Help) => {
            println!("{}", arguments::USAGE);
            return ExitCode::SUCCESS;
        }
        None => {
            eprintln!("{}", arguments::USAGE);
            return ExitCode::from(EXIT_USAGE);
        }
    };

    let outcome = run(options).await;

    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Error> {
    // Dropped with everything in it, however this ends.
    let data = tempfile::tempdir()?;
    let mut stop = pin!(rpc_server::shutdown_signal());

    let daemon = tokio::select! {
        daemon = show(&options, data.path()) => daemon?,
        () = &mut stop => return Err("interrupted".into()),
    };

    if options.stay {
        print_stay(daemon.address());
        stop.await;
    } else {
        print!("{START_ONE}");
        print_calls(DEFAULT_HOST, DEFAULT_PORT);
    }
    daemon.stop().await
}

/// Everything that is shown, one after another. Returns the daemon, which still runs.
async fn show(options: &Options, data: &Path) -> Result<RpcServer, Error> {
    let source = source::find(options.file.as_deref())?;
    describe(&source);

    let daemon = RpcServer::daemon(data).await?;
    println!(
        "\ndaemon: {}, in this process, its store in {}",
        daemon.address(),
        data.display()
    );

    let shipped = ship(&daemon, &source.entries).await?;
    wire::show(daemon.address()).await?;

    compare_durable(&source.entries, shipped).await?;
    compare_transport(&source.entries).await?;
    print!("{CLOSING}");
    Ok(daemon)
}

fn print_stay(address: &str) {
    println!("\nThe daemon stays until Ctrl-C: {address}");
    println!("  its page: http://{address}/");
    println!("  its log:  cargo rpc --addr {address} log tail -f");

    println!("\nBy hand, a command is one line, in another terminal:");
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    print_calls(host, port);
}

/// Two calls to paste.
fn print_calls(host: &str, port: &str) {
    let params = r#"{"level":"info","service":"me","message":"hello"}"#;
    println!(r#"  echo '{{"cmdid":1001,"params":{params}}}' | nc -N {host} {port}"#);
    println!(r#"  echo '{{"cmdid":1002,"params":{{"limit":2}}}}' | nc -N {host} {port}"#);
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
async fn ship(server: &RpcServer, entries: &Arc<[Append]>) -> Result<Row, Error> {
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
        "  read {} entries back in {} pages: all lines are there, and no others",
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

    Ok(row)
}

/// The same job against the same store, with HTTP instead of RPC.
async fn compare_durable(entries: &Arc<[Append]>, shipped: Row) -> Result<(), Error> {
    let mut rows = vec![shipped];
    rows.extend(http::measure(&Job::once(entries), Behind::Store).await?);
    print!("{DURABLE}");
    print_table(&rows);
    Ok(())
}

/// The same lines to a command that only decodes its typed params and answers.
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
