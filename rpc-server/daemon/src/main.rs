//! The daemon: `rpc-server --help` says what it takes.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use rpc_daemon::config::{Loaded, LogFormat, Mistakes, Overrides, log_filter};
use rpc_daemon::{Daemon, DaemonConfig, DaemonError, Reloader, notify, reload};
use rpc_server::loggers::{LogQueue, Loggers};
use rpc_server::{LogThrottle, Tokens};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterExt;
#[cfg(not(feature = "otel"))]
use tracing_subscriber::layer::Identity;
use tracing_subscriber::layer::SubscriberExt;
#[cfg(feature = "otel")]
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Serves commands over newline-delimited JSON RPC: one JSON object per line, readable with nc and jq.
///
/// Settings come from the config file, the environment and the flags: an environment variable overrides the file
/// (`RPC_SERVER_LIMITS_FRAME_BYTES_MAX` sets `limits.frame_bytes_max`), and a flag overrides both.
///
/// On SIGTERM or SIGINT the daemon drains: it answers the calls that it has accepted, and exits with 0. A second signal
/// stops it at once. On SIGHUP it reads the settings again: changes of certificates, tokens, grants, limits of commands
/// and connections, loggers, the access log and the log level take effect. The log names changed settings that need a
/// restart.
#[derive(Parser)]
#[command(name = "rpc-server", version)]
struct Arguments {
    /// TOML file with the settings; the variable `RPC_SERVER_CONFIG` can name it, too. --print-config shows every
    /// setting
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on: HOST:PORT, unix:PATH, or `inherited` for sockets that the parent process hands over
    /// (`LISTEN_FDS`; systemd does this). May be given several times [default: 127.0.0.1:8889]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Directory for all data [default: ./rpc-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Format of the log on standard error [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Level of the log: error, warn, info, debug, trace or off. Modules can have a level of their own:
    /// `info,rpc_server=debug`. Without this flag, the level comes from `RPC_SERVER_LOG_LEVEL`, otherwise from
    /// `RUST_LOG`, otherwise from the config file [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Check the settings, and the files and addresses that they name, as a start of the daemon does, but do not start.
    /// Exits with 0 if all are right, otherwise with 2 and a line on standard error for each mistake
    #[arg(long)]
    check_config: bool,
    /// Print the effective settings as a commented config file and exit
    #[arg(long)]
    print_config: bool,
    /// Read a token from standard input, print its hash for `tokens_file`, and exit
    #[arg(long)]
    hash_token: bool,
}

/// Panics that are logged, a second: the others are counted.
const PANICS_LOGGED_PER_SECOND: u32 = 100;

/// As clap exits for a wrong flag.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.hash_token {
        return hash_token();
    }

    let overrides = Overrides {
        listen: arguments.listen,
        data_dir: arguments.data_dir,
        log_format: arguments.log_format,
        log_level: arguments.log_level,
    };

    let file = arguments.config.or_else(config_file_of_environment);
    let load = move || {
        let env = std::env::vars_os().filter_map(|(name, value)| {
            // A variable that is not text is not one of ours.
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });

        DaemonConfig::load(file.as_deref(), env, overrides.clone())
    };

    let Loaded {
        config, warnings, ..
    } = match load() {
        Ok(loaded) => loaded,
        Err(mistakes) => return refuse(&mistakes),
    };

    if arguments.print_config || arguments.check_config {
        for warning in &warnings {
            eprintln!("rpc-server: warning: {warning}");
        }
    }

    if arguments.print_config {
        if let Err(mistakes) = config.check_values() {
            return refuse(&mistakes);
        }
        print!("{}", config.to_commented_toml());
        return ExitCode::SUCCESS;
    }

    if let Err(mistakes) = config.check() {
        return refuse(&mistakes);
    }
    let traces = match Traces::of(&config) {
        Ok(traces) => traces,
        Err(message) => return refuse(&Mistakes::from(vec![message])),
    };

    if arguments.check_config {
        println!("the settings are right");
        return ExitCode::SUCCESS;
    }

    let log = match LogQueue::to_stderr(config.log_lines_bytes_max) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("rpc-server: cannot start the thread of the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let loggers = match Loggers::open(&config.loggers, log.clone()) {
        Ok(loggers) => loggers,
        Err(error) => return refuse(&Mistakes::from(vec![error.to_string()])),
    };
    let set_log_level = start_logging(&config, &traces, &loggers, log.clone());
    for warning in &warnings {
        tracing::warn!("{warning}");
    }

    let load_again = move || {
        let config = load().map_err(|mistakes| in_one_line(&mistakes))?.config;
        let checked = config.check_values();
        checked.map_err(|mistakes| in_one_line(&mistakes))?;
        Ok(config)
    };
    let exit = match run(&config, &loggers, load_again, set_log_level, log.clone()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    };

    traces.send_rest();
    loggers.flush(LOG_FLUSH);
    log.flush(LOG_FLUSH);
    exit
}

