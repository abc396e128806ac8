//! The daemon's settings: their types, their defaults, and what they must be.

#[cfg(feature = "program")]
mod check;
#[cfg(feature = "program")]
mod keys;
#[cfg(feature = "program")]
mod load;
#[cfg(feature = "program")]
mod print;
#[cfg(all(test, feature = "program"))]
mod tests;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command_limits::CommandSettings;
use super::listeners::{GrantSettings, ListenerSettings};
use super::store::{self, LogConfig};
use rpc_server::config::{
    Accept, AccessLog, Admission, Blocking, ConfigError, Drain, Limits, LoggerConfig, Tcp,
    Throttle, Timeouts, TokenFailures,
};
use rpc_server::{AdminConfig, Config, TracesConfig};

#[cfg(feature = "syslog")]
pub use super::syslog::SyslogSettings;
#[cfg(feature = "program")]
pub use check::{Mistakes, log_filter};
#[cfg(feature = "program")]
pub use load::{Loaded, Overrides};

/// The longest wait of a read of the log.
const WAIT_MAX: Duration = Duration::from_secs(25);

/// Reads that look through the files of the log at the same time, on small and on large machines: while one of them
/// waits for the disk, another one goes on, and most threads for blocking work are left to others.
const SCANS: RangeInclusive<usize> = 2..=8;

/// In `listen`, the sockets that were handed over.
pub(crate) const INHERITED: &str = "inherited";

