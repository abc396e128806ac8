//! The client's own log on standard error: its connections, tries and losses.

use std::io::{self, IsTerminal};

use rpc_core::config::{LOG_LEVEL_FORM, wrong_log_levels};
use tracing_subscriber::filter::EnvFilter;

use crate::exit::Failure;
use crate::variable;

/// Sets the log level, as in other programs that log with `tracing`, unless the flag does.
const VARIABLE: &str = "RUST_LOG";

/// Starts the log with the level of the flag `--log-level`, or else that of `RUST_LOG`. Without either nothing is
/// logged: failures are reported anyway.
///
/// # Errors
/// A level that is not one, by the name of the flag or the variable.
pub(crate) fn start(flag: Option<String>) -> Result<(), Failure> {
    let of_environment = || variable(VARIABLE).map(|level| level.to_string_lossy().into_owned());
    let (source, log_level) = match (flag, of_environment()) {
        (Some(level), _) => ("--log-level", level),
        (None, Some(level)) => (VARIABLE, level),
        (None, None) => return Ok(()),
    };

    let filter = filter(&log_level).map_err(|mistake| Failure::Usage {
        message: format!("`{source}` = \"{log_level}\": {mistake}"),
        hint: "debug shows connections, and each try of a call; without a level nothing is logged"
            .into(),
    })?;

    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    Ok(())
}

fn filter(log_level: &str) -> Result<EnvFilter, String> {
    if let Some(word) = wrong_log_levels(log_level).next() {
        return Err(format!("\"{word}\" {LOG_LEVEL_FORM}"));
    }

    EnvFilter::try_new(log_level)
        .map_err(|error| format!("{error}; write a level, for example \"debug\""))
}
