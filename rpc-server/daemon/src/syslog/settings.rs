//! Settings of the listeners for syslog.

use rpc_server::config::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "program")]
use super::Address;

/// Messages of syslog (RFC 5424 and RFC 3164) that become entries of the log: severity as level, app-name as service,
/// structured data as fields. Senders are not authenticated, and get no answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyslogSettings {
    /// Addresses to listen on: udp:HOST:PORT, tcp:HOST:PORT, or unix:PATH (datagrams, like /dev/log); none by default.
    /// The service "log" must be among `services`.
    pub listen: Vec<String>,
    /// Whether other machines may send to these addresses. If not, the daemon does not start with an address that other
    /// machines can reach.
    pub allow_plaintext: bool,
    /// Maximum number of bytes of a message. A longer message is cut to this length, and its entry has the field
    /// `truncated`.
    pub message_bytes_max: usize,
    /// Maximum number of bytes that each address may send per second; they may come all at once. All Unix sockets
    /// together count as one address. Further messages over UDP and Unix sockets are dropped, and the log says how
    /// many. A TCP connection over the limit is not read from for a while. 0: no limit.
    pub bytes_per_second_per_address: u64,
    /// Maximum number of open TCP connections. Further ones are closed.
    pub connections_max: usize,
    /// Maximum number of open TCP connections of an address. Further ones are closed.
    pub connections_per_address: usize,
}

impl Default for SyslogSettings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            allow_plaintext: false,
            message_bytes_max: 16 * 1024,
            bytes_per_second_per_address: 4 << 20,
            connections_max: 256,
            connections_per_address: 32,
        }
    }
}

impl SyslogSettings {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            ("syslog.message_bytes_max", self.message_bytes_max as u64),
            ("syslog.connections_max", self.connections_max as u64),
            (
                "syslog.connections_per_address",
                self.connections_per_address as u64,
            ),
        ])
    }

    /// What is wrong with the addresses, each mistake in one line.
    #[cfg(feature = "program")]
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let parsed = self.listen.iter().map(|text| (text, Address::parse(text)));
        let wrong = parsed.filter_map(|(text, parsed)| Some((text, parsed.err()?)));
        wrong
            .map(|(text, error)| format!("`syslog.listen`: \"{text}\" {error}"))
            .collect()
    }
}