/// All settings of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DaemonConfig {
    /// Addresses to listen on: HOST:PORT, unix:PATH, or "inherited". With port 0 the system chooses a free port.
    /// "inherited" means the sockets that systemd or another parent process hands over (`LISTEN_FDS`); with them, no
    /// client is refused during a restart.
    pub listen: Vec<String>,
    /// Whether `listen` may have addresses that other machines can reach, although these addresses have neither TLS nor
    /// authentication. If false, the daemon does not start with such an address.
    pub allow_plaintext: bool,
    /// Listeners with a policy of their own. Each has an `address` and the settings that follow. If there are any and
    /// `listen` is not set, the daemon listens only on these addresses.
    pub listeners: Vec<ListenerSettings>,
    /// File with the tokens that callers may present. Each line has an identity and the SHA-256 of its token, as
    /// `rpc-server --hash-token` prints it. Empty: no tokens.
    pub tokens_file: PathBuf,
    /// Grants: the `commands` that each `identity` may call. As soon as there is one grant, calls without a grant are
    /// refused with code 7.
    pub grants: Vec<GrantSettings>,
    /// Number of worker threads for TCP connections. A connection stays on the thread that accepted it, and other
    /// servers of the same user can listen on the same port. 0: the threads of one runtime, one for each core, share
    /// all connections.
    pub workers: usize,
    /// Directory for all data. It is created if it is missing.
    pub data_dir: PathBuf,
    /// Format of the log on standard error: "text" or "json".
    pub log_format: LogFormat,
    /// Level of the log: "error", "warn", "info", "debug", "trace" or "off". Modules can have a level of their own:
    /// `info,rpc_server=debug`. The flag `--log-level`, and then the variables `RPC_SERVER_LOG_LEVEL` and `RUST_LOG`,
    /// override this setting.
    pub log_level: String,
    /// Maximum number of bytes of log lines that wait for standard error. Further lines are dropped, and the log says
    /// how many. Calls are not delayed if standard error is read slowly or not at all.
    pub log_lines_bytes_max: usize,
    /// Separate loggers for some commands. The log lines of these commands also go to a file of their own, which is
    /// rotated, or to the console in another format.
    pub loggers: Vec<LoggerConfig>,
    /// Services to offer: "test" (cmdid 10000), "log" (1001-1007), "sms" (1101-1112), "conformance" (10001-10008,
    /// commands for the protocol tests in `conformance/`; not for production).
    pub services: Vec<ServiceName>,
    /// Limits of single commands. Each entry has a `cmdid`, and one or both of `in_flight_max` (calls that run at the
    /// same time) and `requests_per_second` (calls that begin in a second).
    pub commands: Vec<CommandSettings>,
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
    /// The log service's store.
    pub log: LogSettings,
    /// Messages of syslog that become entries of the log.
    #[cfg(feature = "syslog")]
    pub syslog: SyslogSettings,
    /// The SMS service, docs/sms.md: its outbox, where messages may go, and the gateways that bring them there.
    #[cfg(feature = "sms")]
    pub sms: rpc_sms::config::SmsSettings,
    /// Pages about the daemon over HTTP, for people, Prometheus and health checks. Anyone who can reach the port can
    /// read them.
    pub admin: AdminConfig,
    /// Traces of calls, sent to a collector of OpenTelemetry (OTLP over HTTP, JSON), in a daemon that is built with the
    /// feature `otel`. If the caller has decided whether its trace is sampled, the server follows that decision.
    /// Headers for the collector and further attributes of the service are taken from the environment:
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`.
    pub traces: TracesConfig,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:8889".into()],
            allow_plaintext: false,
            listeners: Vec::new(),
            tokens_file: PathBuf::new(),
            grants: Vec::new(),
            workers: 0,
            data_dir: "rpc-data".into(),
            log_format: LogFormat::Text,
            log_level: "info".into(),
            log_lines_bytes_max: 1 << 20,
            loggers: Vec::new(),
            services: vec![
                ServiceName::Test,
                ServiceName::Log,
                #[cfg(feature = "sms")]
                ServiceName::Sms,
            ],
            commands: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            accept: Accept::default(),
            admission: Admission::default(),
            throttle: Throttle::default(),
            blocking: Blocking::default(),
            drain: Drain::default(),
            tcp: Tcp::default(),
            token_failures: TokenFailures::default(),
            access_log: AccessLog::default(),
            log: LogSettings::default(),
            #[cfg(feature = "syslog")]
            syslog: SyslogSettings::default(),
            #[cfg(feature = "sms")]
            sms: rpc_sms::config::SmsSettings::default(),
            admin: AdminConfig::default(),
            traces: TracesConfig::default(),
        }
    }
}

impl DaemonConfig {
    /// The settings of the server itself.
    pub fn server(&self) -> Config {
        Config {
            limits: self.limits.clone(),
            timeouts: self.timeouts.clone(),
            accept: self.accept.clone(),
            admission: self.admission.clone(),
            throttle: self.throttle.clone(),
            blocking: self.blocking.clone(),
            drain: self.drain.clone(),
            tcp: self.tcp.clone(),
            token_failures: self.token_failures.clone(),
            access_log: self.access_log.clone(),
        }
    }
}

/// The format of the daemon's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A service that the daemon can offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceName {
    /// tornado-TCP's test command.
    Test,
    /// Entries appended and read back.
    Log,
    /// Text messages accepted, sent by gateways, and followed.
    #[cfg(feature = "sms")]
    Sms,
    /// What the conformance vectors call.
    Conformance,
}

/// What becomes of the files of the log that are closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// They stay as they are.
    #[cfg_attr(not(feature = "zstd"), default)]
    None,
    /// They are compressed in the background.
    #[cfg(feature = "zstd")]
    #[default]
    Zstd,
}

impl Compress {
    fn in_store(self) -> store::Compression {
        match self {
            Self::None => store::Compression::None,
            #[cfg(feature = "zstd")]
            Self::Zstd => store::Compression::Zstd,
        }
    }
}

/// Settings of the log service's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Size in bytes at which a file is closed and the next one begun.
    pub segment_bytes: u64,
    /// Age in seconds at which a file is closed and the next one begun, even if no entry comes; 0: no limit.
    pub segment_age_s: u64,
    /// Maximum number of bytes of entries that wait for the disk. Further entries are refused with code 8.
    pub queue_bytes_max: usize,
    /// Maximum number of bytes of entries without an answer (`log.emit`) that wait for the disk. Further ones are
    /// dropped, and the daemon's log says how many. A quarter is reserved, in equal parts for 1,000 services. So a
    /// service with few entries loses none of them when another service sends more than the disk can write.
    pub emit_queue_bytes_max: usize,
    /// Maximum number of bytes of entries that one service may send per second; they may come all at once. 0: no limit.
    /// Further entries are refused with code 8. Entries without an answer (`log.emit`) are dropped instead, and the
    /// daemon's log says how many. The first 1,000 names of services have a budget each, and all others share one. A
    /// caller may use several names.
    pub service_bytes_per_second: u64,
    /// Maximum size of all files together, in bytes. Above it, the oldest files are deleted. 0 keeps all.
    pub retention_bytes: u64,
    /// Age in seconds at which a file is deleted, counted from its last entry; the newest file is always kept. At least
    /// `segment_age_s`. 0 keeps all.
    pub retention_age_s: u64,
    /// Number of bytes to keep free on the file system of the log. While fewer bytes are free, the oldest files are
    /// deleted, within a second; the newest file is always kept. With 0, no file is deleted for this reason, and
    /// appends to a full disk fail with code 8.
    pub keep_free_bytes: u64,
    /// How closed files are stored: "zstd" compresses them in the background, to files that `zstdcat` reads; "none"
    /// leaves them as they are.
    pub compress: Compress,
    /// Whether an append is answered only after its entry would survive a power failure (fdatasync). If not, it is
    /// answered as soon as the system has the entry.
    pub fsync: bool,
    /// Time in seconds for which the `idempotency-key` of an append is remembered, also after a restart. A repeated
    /// append whose first attempt may be longer ago than this is refused with code 9.
    pub dedup_age_s: u64,
    /// Maximum number of bytes that these keys take in memory. At the limit, the oldest keys are forgotten, and a
    /// repetition of their appends is refused with code 9.
    pub dedup_bytes_max: usize,
    /// Maximum number of reads that look through the files at the same time, in threads of
    /// `blocking.threads_max`. Further ones wait for their turn, and connections take turns. 0: one for each core, but
    /// at least 2 and at most 8. More than there are cores take processor time from the threads that serve connections.
    pub scans_max: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segment_age_s: 24 * 60 * 60,
            queue_bytes_max: 8 << 20,
            emit_queue_bytes_max: 16 << 20,
            service_bytes_per_second: 0,
            retention_bytes: 0,
            retention_age_s: 0,
            keep_free_bytes: 0,
            compress: Compress::default(),
            fsync: true,
            dedup_age_s: 600,
            dedup_bytes_max: 64 << 20,
            scans_max: 0,
        }
    }
}

impl LogSettings {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            ("log.segment_bytes", self.segment_bytes),
            ("log.queue_bytes_max", self.queue_bytes_max as u64),
            ("log.emit_queue_bytes_max", self.emit_queue_bytes_max as u64),
        ])
    }

    /// The store's limits in a server with these timeouts: a read that waits ends before its call is ended.
    pub(crate) fn store_in(&self, timeouts: &Timeouts) -> LogConfig {
        // Of the default of 30 s, that is `WAIT_MAX`.
        let before_the_end = Duration::from_millis(timeouts.handler_timeout_ms / 6 * 5);
        LogConfig {
            wait_max: WAIT_MAX.min(before_the_end),
            ..self.store()
        }
    }

    pub(crate) fn store(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            segment_age: Duration::from_secs(self.segment_age_s),
            queue_bytes_max: self.queue_bytes_max,
            emit_queue_bytes_max: self.emit_queue_bytes_max,
            service_bytes_per_second: self.service_bytes_per_second,
            retention_bytes: self.retention_bytes,
            retention_age: Duration::from_secs(self.retention_age_s),
            keep_free_bytes: self.keep_free_bytes,
            compression: self.compress.in_store(),
            fsync: self.fsync,
            dedup_age: Duration::from_secs(self.dedup_age_s),
            dedup_bytes_max: self.dedup_bytes_max,
            scans_max: match self.scans_max {
                0 => thread::available_parallelism().map_or(*SCANS.start(), |cores| {
                    cores.get().clamp(*SCANS.start(), *SCANS.end())
                }),
                most => most,
            },
            wait_max: WAIT_MAX,
        }
    }
}
