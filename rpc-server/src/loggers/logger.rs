//! One logger: its commands, its level, and where it writes.

use std::path::Path;

use tracing_subscriber::filter::LevelFilter;

use super::dropped::DroppedLines;
use super::output::{self, Output};
use super::{LogQueue, LoggerError};
use crate::access::CommandSet;
use crate::config::{ConsoleFormat, LineFormat, LoggerConfig};

/// A logger at work. Its file is closed with it.
pub(super) struct Logger {
    pub(super) config: LoggerConfig,
    pub(super) commands: CommandSet,
    pub(super) level: LevelFilter,
    /// The queue of its file, if it has one.
    pub(super) queue: Option<LogQueue>,
    pub(super) outputs: Vec<Output>,
}

impl Logger {
    /// Opens its file, or has that done once `earlier` have ended, the queues that write to the same file. Lines that its
    /// file does not take are added to `dropped`.
    pub(super) fn open(
        config: &LoggerConfig,
        console: &LogQueue,
        earlier: Vec<LogQueue>,
        dropped: DroppedLines,
    ) -> Result<Self, LoggerError> {
        let mut outputs = Vec::new();
        let queue = match config.file.as_os_str().is_empty() {
            true => None,
            false => Some(output::file(config, earlier, dropped)?),
        };
        outputs.extend(
            queue
                .clone()
                .map(|queue| output::lines(config.file_format, queue)),
        );

        let format = match config.console {
            ConsoleFormat::Own => None,
            ConsoleFormat::Text => Some(LineFormat::Text),
            ConsoleFormat::Json => Some(LineFormat::Json),
        };
        outputs.extend(format.map(|format| output::lines(format, console.clone())));

        Ok(Self {
            config: config.clone(),
            commands: commands_of(config)?,
            level: config.level.parse().expect("checked before"),
            queue,
            outputs,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    pub(super) fn is_on_console(&self) -> bool {
        self.config.console != ConsoleFormat::Own
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.queue.iter().for_each(LogQueue::close);
    }
}

/// The commands whose lines a logger takes.
pub(super) fn commands_of(config: &LoggerConfig) -> Result<CommandSet, LoggerError> {
    CommandSet::of(&config.commands).map_err(|error| LoggerError::Commands {
        logger: config.name.clone(),
        error,
    })
}

/// Whether two paths are those of one file.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let [one, other] = [one, other].map(std::path::absolute);
    one.is_ok_and(|one| other.is_ok_and(|other| one == other))
}
