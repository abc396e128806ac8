//! The daemon: its config, its services and their store, as a library, so that a program may carry
//! a whole daemon in its own process. The binary around it is `src/main.rs`.

mod command_limits;
pub mod config;
mod error;
pub mod listeners;
#[cfg(feature = "program")]
pub mod notify;
mod pages;
#[cfg(feature = "program")]
pub mod reload;
mod services;
mod store;
#[cfg(feature = "syslog")]
mod syslog;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use listenfd::ListenFd;

use rpc_server::blocking::{BlockingPool, Caller};
#[cfg(feature = "program")]
use rpc_server::loggers::Loggers;
use rpc_server::{
    BoundAddress, Drained, InheritedListener, Router, Server, ServerBuilder, ServerHandle,
};

pub use command_limits::{CommandLimits, CommandSettings};
pub use config::DaemonConfig;
use config::ServiceName;
pub use error::DaemonError;
#[cfg(feature = "program")]
pub use reload::{Reloaded, Reloader};
#[cfg(feature = "sms")]
use rpc_sms::service::{SmsCommands, SmsHandlers};
use store::LogEngine;

/// A daemon that is bound to its addresses, with its store open.
///
/// ```
/// use rpc_daemon::{Daemon, DaemonConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let data = tempfile::tempdir()?;
/// let config = DaemonConfig {
///     listen: vec!["127.0.0.1:0".into()],
///     data_dir: data.path().to_owned(),
///     ..DaemonConfig::default()
/// };
/// let daemon = Daemon::bind(&config).await?;
/// println!("listening on {}", daemon.addresses()[0]);
/// daemon.run(async {}).await?;
/// # Ok(())
/// # }
/// ```
pub struct Daemon {
    server: Server,
    /// What a reload compares with.
    #[cfg(feature = "program")]
    config: DaemonConfig,
    log: Option<Arc<dyn LogEngine>>,
    #[cfg(feature = "syslog")]
    syslog: Option<syslog::Syslog>,
    #[cfg(feature = "sms")]
    sms: Option<services::sms::Opened>,
    command_limits: CommandLimits,
    /// What a reload sets.
    #[cfg(feature = "program")]
    loggers: Option<Loggers>,
}

impl Daemon {
    /// Opens the store and binds every address. Where the config has traces sent, calls have spans of `tracing`;
    /// the program's own `rpc_server::telemetry::Exporter` sends them.
    ///
    /// # Errors
    /// A store that cannot be opened (another daemon has it, for example), an address that cannot
    /// be bound, limits that cannot work, traces in a program without the feature `otel`, a `certificate_file` or
    /// `tokens_file` in one without `program`, `loggers` without [`bind_with`](Self::bind_with).
    pub async fn bind(config: &DaemonConfig) -> Result<Self, DaemonError> {
        if !config.loggers.is_empty() {
            let message = "`loggers` is set, and this program opens none; open them with `Loggers::open`, add their \
                layer to the program's log, and give them to `Daemon::bind_with`";
            return Err(DaemonError::setting("loggers", message));
        }

        Self::bind_around(config, |router| router).await
    }

    /// As [`bind`](Self::bind), with loggers for the commands that they name. Their layer belongs into the program's log.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    #[cfg(feature = "program")]
    pub async fn bind_with(config: &DaemonConfig, loggers: &Loggers) -> Result<Self, DaemonError> {
        let around = |router| loggers.around(router);
        let bound = Self::bind_around(config, around).await?;

        Ok(Self {
            loggers: Some(loggers.clone()),
            ..bound
        })
    }

    async fn bind_around(
        config: &DaemonConfig,
        around: impl FnOnce(Router) -> Router,
    ) -> Result<Self, DaemonError> {
        config.traces.check().map_err(DaemonError::Traces)?;

        let blocking = BlockingPool::with(&config.blocking);
        let mut router = Router::new();
        let mut log = None;
        #[cfg(feature = "sms")]
        let mut sms = None;
        for service in &config.services {
            let merged = match service {
                ServiceName::Test => router.merge(services::test::router()?),
                ServiceName::Conformance => router.merge(services::conformance::router()?),
                #[cfg(feature = "sms")]
                ServiceName::Sms => {
                    let opened =
                        services::sms::open(&config.data_dir, &config.sms, &blocking).await?;
                    let handlers = SmsHandlers::new(sms.insert(opened).outbox.clone());
                    router.serve(SmsCommands(handlers))
                }
                ServiceName::Log => {
                    let store = log.insert(open_log(config, &blocking).await?);
                    router.merge(services::log::router(Arc::clone(store))?)
                }
            };

            router = merged?;
        }

        #[cfg(feature = "syslog")]
        let syslog = match &log {
            Some(store) => syslog::Syslog::bind(&config.syslog, store).await?,
            None => None,
        };

        let (router, command_limits) = CommandLimits::apply(router, &config.commands)?;
        let mut router = around(router);
        if config.traces.is_on() {
            // Outside of the limits: a call that they refuse has a span, too.
            router = router.traced();
        }

        let mut builder = Server::builder()
            .config(config.server())
            .workers(config.workers)
            .blocking(blocking)
            .router(router);
        builder = builder
            .admin(config.admin.clone())
            .name("rpc-server", env!("CARGO_PKG_VERSION"));
        for page in pages::of(&config.services) {
            builder = builder.admin_page(page);
        }
        #[cfg(feature = "sms")]
        if let Some(opened) = &sms {
            let outbox = opened.outbox.clone();
            builder = builder.admin_metrics(move || outbox.metrics());
        }

        for listener in listeners::listeners(config)? {
            let options = listener.options;
            builder = if listener.is_inherited {
                let with = |builder: ServerBuilder, listener| {
                    builder.listener_with(listener, options.clone())
                };
                inherited()?.into_iter().fold(builder, with)
            } else {
                builder.listen_with(options)
            };
        }

        if let Some(grants) = listeners::grants(&config.grants)? {
            builder = builder.grants(grants);
        }
        builder = listeners::with_tokens(builder, config)?;

        Ok(Self {
            server: builder.bind().await?,
            #[cfg(feature = "program")]
            config: config.clone(),
            log,
            #[cfg(feature = "syslog")]
            syslog,
            #[cfg(feature = "sms")]
            sms,
            command_limits,
            #[cfg(feature = "program")]
            loggers: None,
        })
    }