/// How long the log may take for the lines that wait when the daemon ends: standard error may not be read any more.
const LOG_FLUSH: Duration = Duration::from_secs(1);

/// Says what is wrong with the settings, on standard error as the log is not started yet.
fn refuse(mistakes: &Mistakes) -> ExitCode {
    for mistake in mistakes.lines() {
        eprintln!("rpc-server: {mistake}");
    }

    ExitCode::from(EXIT_USAGE)
}

/// As the log shows mistakes.
fn in_one_line(mistakes: &Mistakes) -> String {
    mistakes.lines().join("; ")
}

/// The file that `RPC_SERVER_CONFIG` names. Empty, as compose files leave a variable, it names none.
fn config_file_of_environment() -> Option<PathBuf> {
    let name = std::env::var_os("RPC_SERVER_CONFIG")?;
    (!name.is_empty()).then(|| name.into())
}

/// Prints the hash of the token on standard input: a token on the command line would be in the list of processes.
fn hash_token() -> ExitCode {
    let mut token = String::new();
    if let Err(error) = std::io::stdin().read_line(&mut token) {
        eprintln!("rpc-server: cannot read standard input: {error}");
        return ExitCode::FAILURE;
    }

    let Some(hash) = Tokens::hash(token.trim()) else {
        eprintln!(
            "rpc-server: a token must have at least 22 random characters, as `openssl rand -base64 32` prints them"
        );
        return ExitCode::from(EXIT_USAGE);
    };

    println!("{hash}");
    ExitCode::SUCCESS
}

/// Where the spans of calls are sent, if anywhere.
struct Traces {
    #[cfg(feature = "otel")]
    exporter: Option<rpc_server::telemetry::Exporter>,
}

#[cfg(feature = "otel")]
impl Traces {
    fn of(config: &DaemonConfig) -> Result<Self, String> {
        let exporter = config
            .traces
            .is_on()
            .then(|| rpc_server::telemetry::Exporter::new(&config.traces));
        let exporter = exporter.transpose().map_err(|error| error.to_string())?;

        Ok(Self { exporter })
    }

    fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: tracing::Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        self.exporter
            .as_ref()
            .map(rpc_server::telemetry::Exporter::layer)
    }

    fn send_rest(self) {
        if let Some(exporter) = self.exporter {
            exporter.shutdown();
        }
    }
}

/// Without the feature: settings that have traces sent are refused.
#[cfg(not(feature = "otel"))]
#[expect(clippy::unused_self, reason = "as where they can be sent")]
impl Traces {
    fn of(config: &DaemonConfig) -> Result<Self, String> {
        // The library refuses them, too, unless another crate of the same build brings its feature.
        if config.traces.is_on() {
            return Err(
                "`traces.endpoint` is set, and this program was built without the feature `otel`"
                    .into(),
            );
        }
        Ok(Self {})
    }

    fn layer(&self) -> Option<Identity> {
        None
    }

    fn send_rest(self) {}
}

/// Changes what is logged while the daemon runs.
type SetLogLevel = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

fn start_logging(
    config: &DaemonConfig,
    traces: &Traces,
    loggers: &Loggers,
    queue: LogQueue,
) -> SetLogLevel {
    let filter = log_filter(&config.log_level).expect("checked with the other settings");
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter);

    let log = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(queue);
    let log = match config.log_format {
        LogFormat::Text => log.with_target(false).boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };

    // The level is the log's own: traces have all spans of calls, whatever is logged.
    tracing_subscriber::registry()
        .with(loggers.layer())
        .with(traces.layer())
        .with(log.with_filter(filter.and(loggers.others())))
        .init();

    // Handlers panic as often as peers can make them. Debug formatting keeps the message and its place on one line.
    let panics = LogThrottle::new("panics", tracing::Level::ERROR, PANICS_LOGGED_PER_SECOND);
    std::panic::set_hook(Box::new(move |panic| {
        panics.write(|| tracing::error!("{:?}", panic.to_string()));
    }));

    Box::new(move |level| {
        let filter = log_filter(level).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    })
}

