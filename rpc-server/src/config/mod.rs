//! Every setting of a server, in groups; each has its unit in its name.

mod accept;
mod access_log;
mod admission;
mod blocking;
mod drain;
mod limits;
mod logger;
mod moved;
mod throttle;
mod timeouts;
mod token_failures;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use accept::Accept;
pub use access_log::AccessLog;
pub use admission::Admission;
pub use blocking::Blocking;
pub use drain::Drain;
pub use limits::Limits;
pub use logger::{ConsoleFormat, LineFormat, LoggerConfig};
pub use moved::moved;
pub use rpc_core::config::{ConfigError, Tcp};
pub use throttle::Throttle;
pub use timeouts::Timeouts;
pub use token_failures::TokenFailures;

/// All calls, where a number of a million is asked for.
pub(crate) const PER_MILLION_MAX: u32 = 1_000_000;

/// The settings of a server and of each connection.
///
/// A plain struct of plain groups: set what differs, the rest has its default.
///
/// ```
/// use rpc_server::Config;
///
/// let mut config = Config::default();
/// config.timeouts.handler_timeout_ms = 5_000;
/// assert_eq!(config.limits.frame_bytes_max, 1024 * 1024);
///
/// // The same in one expression.
/// let same = Config::default().with(|config| config.timeouts.handler_timeout_ms = 5_000);
/// assert_eq!(same, config);
/// ```
///
/// In a file each group is a table: `[timeouts] handler_timeout_ms = 5000`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Config {
    /// Numbers of connections and of bytes.
    pub limits: Limits,
    /// Times of lines, calls and replies.
    pub timeouts: Timeouts,
    /// The beginning of a connection.
    pub accept: Accept,
    /// Calls that may be in flight.
    pub admission: Admission,
    /// Lines that lead to nothing.
    pub throttle: Throttle,
    /// Work that blocks its thread.
    pub blocking: Blocking,
    /// The end of a connection.
    pub drain: Drain,
    /// Finding peers that vanish without a word.
    pub tcp: Tcp,
    /// Wrong tokens.
    pub token_failures: TokenFailures,
    /// Calls that are logged.
    pub access_log: AccessLog,
}

rpc_core::__config_groups!(Config, moved: moved::MOVED, groups: [
    limits, timeouts, accept, admission, throttle, blocking, drain, tcp, token_failures, access_log,
], options: []);

/// Whether a client of a listener with TLS shows a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// It is not asked for one.
    #[default]
    Off,
    /// It may; a wrong one is refused.
    Optional,
    /// It must.
    Required,
}

impl Config {
    /// These settings with some of them changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// `ms` with ±50 % jitter, so that refused callers do not all return at the same moment.
pub(crate) fn jittered(ms: u64) -> Duration {
    Duration::from_millis(ms / 2 + fastrand::u64(0..=ms))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    rpc_core::__config_groups_tests!(Config, moved: moved::MOVED);

    #[test]
    fn a_config_reads_back_as_itself_and_what_is_left_out_has_its_default() {
        let config = Config::default().with(|config| config.drain.timeout_ms = 7);

        assert_eq!(config.check(), Ok(()));
        assert_eq!(
            read(serde_json::to_value(&config).unwrap()),
            Ok(config.clone())
        );
        assert_eq!(read(json!({"drain": {"timeout_ms": 7}})), Ok(config));
        assert_eq!(read(json!({})), Ok(Config::default()));
    }

    #[test]
    fn every_check_names_a_setting_by_the_path_that_a_file_has() {
        for path in paths() {
            let (group, name) = path.split_once('.').unwrap();
            let mut zero = serde_json::to_value(Config::default()).unwrap();
            if zero[group][name].is_u64() {
                zero[group][name] = json!(0);
            }

            if let Err(error) = read(zero).unwrap().check() {
                assert!(paths().contains(error.setting()), "{error}");
                assert!(
                    error.to_string().contains(&format!("`{path}`")),
                    "{path}: {error}"
                );
            }
        }
    }

    #[test]
    fn a_group_that_does_not_exist_is_refused_with_those_that_do() {
        assert!(
            read(json!({"limit": {}}))
                .unwrap_err()
                .starts_with("unknown field `limit`, expected one of `limits`, `timeouts`")
        );
    }
}
