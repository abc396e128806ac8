//! Loggers that cannot work.

use std::fmt;
use std::path::PathBuf;

use crate::access::GrantError;
use crate::config::ConfigError;

/// Loggers that cannot work. Its `Display` is one line for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoggerError {
    /// A setting cannot work.
    Config(ConfigError),
    /// What a logger names is no command.
    Commands {
        /// The logger.
        logger: String,
        /// What it names.
        error: GrantError,
    },
    /// Two loggers have this name.
    NameTwice(String),
    /// Two loggers write to this file.
    FileTwice(PathBuf),
    /// A command has two loggers.
    CommandTwice {
        /// The command.
        cmdid: u32,
        /// One of them.
        first: String,
        /// The other one.
        second: String,
    },
    /// The file of a logger cannot be opened.
    File {
        /// The logger.
        logger: String,
        /// Its file.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl fmt::Display for LoggerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Commands { logger, error } => {
                write!(f, "[[loggers]] \"{logger}\": `commands`: {error}")
            }
            Self::NameTwice(name) => {
                write!(f, "[[loggers]]: two have the `name` \"{name}\"; rename one")
            }
            Self::FileTwice(file) => {
                let file = file.display();
                write!(
                    f,
                    "[[loggers]]: two have the `file` \"{file}\"; give each its own"
                )
            }
            Self::CommandTwice {
                cmdid,
                first,
                second,
            } => write!(
                f,
                "[[loggers]]: command {cmdid} is in `commands` of \"{first}\" and of \"{second}\"; take it out of one"
            ),
            Self::File {
                logger,
                file,
                reason,
            } => write!(
                f,
                "[[loggers]] \"{logger}\": `file` = \"{}\" cannot be opened: {reason}; name a file that the server's user \
                 may write to",
                file.display()
            ),
        }
    }
}

impl std::error::Error for LoggerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Commands { error, .. } => Some(error),
            _ => None,
        }
    }
}