fn run(
    config: &DaemonConfig,
    loggers: &Loggers,
    load: impl Fn() -> Result<DaemonConfig, String> + Send + Sync + 'static,
    set_log_level: SetLogLevel,
    log: LogQueue,
) -> Result<(), DaemonError> {
    let runtime = Runtime::new()?;
    let served = runtime.block_on(serve(config, loggers, load, set_log_level, log));

    // The drain has waited for blocking work for as long as it may: a disk that hangs does not hold up the end.
    runtime.shutdown_background();
    served
}

async fn serve(
    config: &DaemonConfig,
    loggers: &Loggers,
    load: impl Fn() -> Result<DaemonConfig, String> + Send + Sync + 'static,
    set_log_level: SetLogLevel,
    log: LogQueue,
) -> Result<(), DaemonError> {
    // Before anything is served, so that no signal is missed.
    let signals = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let hangup = signal(SignalKind::hangup())?;
    // Without a handler, the first write past the limit on the size of files ends the process without a word.
    tokio::spawn(warn_at(signal(SIGXFSZ)?));

    let daemon = Daemon::bind_with(config, loggers).await?;
    tracing::info!(data_dir = %config.data_dir.display(), "started");
    let mut status = "listening on".to_owned();
    for address in daemon.addresses() {
        status = format!("{status} {address}");
    }

    tokio::spawn(notify::keep_watchdog(daemon.handle()));
    tokio::spawn(reload_at(
        hangup,
        daemon.reloader(),
        load,
        set_log_level,
        status.clone(),
    ));
    notify::ready(&status);

    let drained = daemon.run(stopped(signals, log)).await?;
    tracing::info!(
        connections = drained.connections,
        dropped = drained.dropped,
        "stopped"
    );

    Ok(())
}

/// Sent for a write past the limit on the size of files (`ulimit -f`, `LimitFSIZE`); 25 on all systems but Linux on
/// MIPS.
const SIGXFSZ: SignalKind = SignalKind::from_raw(25);

/// Says what the signal means, once: what failed is reported where it fails.
async fn warn_at(mut file_size: Signal) {
    if file_size.recv().await.is_some() {
        tracing::warn!(
            "SIGXFSZ: a file has reached the limit on the size of files; raise `ulimit -f` or LimitFSIZE"
        );
    }

    // The handler stays for as long as the process; it has been logged before.
    while file_size.recv().await.is_some() {}
}

/// Reads the settings again at each SIGHUP.
async fn reload_at(
    mut hangup: Signal,
    mut reloader: Reloader,
    load: impl Fn() -> Result<DaemonConfig, String> + Send + Sync + 'static,
    set_log_level: SetLogLevel,
    status: String,
) {
    let sources = Arc::new((load, set_log_level));

    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP: reading the settings again");
        notify::reloading();

        let (mut at_work, sources) = (reloader, Arc::clone(&sources));
        let reload = move || {
            let (load, set_log_level) = &*sources;
            match load() {
                Ok(next) => at_work.reload(next, set_log_level).report(),
                Err(message) => reload::report_unreadable(&message),
            }
            at_work
        };

        let Some(done) = in_a_thread_of_its_own(reload).await else {
            tracing::error!(
                "the thread that reads the settings panicked or could not start; further SIGHUPs are ignored until the \
                 daemon is restarted"
            );
            return notify::ready(&status);
        };

        reloader = done;
        notify::ready(&status);
    }
}

/// Does blocking work of the operator's, which must not wait for threads that are busy with calls. None where it
/// panics, or the system has no thread for it.
async fn in_a_thread_of_its_own<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (tell, told) = oneshot::channel();
    let run = move || {
        // The receiver ends only with the process.
        let _ = tell.send(work());
    };

    let thread = thread::Builder::new().name("reload".into()).spawn(run);
    if let Err(error) = thread {
        tracing::error!(%error, "cannot start a thread");
        return None;
    }

    told.await.ok()
}

/// How long a daemon that is stopped at once waits for its log to say so.
const LAST_LINE: Duration = Duration::from_millis(100);

/// Ready at the first signal; the second one ends the process.
async fn stopped((mut terminate, mut interrupt): (Signal, Signal), log: LogQueue) {
    async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }

    let name = either(&mut terminate, &mut interrupt).await;
    tracing::info!("{name}: draining; a second signal stops the daemon at once");
    notify::stopping();

    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!("{name} again: stopped at once");
        log.flush(LAST_LINE);
        std::process::exit(1);
    });
}
