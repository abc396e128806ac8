//! Every setting of a client, in groups; each has its unit in its name.

mod balancing;
mod discovery;
mod ejection;
mod hedge;
mod limits;
mod liveness;
mod moved;
mod pool;
mod reconnect;
mod retry;
mod timeouts;
mod tls;

use serde::Serialize;

pub use balancing::{Balance, Balancing};
pub use discovery::Discovery;
pub use ejection::Ejection;
pub use hedge::Hedge;
pub use limits::Limits;
pub use liveness::Liveness;
pub use pool::{Mode, Pool};
pub use reconnect::Reconnect;
pub use retry::Retry;
pub use rpc_core::config::{ConfigError, Tcp};
pub use timeouts::Timeouts;
pub use tls::TlsConfig;

/// The settings of a client and of its connections.
///
/// A plain struct of plain groups: set what differs, the rest has its default.
///
/// ```
/// use rpc_client::{Client, Config};
///
/// let mut patient = Config::default();
/// patient.timeouts.call_timeout_ms = 60_000;
/// let client = Client::with_config("127.0.0.1:8889", patient);
///
/// // The same in one expression.
/// let patient = Config::default().with(|config| config.timeouts.call_timeout_ms = 60_000);
/// # let _ = (client, patient);
/// ```
///
/// In a file each group is a table: `[retry] budget_percent = 20`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Times of a call and of a connection.
    pub timeouts: Timeouts,
    /// Calls and bytes that a client holds.
    pub limits: Limits,
    /// Connections to an endpoint.
    pub pool: Pool,
    /// Attempts to connect.
    pub reconnect: Reconnect,
    /// Pings.
    pub liveness: Liveness,
    /// Finding servers that vanish without a word.
    pub tcp: Tcp,
    /// Further tries of a call.
    pub retry: Retry,
    /// Backup requests.
    pub hedge: Hedge,
    /// The choice of an endpoint.
    pub balance: Balancing,
    /// Endpoints that get no calls for a while.
    pub ejection: Ejection,
    /// Lists of endpoints.
    pub discovery: Discovery,
    /// TLS on every TCP connection (feature `tls`). Without it, `tls:HOST:PORT` speaks TLS at that address, with the
    /// default settings.
    pub tls: Option<TlsConfig>,
}

rpc_core::__config_groups!(Config, moved: moved::MOVED, groups: [
    timeouts, limits, pool, reconnect, liveness, tcp, retry, hedge, balance, ejection, discovery,
], options: [tls]);

impl Config {
    /// These settings with some of them changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    rpc_core::__config_groups_tests!(Config, moved: moved::MOVED);

    #[test]
    fn a_config_reads_back_as_itself_and_what_is_left_out_has_its_default() {
        let config = Config::default().with(|config| {
            config.retry.budget_percent = 7;
            config.tls = Some(TlsConfig::default());
        });

        assert_eq!(config.check(), Ok(()));
        assert_eq!(
            read(serde_json::to_value(&config).unwrap()),
            Ok(config.clone())
        );
        assert_eq!(
            read(json!({"retry": {"budget_percent": 7}, "tls": {}})),
            Ok(config)
        );
        assert_eq!(read(json!({})), Ok(Config::default()));
    }

    #[test]
    fn a_client_that_could_never_call_is_refused_by_the_path_of_its_setting() {
        let refused = |change: fn(&mut Config), part: &str| {
            let error = Config::default().with(change).check().unwrap_err();
            assert!(paths().contains(error.setting()));
            assert!(error.to_string().contains(part), "{error}");
        };

        refused(
            |config| config.limits.in_flight_per_connection = 0,
            "`limits.in_flight_per_connection` is 0 and must be at least 1",
        );
        refused(
            |config| config.timeouts.call_timeout_ms = 0,
            "`timeouts.call_timeout_ms` is 0",
        );
        refused(
            |config| config.retry.attempts_max = 0,
            "`retry.attempts_max` is 0",
        );
        refused(
            |config| config.pool.mode = Mode::Pooled(0),
            "{ pooled = 0 }",
        );
        refused(
            |config| config.hedge.percentile = 100,
            "`hedge.percentile` is 100",
        );
        refused(
            |config| config.ejection.percent_max = 101,
            "`ejection.percent_max` is 101",
        );
        refused(
            |config| config.liveness.ping_misses_max = 0,
            "`liveness.ping_misses_max` is 0",
        );
    }

    #[test]
    fn a_group_that_does_not_exist_is_refused_with_those_that_do() {
        assert!(
            read(json!({"retries": {}}))
                .unwrap_err()
                .starts_with("unknown field `retries`, expected one of `timeouts`, `limits`")
        );
    }
}
