//! Settings of the traces that are sent.

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, PER_MILLION_MAX};

/// The most that `queue_max` may be.
const QUEUE_MAX: usize = 1_000_000;

/// Traces of calls, sent to a collector of OpenTelemetry by OTLP over HTTP, with JSON bodies.
///
/// Where the caller has decided whether its trace is sampled (`traceparent`), that holds.
/// Where the environment has them, `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_RESOURCE_ATTRIBUTES` are added; a
/// compression that it asks for is refused.
///
/// ```
/// use rpc_server::TracesConfig;
///
/// let traces = TracesConfig { endpoint: "http://127.0.0.1:4318".into(), ..TracesConfig::default() };
/// assert!(traces.is_on());
/// assert_eq!(traces.sampled_per_million, 1_000_000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// URL of the collector, for example `http://127.0.0.1:4318`: OTLP over HTTP without TLS. A URL without a path gets
    /// the path `/v1/traces`. Empty: no traces are sent.
    pub endpoint: String,
    /// Name of the service in traces (`service.name`).
    pub service_name: String,
    /// Number of traces in a million that are sent, chosen at random: 0 for none, `1_000_000` for all. It applies to
    /// traces whose caller has not decided whether they are sampled.
    pub sampled_per_million: u32,
    /// Time between two batches, in milliseconds. A full batch is sent earlier.
    pub interval_ms: u64,
    /// Maximum number of spans that wait for the collector. Further ones are dropped, and the log says so.
    pub queue_max: usize,
    /// Maximum time for sending a batch, in milliseconds, and for sending all that waits when the server stops. Spans
    /// that are not sent by then are dropped, and the log says so.
    pub timeout_ms: u64,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            service_name: "rpc-server".into(),
            sampled_per_million: PER_MILLION_MAX,
            interval_ms: 5_000,
            queue_max: 2_048,
            timeout_ms: 3_000,
        }
    }
}

impl TracesConfig {
    /// Whether any are sent.
    pub fn is_on(&self) -> bool {
        !self.endpoint.is_empty()
    }

    /// Checks what would send nothing, or not what is wanted.
    ///
    /// # Errors
    /// The field, what it is and what it must be; a program without the feature `otel`, which can send none.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self {
            endpoint,
            service_name,
            sampled_per_million,
            ..
        } = self;

        ConfigError::unless_positive(&[
            ("traces.interval_ms", self.interval_ms),
            ("traces.queue_max", self.queue_max as u64),
            ("traces.timeout_ms", self.timeout_ms),
        ])?;

        if self.queue_max > QUEUE_MAX {
            let message = format!(
                "`traces.queue_max` ({}) must be at most {QUEUE_MAX}, because memory for this number of spans is \
                 reserved at the start",
                self.queue_max
            );
            return Err(ConfigError::new("traces.queue_max", message));
        }

        if service_name.is_empty() {
            let message =
                "`traces.service_name` is empty and must be a name, for example \"rpc-server\"";
            return Err(ConfigError::new("traces.service_name", message));
        }

        if *sampled_per_million > PER_MILLION_MAX {
            let message = format!(
                "`traces.sampled_per_million` ({sampled_per_million}) must be at most {PER_MILLION_MAX}, which is all traces"
            );
            return Err(ConfigError::new("traces.sampled_per_million", message));
        }

        if !self.is_on() {
            return Ok(());
        }

        if !is_url(endpoint) {
            let message = format!(
                "`traces.endpoint`: \"{endpoint}\" must be the URL of a collector without TLS, for example \
                 \"http://127.0.0.1:4318\""
            );
            return Err(ConfigError::new("traces.endpoint", message));
        }

        if !cfg!(feature = "otel") {
            let message = "`traces.endpoint` is set, and this program was built without the feature `otel`, so it can \
                           send no traces; build the daemon with `cargo build --release -p rpc-daemon --features otel`";
            return Err(ConfigError::new("traces.endpoint", message));
        }

        Ok(())
    }

    /// Where spans go.
    #[cfg(feature = "otel")]
    pub(crate) fn url(&self) -> String {
        let (scheme, rest) = self.endpoint.split_once("://").unwrap_or_default();
        match rest.trim_end_matches('/') {
            authority if authority.contains('/') => self.endpoint.clone(),
            authority => format!("{scheme}://{authority}/v1/traces"),
        }
    }
}

/// Whether this is `http://HOST[:PORT][/PATH]`.
fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://") else {
        return false;
    };

    let authority = rest.split('/').next().unwrap_or_default();
    // The colons of an address of IPv6 are within brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };

    let is_plain =
        |character: char| character.is_ascii_graphic() && !"\"#<>?@\\^`{|}".contains(character);
    !host.is_empty()
        && rest.chars().all(is_plain)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
        && (host.starts_with('[') && host.ends_with(']') || !host.contains([':', '[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        assert_eq!(TracesConfig::default().check(), Ok(()));

        let refused = |config: TracesConfig, part: &str| {
            let message = config.check().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };

        refused(
            TracesConfig {
                interval_ms: 0,
                ..TracesConfig::default()
            },
            "`traces.interval_ms` is 0",
        );
        refused(
            TracesConfig {
                queue_max: 0,
                ..TracesConfig::default()
            },
            "`traces.queue_max` is 0",
        );
        refused(
            TracesConfig {
                timeout_ms: 0,
                ..TracesConfig::default()
            },
            "`traces.timeout_ms` is 0",
        );
        refused(
            TracesConfig {
                service_name: String::new(),
                ..TracesConfig::default()
            },
            "`traces.service_name`",
        );

        let more_than_all = TracesConfig {
            sampled_per_million: 1_000_001,
            ..TracesConfig::default()
        };
        refused(more_than_all, "`traces.sampled_per_million` (1000001)");

        let endpoint = |endpoint: &str| TracesConfig {
            endpoint: endpoint.into(),
            ..TracesConfig::default()
        };
        for wrong in [
            "127.0.0.1:4318",
            "https://collector:4318",
            "http://",
            "http:///v1/traces",
            "http://:4318",
            "http://a:b",
            "http://a:70000",
            "http://::1:4318",
            "http://a b",
            "http://a/\n",
        ] {
            refused(endpoint(wrong), "must be the URL of a collector");
        }

        for right in [
            "http://collector",
            "http://127.0.0.1:4318",
            "http://[::1]:4318/",
            "http://a:1/otlp/v1/traces",
        ] {
            match cfg!(feature = "otel") {
                true => assert_eq!(endpoint(right).check(), Ok(())),
                false => refused(endpoint(right), "--features otel"),
            }
        }
    }

    #[cfg(feature = "otel")]
    #[test]
    fn an_endpoint_without_a_path_has_that_of_the_protocol() {
        let url = |endpoint: &str| {
            TracesConfig {
                endpoint: endpoint.into(),
                ..TracesConfig::default()
            }
            .url()
        };

        assert_eq!(url("http://a:4318"), "http://a:4318/v1/traces");
        assert_eq!(url("http://a:4318/"), "http://a:4318/v1/traces");
        assert_eq!(url("http://a:4318/own/path"), "http://a:4318/own/path");
    }
}
