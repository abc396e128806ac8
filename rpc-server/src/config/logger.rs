//! Loggers of their own for commands.

use std::path::PathBuf;

use rpc_core::config::{ConfigError, LOG_LEVELS};
use serde::{Deserialize, Serialize};

/// Smallest queue of a logger: a line with what a peer has sent fits into it.
const LINES_BYTES_MIN: usize = 16 * 1024;

/// A logger of its own for some commands: what their handlers log, and the access log's lines about their calls,
/// also go to its file, to the console in its format, or to both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct LoggerConfig {
    /// Name of the logger, which is a field of its lines. Each logger needs a different name.
    pub name: String,
    /// Commands whose log lines go to this logger: cmdids ("1001"), ranges with both ends ("1001-1007"), or "*" for
    /// all. A command has at most one logger.
    pub commands: Vec<String>,
    /// Level of this logger: "error", "warn", "info", "debug", "trace" or "off". The level of the server's own log does
    /// not change it.
    pub level: String,
    /// File to which the lines are appended. Its directory is created if it is missing. Empty: no file.
    pub file: PathBuf,
    /// Format of the file: "text" or "json".
    pub file_format: LineFormat,
    /// Maximum size of the file in bytes. A full file is renamed to FILE.1, and older ones to FILE.2 and so on.
    /// At least `lines_bytes_max`.
    pub file_bytes_max: u64,
    /// Maximum number of older files that are kept besides the current one. If there are more, the oldest is deleted.
    pub files_max: u64,
    /// How these lines appear on the console (standard error). "text" or "json": the logger writes them in this format,
    /// and the server's own log leaves them out. "own": the server's own log writes them.
    pub console: ConsoleFormat,
    /// Maximum number of bytes of lines that wait for the file. Further lines are dropped, and the server's own log
    /// says how many. A slow disk does not delay calls.
    pub lines_bytes_max: usize,
}

/// The format of a logger's file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LineFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The format of a logger's lines on the console.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ConsoleFormat {
    /// As the server's own log writes them, at its level.
    #[default]
    Own,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LoggerConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            commands: Vec::new(),
            level: "info".into(),
            file: PathBuf::new(),
            file_format: LineFormat::Text,
            file_bytes_max: 64 << 20,
            files_max: 5,
            console: ConsoleFormat::Own,
            lines_bytes_max: 1 << 20,
        }
    }
}

impl LoggerConfig {
    /// Checks the logger by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let name = &self.name;
        let wrong = |setting: &'static str, message: String| {
            let message = format!("[[loggers]] \"{name}\": {message}");
            Err(ConfigError::new(setting, message))
        };

        let is_plain =
            |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        if name.is_empty() || !name.chars().all(is_plain) {
            return wrong(
                "loggers.name",
                "`name` must be letters, digits, `.`, `_` or `-`, for example \"orders\"".into(),
            );
        }

        if self.commands.is_empty() {
            return wrong(
                "loggers.commands",
                "`commands` is empty; name the commands whose lines it takes, for example [\"1001-1007\"]"
                    .into(),
            );
        }

        let level = &self.level;
        if !LOG_LEVELS.contains(&level.as_str()) {
            let levels = LOG_LEVELS.join(", ");
            return wrong(
                "loggers.level",
                format!("`level` = \"{level}\" must be one of {levels}"),
            );
        }

        if self.file.as_os_str().is_empty() && self.console == ConsoleFormat::Own {
            return wrong(
                "loggers.file",
                "it writes nowhere; set `file`, or `console` to \"text\" or \"json\"".into(),
            );
        }

        let bytes = self.lines_bytes_max;
        if bytes < LINES_BYTES_MIN {
            return wrong(
                "loggers.lines_bytes_max",
                format!(
                    "`lines_bytes_max` is {bytes} and must be at least {LINES_BYTES_MIN}, or long lines are never written"
                ),
            );
        }

        let file = self.file_bytes_max;
        if file < bytes as u64 {
            return wrong(
                "loggers.file_bytes_max",
                format!(
                    "`file_bytes_max` is {file} and must be at least `lines_bytes_max` ({bytes}), as that many bytes are \
                     written at once"
                ),
            );
        }

        if self.files_max == 0 {
            return wrong(
                "loggers.files_max",
                "`files_max` is 0 and must be at least 1, or a full file is lost".into(),
            );
        }

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut LoggerConfig), parts: &[&str]) {
        let mut logger = LoggerConfig {
            name: "orders".into(),
            commands: vec!["1001".into()],
            file: "orders.log".into(),
            ..LoggerConfig::default()
        };
        assert_eq!(logger.check(), Ok(()));

        change(&mut logger);
        let message = logger.check().unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_logger_that_cannot_work_is_refused_with_what_would_be_right() {
        check(|logger| logger.name = "a b".into(), &["\"a b\"", "letters"]);
        check(
            |logger| logger.commands.clear(),
            &["\"orders\"", "`commands` is empty"],
        );
        check(
            |logger| logger.level = "inof".into(),
            &["`level` = \"inof\"", "off, error, warn, info"],
        );
        check(
            |logger| logger.file = PathBuf::new(),
            &["writes nowhere", "`console`"],
        );
        check(
            |logger| logger.lines_bytes_max = 9,
            &["is 9", "at least 16384"],
        );
        check(
            |logger| logger.file_bytes_max = 20_000,
            &["is 20000", "(1048576)"],
        );
        check(|logger| logger.files_max = 0, &["`files_max` is 0"]);
    }
}
