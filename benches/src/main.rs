//! The benchmark harness: measures this project beside its peers. See `benches/README.md`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use contenders::Contender;
#[cfg(feature = "peers")]
use contenders::tarpc::Format;
use load::{Load, Measured};
use rpc_benches::log_call::Entry;

mod contenders;
mod load;
mod process;
mod report;
mod run;
mod scenario;
mod targets;

#[derive(Parser)]
#[command(
    name = "rpc-benches",
    about = "Measures this project beside its peers."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures all contenders in all scenarios and writes the results.
    Run(run::Options),
    /// Runs the server's half alone, until it is stopped.
    Serve(Serve),
    /// Runs the client's half alone against a server, and prints what it measured.
    Load(LoadOptions),
}

// Options of a scenario come after those of all.
#[derive(clap::Args)]
#[command(args_override_self = true)]
struct Serve {
    /// Who serves; a build with `--features peers` brings grpc, redis and tarpc as well.
    contender: Contender,
    /// Where to listen; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Worker threads; 1 is a single-threaded runtime.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// For rpc only: number of further single-threaded runtimes, which share the port.
    #[arg(long, default_value_t = 0)]
    runtimes: usize,
    /// For rpc only: its `timeouts.spin_us`.
    #[arg(long, default_value_t = 0)]
    spin_us: u64,
    /// For rpc only: serves with TLS, by a certificate for 127.0.0.1 that it makes and writes into this directory.
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// The limit writes after this many frames; 0 is once for all that one read brought.
    #[arg(long, default_value_t = 16)]
    write_every: usize,
}

// Options of a scenario come after those of all.
#[derive(clap::Args)]
#[command(args_override_self = true)]
struct LoadOptions {
    /// Whose client; a build with `--features peers` brings grpc, redis and tarpc as well.
    contender: Contender,
    /// The server.
    #[arg(long)]
    connect: SocketAddr,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Calls in flight on each connection; who cannot multiplex gets a connection for each.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// How long to measure.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long to call before that.
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// Makes this many calls instead, without warm-up.
    #[arg(long, conflicts_with_all = ["seconds", "warm_up", "rate"])]
    calls: Option<u64>,
    /// Calls at fixed times, this many a second, whether or not the ones before have ended.
    #[arg(long)]
    rate: Option<u64>,
    /// Bytes of the params, about.
    #[arg(long, default_value_t = 0)]
    bytes: usize,
    /// A connection for each call.
    #[arg(long)]
    short: bool,
    /// A slow call of one second at a time beside the others.
    #[arg(long)]
    slow: bool,
    /// Reads streams instead of making calls.
    #[arg(long, conflicts_with_all = ["calls", "rate", "short"])]
    stream: bool,
    /// A stream that is not read beside the others.
    #[arg(long)]
    stalled: bool,
    /// Only opens this number of connections, makes one call on each, and keeps them until stdin ends.
    #[arg(long)]
    idle: Option<usize>,
    /// Worker threads; 1 is a single-threaded runtime.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// For rpc only: its `timeouts.spin_us`.
    #[arg(long, default_value_t = 0)]
    spin_us: u64,
    /// For rpc only: speaks TLS with a server that was given the same directory.
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// The limit writes after this many frames; 0 is once for all that one read brought.
    #[arg(long, default_value_t = 16)]
    write_every: usize,
}

