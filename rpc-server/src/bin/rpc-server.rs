//! The daemon: `rpc-server --help` says what it takes.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rpc_server::daemon::config::{LogFormat, Overrides};
use rpc_server::daemon::{Daemon, DaemonConfig, DaemonError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Serves commands over newline-delimited JSON RPC: one JSON object a line, readable with nc and jq.
///
/// Settings come from the config file, over it the environment (`RPC_SERVER_LIMITS_FRAME_BYTES_MAX` is
/// `limits.frame_bytes_max`), and over both the flags. SIGTERM and SIGINT drain: what was accepted is
/// answered, then the daemon exits with 0. A second one stops it at once.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// TOML file with settings; --print-config shows all of them
    #[arg(long, value_name = "FILE", env = "RPC_SERVER_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on, HOST:PORT, unix:PATH, or `inherited` for sockets that are handed over
    /// (`LISTEN_FDS`, as systemd does it); may be given several times [default: 127.0.0.1:8889]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Directory of all data [default: ./rpc-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Format of the log on standard error [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Check the settings and exit: 0 where they are right, 2 where not
    #[arg(long)]
    check_config: bool,
    /// Print the effective settings as a commented config file and exit
    #[arg(long)]
    print_config: bool,
}

/// As clap exits for a wrong flag.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let overrides = Overrides {
        listen: arguments.listen,
        data_dir: arguments.data_dir,
        log_format: arguments.log_format,
    };
    let env = std::env::vars_os().filter_map(|(name, value)| {
        // What is no text is none of ours.
        Some((name.into_string().ok()?, value.into_string().ok()?))
    });
    let config = match DaemonConfig::load(arguments.config.as_deref(), env, overrides) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("rpc-server: {message}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if arguments.print_config {
        print!("{}", config.to_commented_toml());
        return ExitCode::SUCCESS;
    }
    if arguments.check_config {
        println!("the settings are right");
        return ExitCode::SUCCESS;
    }
    start_logging(&config);
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(config: &DaemonConfig) {
    let filter = EnvFilter::try_new(&config.log_level).expect("checked with the other settings");
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    // Debug formatting keeps the message and its place on one line.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{:?}", panic.to_string())));
}

#[tokio::main]
async fn run(config: &DaemonConfig) -> Result<(), DaemonError> {
    // Before anything is served, so that no signal is missed.
    let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let daemon = Daemon::bind(config).await?;
    for address in daemon.addresses() {
        tracing::info!(data_dir = %config.data_dir.display(), "listening on {address}");
    }
    let drained = daemon.run(stopped(signals)).await?;
    tracing::info!(connections = drained.connections, dropped = drained.dropped, "stopped");
    Ok(())
}

/// Ready at the first signal; the second one ends the process.
async fn stopped((mut terminate, mut interrupt): (Signal, Signal)) {
    async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }
    let name = either(&mut terminate, &mut interrupt).await;
    tracing::info!("{name}: draining; a second one stops at once");
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!("{name} again: stopped at once");
        std::process::exit(1);
    });
}
