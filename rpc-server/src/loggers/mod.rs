//! Loggers of their own for commands (feature `loggers`): what the handlers of some commands log goes to a file that is
//! rotated, or to the console in another format.
//!
//! A daemon has them in its settings, `[[loggers]]`. A program of its own opens them, has them put around its router,
//! and adds their layer to its log:
//!
//! ```
//! use rpc_server::config::{LineFormat, LoggerConfig};
//! use rpc_server::loggers::{LogQueue, Loggers};
//! use rpc_server::{Params, Router, Status};
//! use tracing_subscriber::Layer as _;
//! use tracing_subscriber::layer::SubscriberExt as _;
//!
//! async fn place(Params(order): Params<u64>) -> Result<(), Status> {
//!     tracing::info!(order, "placed");
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let orders = LoggerConfig {
//!     name: "orders".into(),
//!     commands: vec!["2000-2099".into()],
//!     level: "debug".into(),
//!     file: dir.path().join("orders.log"),
//!     file_format: LineFormat::Json,
//!     ..LoggerConfig::default()
//! };
//!
//! let console = LogQueue::to_stderr(1 << 20)?;
//! let loggers = Loggers::open(&[orders], console.clone())?;
//! let own = tracing_subscriber::fmt::layer().with_writer(console);
//! let log = tracing_subscriber::registry()
//!     .with(loggers.layer())
//!     .with(own.with_filter(loggers.others()));
//!
//! let router = loggers.around(Router::new().route(2001, place)?);
//! # let (_, _) = (log, router);
//! # Ok(())
//! # }
//! ```
//!
//! A line belongs to a command if it is logged while its handler runs, in the handler's own task or in its thread; a
//! task that the handler spawns needs `tracing::Instrument::in_current_span`. The lines of the access log belong to the
//! command that they name. Nothing of this costs commands anything that have no logger.

mod around;
mod dropped;
mod error;
mod file;
mod layer;
mod logger;
mod output;
mod pending;
mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{self, Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rpc_core::{BoxService, CmdId, layer_fn};

pub use error::LoggerError;
pub use queue::LogQueue;

use crate::access::CommandSet;
use crate::config::LoggerConfig;
use crate::dispatch::router::Router;
use crate::sync::{Mutex, MutexGuard, RwLock};
use around::Around;
use dropped::DroppedByLogger;
use logger::{Logger, commands_of, is_same_file};

/// The target of the span around a command that has a logger. It has the fields `logger`, `cmdid`, `id` and `peer`.
pub const SPAN_TARGET: &str = "rpc_server::logger";

/// The loggers of a server. Clones are the same loggers.
#[derive(Clone)]
pub struct Loggers(Arc<Shared>);

struct Shared {
    console: LogQueue,
    /// Locked to copy the list, never while a line is written.
    current: RwLock<Arc<[Arc<Logger>]>>,
    replaced: Mutex<Vec<Replaced>>,
    dropped: DroppedByLogger,
    /// The commands of the routers, and whether their lines can be told.
    commands: Mutex<BTreeMap<u32, bool>>,
}

/// The queue of a logger that was replaced, and that may have lines to write.
struct Replaced {
    file: PathBuf,
    queue: LogQueue,
}

impl Loggers {
    /// Opens the files of these loggers. `console` is where the server's own log goes.
    ///
    /// It blocks for as long as that takes.
    ///
    /// # Errors
    /// Settings that cannot work, by themselves or together, and files that cannot be opened.
    pub fn open(configs: &[LoggerConfig], console: LogQueue) -> Result<Self, LoggerError> {
        check(configs)?;
        let dropped = DroppedByLogger::default();
        let opened: Result<Vec<_>, _> = configs
            .iter()
            .map(|config| Logger::open(config, &console, Vec::new(), dropped.of(&config.name)))
            .map(|logger| logger.map(Arc::new))
            .collect();

        Ok(Self(Arc::new(Shared {
            console,
            current: RwLock::new(opened?.into()),
            replaced: Mutex::default(),
            dropped,
            commands: Mutex::default(),
        })))
    }

    /// The same router, with what tells the lines of its commands: of those that a logger names. Call it when all
    /// commands are added.
    #[must_use]
    pub fn around<S: Clone + Send + Sync + 'static>(&self, router: Router<S>) -> Router<S> {
        let all: Vec<CmdId> = router
            .descriptors()
            .iter()
            .map(|descriptor| descriptor.cmdid)
            .collect();
        let named: Vec<CmdId> = all
            .iter()
            .copied()
            .filter(|cmdid| self.of(cmdid.number()).is_some())
            .collect();
        let told = all
            .into_iter()
            .map(|cmdid| (cmdid.number(), named.contains(&cmdid)));
        // Each insertion leaves it whole, here and in `set`.
        self.0
            .commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(told);

        let layer = || {
            let loggers = self.clone();
            layer_fn(move |inner: BoxService| Around {
                inner,
                loggers: loggers.clone(),
            })
        };
        named.into_iter().fold(router, |router, cmdid| {
            router
                .layer_on(cmdid, layer())
                .expect("it is one of the router's")
        })
    }

    /// Puts other loggers into effect, while the server serves. Those that are named as before and have not changed go
    /// on; the files of the others are closed when their lines are written. If one cannot be opened, all stay as they
    /// were.
    ///
    /// Returns the commands that a logger names now, and that none named when [`around`](Self::around) was called: their
    /// lines are told apart when the program starts again.
    ///
    /// It blocks for as long as it takes to open files.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn set(&self, configs: &[LoggerConfig]) -> Result<Vec<u32>, LoggerError> {
        check(configs)?;
        let before = self.current();
        let mut next = Vec::new();
        for config in configs {
            let same = before.iter().find(|logger| logger.config == *config);
            next.push(if let Some(logger) = same {
                Arc::clone(logger)
            } else {
                let earlier = self.queues_of_file(&before, &config.file);
                let dropped = self.0.dropped.of(&config.name);
                Arc::new(Logger::open(config, &self.0.console, earlier, dropped)?)
            });
        }
        self.note_replaced(&before, &next);

        // Poisoned or not, the list is whole.
        *self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner) = next.into();
        tracing::callsite::rebuild_interest_cache();

        let commands = self
            .0
            .commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let not_told = commands
            .iter()
            .filter(|(_, is_told)| !**is_told)
            .map(|(cmdid, _)| *cmdid);
        Ok(not_told.filter(|cmdid| self.of(*cmdid).is_some()).collect())
    }

    /// The queues that write to a file.
    fn queues_of_file(&self, current: &[Arc<Logger>], file: &Path) -> Vec<LogQueue> {
        let current = current
            .iter()
            .filter(|logger| is_same_file(&logger.config.file, file))
            .filter_map(|logger| logger.queue.clone());

        let replaced = self.replaced();
        let replaced = replaced
            .iter()
            .filter(|replaced| is_same_file(&replaced.file, file) && !replaced.queue.is_over());
        let replaced = replaced.map(|replaced| replaced.queue.clone());
        replaced.chain(current).collect()
    }

    fn note_replaced(&self, before: &[Arc<Logger>], next: &[Arc<Logger>]) {
        let goes_on = |logger: &Arc<Logger>| next.iter().any(|next| Arc::ptr_eq(next, logger));
        let gone = before.iter().filter(|logger| !goes_on(logger));
        let gone = gone.filter_map(|logger| {
            Some(Replaced {
                file: logger.config.file.clone(),
                queue: logger.queue.clone()?,
            })
        });

        let mut replaced = self.replaced();
        replaced.retain(|replaced| !replaced.queue.is_over());
        replaced.extend(gone);
    }

    fn replaced(&self) -> MutexGuard<'_, Vec<Replaced>> {
        // It is whole after each step.
        self.0
            .replaced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines that were dropped or lost since the start, of all loggers of this name that have followed one another; `None`
    /// if there is no such logger now, or it has no file.
    pub fn dropped(&self, name: &str) -> Option<u64> {
        let current = self.current();
        let logger = current.iter().find(|logger| logger.name() == name)?;
        logger.queue.as_ref().map(LogQueue::dropped)
    }

    /// Returns once the lines of all files are written, of loggers that were replaced, too, or that has taken as long as
    /// `patience`.
    pub fn flush(&self, patience: Duration) {
        let begun = Instant::now();
        let mut queues: Vec<LogQueue> = self
            .replaced()
            .iter()
            .map(|replaced| replaced.queue.clone())
            .collect();
        let current = self.current();
        queues.extend(current.iter().filter_map(|logger| logger.queue.clone()));

        for queue in queues {
            queue.flush(patience.saturating_sub(begun.elapsed()));
        }
    }

    fn current(&self) -> Arc<[Arc<Logger>]> {
        let current = self.0.current.read();
        // As in `set`.
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// The logger of a command.
    fn of(&self, cmdid: u32) -> Option<Arc<Logger>> {
        let current = self.current();
        current
            .iter()
            .find(|logger| logger.commands.has(cmdid))
            .cloned()
    }
}

/// Checks loggers by themselves and beside each other; no file is looked at.
///
/// # Errors
/// The first mistake.
pub fn check(configs: &[LoggerConfig]) -> Result<(), LoggerError> {
    let (mut names, mut files) = (BTreeSet::new(), BTreeSet::new());
    let mut taken: Vec<(&str, CommandSet)> = Vec::new();

    for config in configs {
        config.check().map_err(LoggerError::Config)?;
        if !names.insert(&config.name) {
            return Err(LoggerError::NameTwice(config.name.clone()));
        }
        // A path that is not absolute is the same file as one that is.
        let file = path::absolute(&config.file).ok();
        if file.is_some_and(|file| !files.insert(file)) {
            return Err(LoggerError::FileTwice(config.file.clone()));
        }

        let commands = commands_of(config)?;
        let first = taken
            .iter()
            .find_map(|(name, other)| Some((*name, commands.common_with(other)?)));
        if let Some((name, cmdid)) = first {
            return Err(LoggerError::CommandTwice {
                cmdid,
                first: name.to_owned(),
                second: config.name.clone(),
            });
        }
        taken.push((&config.name, commands));
    }

    Ok(())
}

#[cfg(test)]
mod tests;