fn main() -> ExitCode {
    match run_command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In one line: it may go into a table.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_command() -> Result<()> {
    match Cli::parse().command {
        Command::Run(options) => runtime(1)?.block_on(run::run(options)),
        Command::Serve(options) => runtime(options.workers)?.block_on(serve(options)),
        Command::Load(options) => {
            if let Some(measured) = runtime(options.workers)?.block_on(run_load(options))? {
                println!("{}", serde_json::to_string(&measured)?);
            }
            Ok(())
        }
    }
}

fn runtime(workers: usize) -> Result<tokio::runtime::Runtime> {
    let mut builder = if workers > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    if workers > 1 {
        builder.worker_threads(workers);
    }

    Ok(builder.enable_all().build()?)
}

async fn serve(options: Serve) -> Result<()> {
    let listen = options.listen;
    let is_plain = options.runtimes == 0 && options.spin_us == 0 && options.tls.is_none();
    ensure!(
        is_plain || options.contender == Contender::Rpc,
        "only rpc has --runtimes, --spin-us and --tls"
    );

    match options.contender {
        Contender::Rpc | Contender::HttpRpc => {
            let serving = contenders::rpc::Serving {
                listen,
                runtimes: options.runtimes,
                spin_us: options.spin_us,
                tls: options.tls,
                http_calls: options.contender == Contender::HttpRpc,
            };
            contenders::rpc::serve(serving).await
        }
        Contender::Limit => {
            contenders::limit::serve(listen, write_every(options.write_every)).await
        }
        Contender::Http | Contender::HttpBare | Contender::HttpReqwest | Contender::HttpShort => {
            contenders::http::serve(listen).await
        }
        Contender::Tornado => contenders::tornado::serve(listen).await,
        #[cfg(feature = "peers")]
        Contender::Grpc => contenders::grpc::serve(listen).await,
        #[cfg(feature = "peers")]
        Contender::TarpcJson => contenders::tarpc::serve(listen, Format::Json).await,
        #[cfg(feature = "peers")]
        Contender::TarpcBincode => contenders::tarpc::serve(listen, Format::Bincode).await,
        #[cfg(feature = "peers")]
        Contender::Redis => contenders::redis::serve(listen).await,
    }
}

fn write_every(frames: usize) -> usize {
    if frames == 0 { usize::MAX } else { frames }
}

impl LoadOptions {
    /// Refuses what the contender cannot do.
    fn check(&self) -> Result<()> {
        ensure!(
            !self.short || self.contender.can_be_short(),
            "this contender's client cannot open a connection for each call"
        );
        ensure!(
            (self.spin_us == 0 && self.tls.is_none()) || self.contender == Contender::Rpc,
            "only rpc has --spin-us and --tls"
        );

        Ok(())
    }

    /// What the load does, from now on.
    fn load(&self) -> Load {
        // A number of calls is made without a warm-up, however long it takes.
        let (warm_up, seconds) = if self.calls.is_some() {
            (0.0, 600.0)
        } else {
            (self.warm_up, self.seconds)
        };

        let mut load = Load::new(
            Duration::from_secs_f64(warm_up),
            Duration::from_secs_f64(seconds),
            self.calls,
        );
        load.connections = self.connections;
        load.in_flight = self.in_flight;
        load.multiplexed = self.contender.is_multiplexed();
        load.short = self.short || self.contender == Contender::HttpShort;
        load.slow = self.slow;
        load.stream = self.stream;
        load.stalled = self.stalled;
        load.rate = self.rate;
        load.idle = self.idle;
        load.entry = Entry::of(self.bytes);
        load.write_every = write_every(self.write_every);

        load
    }
}

async fn run_load(options: LoadOptions) -> Result<Option<Measured>> {
    options.check()?;
    let load = options.load();

    let (is_short, address) = (load.short, options.connect);

    match options.contender {
        Contender::Rpc => {
            let contender = contenders::rpc::Rpc {
                is_short,
                spin_us: options.spin_us,
                tls: options.tls,
            };
            load::run(contender, address, load).await
        }
        Contender::Limit => load::run_limit(address, load).await.map(Some),
        Contender::Http => load::run(contenders::http::Pooled, address, load).await,
        Contender::HttpBare | Contender::HttpShort => {
            load::run(contenders::http::Bare { is_short }, address, load).await
        }
        Contender::HttpRpc => load::run(contenders::http_rpc::HttpRpc, address, load).await,
        Contender::HttpReqwest => load::run(contenders::http::Reqwest, address, load).await,
        Contender::Tornado => load::run(contenders::tornado::Tornado, address, load).await,
        #[cfg(feature = "peers")]
        Contender::Grpc => load::run(contenders::grpc::Grpc, address, load).await,
        #[cfg(feature = "peers")]
        Contender::TarpcJson => {
            load::run(
                contenders::tarpc::Tarpc {
                    format: Format::Json,
                },
                address,
                load,
            )
            .await
        }
        #[cfg(feature = "peers")]
        Contender::TarpcBincode => {
            load::run(
                contenders::tarpc::Tarpc {
                    format: Format::Bincode,
                },
                address,
                load,
            )
            .await
        }
        #[cfg(feature = "peers")]
        Contender::Redis => load::run(contenders::redis::Redis, address, load).await,
    }
}