    /// What puts changed settings into effect while the daemon serves.
    #[cfg(feature = "program")]
    pub fn reloader(&self) -> Reloader {
        Reloader::new(
            self.server.handle(),
            self.config.clone(),
            self.command_limits.clone(),
            self.loggers.clone(),
        )
    }

    /// The addresses that it is bound to, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.server.addresses()
    }

    /// The addresses that it listens on for syslog, as in the settings, with the ports that the system chose.
    #[cfg(feature = "syslog")]
    pub fn syslog_addresses(&self) -> Vec<String> {
        let syslog = self.syslog.as_ref();
        syslog.map_or_else(Vec::new, syslog::Syslog::addresses)
    }

    /// The limits of single commands, to be set while it runs.
    pub fn command_limits(&self) -> CommandLimits {
        self.command_limits.clone()
    }

    /// A handle to the server's counters.
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Serves until `shutdown` is ready, drains, and closes the store.
    ///
    /// # Errors
    /// As [`Server::serve`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, DaemonError> {
        let log = self.log.clone();
        let shutdown = async move {
            shutdown.await;
            log.inspect(|log| log.end_waits());
        };

        let health = self
            .log
            .as_ref()
            .map(|log| services::log::watch_health(log.health(), self.server.handle()));
        let watching = health.map(tokio::spawn);

        #[cfg(feature = "syslog")]
        let syslog = self.syslog.map(syslog::Syslog::start);
        #[cfg(feature = "sms")]
        let sms = self.sms.map(|mut sms| {
            sms.start();
            sms.outbox
        });

        let served = self.server.serve(shutdown).await;

        #[cfg(feature = "syslog")]
        if let Some(syslog) = syslog {
            syslog.stop().await;
        }

        // Attempts under way end, so that what became of them is known.
        #[cfg(feature = "sms")]
        if let Some(outbox) = sms {
            outbox.stop().await;
        }
        let drained = served?;

        // The end of the store is no news from here on.
        watching.inspect(tokio::task::JoinHandle::abort);
        if let Some(log) = self.log {
            log.close().await;
            let damaged = log.stats().damaged;
            if damaged > 0 {
                tracing::warn!(
                    damaged,
                    "lines of the log store were damaged; each was reported when it was found"
                );
            }
        }

        Ok(drained)
    }
}

/// Opens the store of the log. It reads the newest file, which takes a while where that is long.
async fn open_log(
    config: &DaemonConfig,
    blocking: &BlockingPool,
) -> Result<Arc<dyn LogEngine>, DaemonError> {
    let dir = store_dir(&config.data_dir);
    let settings = config.log.store_in(&config.timeouts);
    let pool = blocking.clone();
    let opening = blocking.run(Caller::default(), move |_| {
        store::open(&dir, settings, &pool)
    });

    let store = opening
        .await
        .map_err(|error| DaemonError::store(error.into()))?;
    store.map_err(DaemonError::store)
}

/// The directory of the log service's store.
fn store_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}

/// The sockets that a parent has handed over in the way of systemd. They are there once.
fn inherited() -> Result<Vec<InheritedListener>, DaemonError> {
    let mut handed_over = ListenFd::from_env();
    let mut listeners = Vec::new();

    for number in 0..handed_over.len() {
        // Which of the two it is, only trying tells; what is neither has the second try's error.
        let listener = match handed_over.take_tcp_listener(number) {
            Ok(listener) => listener.map(InheritedListener::from),
            Err(_) => handed_over
                .take_unix_listener(number)?
                .map(InheritedListener::from),
        };

        listeners.extend(listener);
    }

    if listeners.is_empty() {
        let message = "`listen`: \"inherited\" needs a socket from the parent process, but `LISTEN_FDS` names none \
            for this process; with systemd, add a socket unit";
        return Err(DaemonError::setting("listen", message));
    }

    Ok(listeners)
}

/// The log service alone, over a store in `dir`: for a router of your own, or to be called without a
/// socket. The store closes when the router and the calls that it runs are gone.
///
/// It blocks, for as long as it takes to read the newest file of the store.
///
/// ```
/// use rpc_core::api::log::APPEND;
/// use rpc_core::{RawJson, Request, Service};
/// use rpc_daemon::config::LogSettings;
/// use rpc_daemon::log_router;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// let log = log_router(dir.path(), &LogSettings::default())?;
/// let entry = RawJson::parse(r#"{"level":"info","service":"order","message":"user 4211 logged in"}"#)?;
/// let reply = log.call(Request::new(APPEND, entry)).await?;
/// assert_eq!(reply.data().unwrap().as_str(), r#"{"seq":1}"#);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// A store that cannot be opened.
pub fn log_router(dir: &Path, settings: &config::LogSettings) -> Result<Router, DaemonError> {
    let pool = BlockingPool::default();
    let store = store::open(dir, settings.store(), &pool).map_err(DaemonError::store)?;
    Ok(Router::new().merge(services::log::router(store)?)?)
}
