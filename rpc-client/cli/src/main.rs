//! The command line: `rpc --help` says what it does.

mod call;
mod client_log;
mod commands;
mod completion;
mod exit;
mod generate;
mod log;
mod output;
mod ping;
mod pipe;
mod schema;
mod server;
mod sms;
mod view;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use rpc_client::{Client, Config, TlsConfig};

use commands::Fields;
use exit::Failure;

/// Longest window between attempts to connect again: a person who follows a log watches, and waits.
const RECONNECT_CAP_MS: u64 = 1_000;

/// Calls the commands of a server that speaks newline-delimited JSON RPC.
///
/// Only data goes to standard output; errors go to standard error, with the address,
/// the code and what to do.
#[derive(Parser)]
#[command(name = "rpc", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    target: Target,
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        help = "Log the client's connections, and each try of a call, on standard error, at this level: error, warn, info, debug or trace. Modules can have a level of their own: rpc_client=debug [env: RUST_LOG] [default: nothing is logged]"
    )]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  rpc list                                         all commands of the server
  rpc describe log.append                          its fields, and a call to copy
  rpc call log.append --level info --service order --message paid
  rpc call 1001 '{\"level\":\"info\",\"service\":\"order\",\"message\":\"paid\"}'
  rpc --addr unix:/run/rpc.sock ping -c 100 -i 0
  jq -c '{cmdid:1001,params:.}' entries.json | rpc pipe > replies.json
  rpc log tail -f --level warn
  rpc sms send +8613800138000 'your parcel is there'

Exit codes:
  0  it worked
  1  the server replied with an error
  2  usage: a wrong argument, an invalid address or invalid JSON
  3  the server could not be reached, or the connection was lost
  4  the deadline passed";

/// What every subcommand takes, before or behind its name.
#[derive(Args)]
#[command(next_help_heading = "Server")]
struct Target {
    #[arg(
        long,
        global = true,
        help = "Address of the server: HOST:PORT, tls:HOST:PORT or unix:PATH [env: RPC_ADDR] [default: 127.0.0.1:8889]"
    )]
    addr: Option<String>,
    /// Maximum time to wait for a reply, for example 200ms, 1.5s or 1m [default: 5s; for pipe 10m]
    #[arg(long, global = true, value_name = "TIME", value_parser = timeout)]
    timeout: Option<Duration>,
    /// Use TLS; the system's certificate authorities are trusted unless --ca names others
    #[arg(long, global = true)]
    tls: bool,
    /// PEM file with the certificate authorities to trust; implies --tls
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file with the client's certificate; implies --tls
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file with the private key for --cert
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name that the server's certificate must have, if it is not the host in --addr; implies --tls
    #[arg(long, global = true, value_name = "NAME")]
    server_name: Option<String>,
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "File with the token to authenticate with [env: RPC_TOKEN_FILE]"
    )]
    token_file: Option<PathBuf>,
}

/// Where a server is by default.
const ADDRESS: &str = "127.0.0.1:8889";

/// A variable of the environment; an empty one is not set, as where a compose file has no value for it.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

impl Target {
    /// The client of this address. A server that cannot be reached, or turns the call away, is reported at once: a
    /// person waits for the prompt, and can start one or try again.
    fn client(&self) -> Client {
        self.client_with(Config::default())
    }

    fn tls(&self) -> Option<TlsConfig> {
        let settings = TlsConfig {
            ca_file: self.ca.clone(),
            server_name: self.server_name.clone(),
            certificate_file: self.cert.clone(),
            key_file: self.key.clone(),
        };
        (self.tls || settings != TlsConfig::default()).then_some(settings)
    }

    fn client_with(&self, config: Config) -> Client {
        let token_file = self.token_file.clone();
        let token_file = token_file.or_else(|| variable("RPC_TOKEN_FILE").map(PathBuf::from));
        let address = self.addr.clone().unwrap_or_else(|| {
            let of_environment = variable("RPC_ADDR");
            of_environment.map_or_else(
                || ADDRESS.to_owned(),
                |it| it.to_string_lossy().into_owned(),
            )
        });
        let call_timeout_ms = self
            .timeout
            .map_or(config.timeouts.call_timeout_ms, milliseconds);
        let config = config.with(|config| {
            config.timeouts.call_timeout_ms = call_timeout_ms;
            config.reconnect.fail_fast_after_ms = 0;
            config.reconnect.cap_ms = RECONNECT_CAP_MS;
            config.retry.attempts_max = 1;
            config.tls = self.tls();
            config.pool.token_file = token_file;
        });

        Client::with_config(&address, config)
    }
}

#[derive(Subcommand)]
enum Command {
    Call(call::Call),
    Notify(call::Notify),
    Ping(ping::Ping),
    Health(server::Health),
    Stats(server::Stats),
    List(commands::describe::List),
    Describe(commands::describe::Describe),
    Lock(commands::lock::Lock),
    #[command(subcommand)]
    Gen(generate::Gen),
    Pipe(pipe::Pipe),
    #[command(subcommand)]
    Log(log::Log),
    #[command(subcommand)]
    Sms(Box<sms::Sms>),
    Completion(completion::Completion),
    #[command(name = "__complete", hide = true)]
    Complete(completion::Complete),
}

fn main() -> ExitCode {
    let given = std::env::args_os().collect();
    let Fields { arguments, fields } = Fields::split_from(given, &Arguments::command());
    let Arguments {
        target,
        log_level,
        mut command,
    } = Arguments::parse_from(arguments);
    if let Err(failure) = client_log::start(log_level) {
        return failure.report();
    }

    match &mut command {
        Command::Call(call) => call.set_fields(fields),
        Command::Notify(notify) => notify.set_fields(fields),
        _ => {}
    }

    // One thread: there is one connection, and a wake-up across threads costs more than it brings.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Failure::io("cannot start", &error).report(),
    };

    let result = runtime.block_on(run(&target, command));
    // A read of standard input may be waiting on a thread of the runtime, and nothing would end it.
    runtime.shutdown_background();

    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(target: &Target, command: Command) -> Result<(), Failure> {
    match command {
        Command::Call(call) => call.run(target).await,
        Command::Notify(notify) => notify.run(target).await,
        Command::Ping(ping) => ping.run(target).await,
        Command::Health(health) => health.run(target).await,
        Command::Stats(stats) => stats.run(target).await,
        Command::List(list) => list.run(target).await,
        Command::Describe(describe) => describe.run(target).await,
        Command::Lock(lock) => lock.run(target).await,
        Command::Gen(generate) => generate.run(target).await,
        Command::Pipe(pipe) => pipe.run(target).await,
        Command::Log(log) => log.run(target).await,
        Command::Sms(sms) => sms.run(target).await,
        Command::Completion(completion) => completion.run(),
        Command::Complete(complete) => complete.run().await,
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_millis(1) {
        return Err("it must be at least 1ms".into());
    }
    Ok(time)
}

/// A duration with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    // Deadlines are told to the server in milliseconds.
    Ok(Duration::from_millis(milliseconds(time)))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
