//! Every limit of the server, with its unit in its name.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// All calls, where so many of a million are asked for.
pub(crate) const PER_MILLION_MAX: u32 = 1_000_000;

/// The limits of a server and of each connection.
///
/// A plain struct: set what differs and take the rest from `Default`.
///
/// ```
/// use rpc_server::Config;
///
/// let config = Config { handler_timeout_ms: 5_000, ..Config::default() };
/// assert_eq!(config.frame_bytes_max, 1024 * 1024);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Longest request line in bytes, its line break not counted. A longer one is answered with
    /// code 8, and skipped; it counts as a bad line.
    pub frame_bytes_max: usize,
    /// Longest `data` of a reply in bytes. A longer one becomes code 8.
    pub reply_bytes_max: usize,
    /// Time from the first byte of a line to its end, in milliseconds. A slower one is answered
    /// with code 4 and the connection is closed.
    pub frame_timeout_ms: u64,
    /// Time from the beginning of a connection to the end of its first good line, in milliseconds; 0 for
    /// any time: a client may connect when it starts and call much later. For addresses that strangers
    /// reach. A connection that says nothing is told code 4 and closed.
    pub first_frame_timeout_ms: u64,
    /// Time without a request and without a call in flight, in milliseconds, after which a connection is
    /// asked to go away, as one that is past its age; 0 keeps idle connections.
    pub idle_timeout_ms: u64,
    /// Bad lines in a row that close a connection. Before the first good line, one does.
    pub bad_frames_in_a_row_max: u32,
    /// Connections at one time. One more is told so with code 8 and closed.
    pub connections_max: usize,
    /// Connections of one address at one time, 0 for any number; an IPv6 address counts with all those of
    /// its /64 network, which is what one host is given. One more is told so with code 8 and closed.
    /// Unix sockets and streams of the program's own are not counted.
    pub connections_per_address: usize,
    /// Connections that are being told that there is no place for them, at one time. More are closed
    /// without a word.
    pub refusals_max: usize,
    /// Calls in flight on all connections together, ordered ones that wait for their turn among them. One
    /// more is not run: it is answered with code 8, `rejected` and `retry_after_ms`. Built-in commands
    /// are always answered. Threads that read at the same moment may together go past it by what each of
    /// them has just read.
    pub in_flight_max: usize,
    /// Calls in flight of one peer, on all of its connections together; 0 for any number. A peer is an identity, or for
    /// callers without one their address (an IPv6 address counts with all those of its /64 network). Unix sockets and
    /// streams of the program's own are not counted, unless their peer has an identity. One more is not run, as at
    /// `in_flight_max`. The default is a quarter of that of `in_flight_max`.
    pub in_flight_per_peer: usize,
    /// Whether the calls in flight on all connections together follow what the server can do, between
    /// `adaptive_in_flight_min` and `in_flight_max`: fewer where calls take longer than they do without load,
    /// more where they do not. For services whose calls take about the same time; not for those that wait
    /// on purpose, as long polls do.
    pub adaptive_concurrency: bool,
    /// What `adaptive_concurrency` does not go below.
    pub adaptive_in_flight_min: usize,
    /// When a call that was not run for want of room is to be sent again, in milliseconds, give or take
    /// half by chance, so that those who were sent away together do not come back together.
    pub shed_retry_after_ms: u64,
    /// Lines a second of one connection that cost little and lead to nothing: pings and other built-in
    /// commands, cancels, credits, empty lines, commands that there are not, calls that are not run for want
    /// of room; 0 for any number. A second's worth may come at once; what is over it waits unread.
    pub cheap_frames_per_second: u32,
    /// How long a connection may keep sending more than `cheap_frames_per_second`, in milliseconds, before
    /// it is told so with code 8 and closed.
    pub cheap_frames_timeout_ms: u64,
    /// Maximum number of threads that do work that blocks: functions of `Route::blocking`, reads of the log
    /// service. Further work waits for its turn, which goes round by connection.
    pub blocking_threads_max: usize,
    /// Maximum number of calls of one connection that wait for such a thread. Further ones do not run: they are
    /// refused with code 8, `rejected` and `retry_after_ms`. The default is that of `in_flight_per_connection`,
    /// which already bounds calls that end with their caller.
    pub blocking_waiting_per_connection: usize,
    /// Calls in flight on one connection, ordered ones that wait for their turn among them. At the
    /// limit the server stops reading from it.
    pub in_flight_per_connection: usize,
    /// Maximum number of bytes that one connection holds: the line being read, the params of its calls in
    /// flight, ordered ones that wait for their turn among them, and the output that waits. At the limit the
    /// server stops reading from it; only cancels, credits and built-in commands at the front of what was read
    /// are still taken. At least `frame_bytes_max` and `output_bytes_soft_max` together.
    pub connection_bytes_max: usize,
    /// Maximum number of bytes that all connections together hold, as `connection_bytes_max` counts them; 0 for half
    /// of the smallest of the machine's memory and the limits of the process's control groups. When three quarters are
    /// held, a connection that holds more than an equal share (three quarters of it divided by the open connections)
    /// is not read from, and has one result at a time built for it. When seven eighths are held, the calls of
    /// the connection that holds the most end with code 8. At least `connection_bytes_max`.
    pub memory_bytes_max: usize,
    /// Longest time of a call in milliseconds, where the caller's `timeout_ms` is not shorter. Past
    /// it the handler is cancelled and the code is 4.
    pub handler_timeout_ms: u64,
    /// Bytes of replies that wait for a slow reader before the server stops reading from it.
    pub output_bytes_soft_max: usize,
    /// Bytes of replies that wait for a slow reader before the connection is cut. At least
    /// `output_bytes_soft_max` and `reply_bytes_max` together, so that one large reply cuts nobody.
    pub output_bytes_hard_max: usize,
    /// Time without progress in writing to a peer, in milliseconds, before the connection is cut.
    pub write_stall_timeout_ms: u64,
    /// How long the server keeps reading after its last byte, in milliseconds, so that the peer can
    /// read that byte before the connection is gone.
    pub linger_timeout_ms: u64,
    /// When draining, how long a connection without calls in flight is kept, in milliseconds, so
    /// that requests that were already on their way are answered with `rejected`.
    pub goaway_grace_ms: u64,
    /// When draining, how long calls in flight may take, in milliseconds, before they are dropped. As
    /// long a connection has that is past its age or its number of requests, before it is ended as in a drain.
    pub drain_timeout_ms: u64,
    /// Age in milliseconds, give or take a tenth by chance, at which a connection is asked to go away,
    /// so that clients come to know new servers; 0 keeps connections for as long as clients do. Where an id
    /// was used, `goaway` is sent, what still comes is answered, and `goaway_grace_ms` after the last
    /// request the connection is closed; without an id, it is closed between two calls.
    pub connection_age_max_ms: u64,
    /// Requests after which a connection is asked to go away, as one that is too old; 0 for any number.
    /// What has come together with the last one counts no more, and is answered.
    pub requests_per_connection_max: u64,
    /// How long a connection stays awake for its next request before its thread may sleep, in
    /// microseconds; 0 sleeps at once. A client that makes one call at a time gets its replies several
    /// times faster, because nobody has to wake the thread, and a processor is kept busy meanwhile.
    pub spin_us: u64,
    /// Idle time before TCP keepalive probes, in milliseconds, rounded up to seconds as the system counts
    /// them; 0 turns them off.
    pub keepalive_idle_ms: u64,
    /// Time between TCP keepalive probes, in milliseconds, rounded up to seconds.
    pub keepalive_interval_ms: u64,
    /// TCP keepalive probes without an answer before the connection is dead.
    pub keepalive_probes: u32,
    /// Time that sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`), in milliseconds; 0 leaves
    /// it to the system. On an idle connection the system would also count it against keepalive, so that one lost
    /// probe could be too many: there the user timeout lies between the last probe and the end of its time.
    pub tcp_user_timeout_ms: u64,
    /// Time for a TLS handshake, in milliseconds. A slower one is closed.
    pub handshake_timeout_ms: u64,
    /// TLS handshakes at one time. More wait for their turn, within `handshake_timeout_ms`.
    pub handshakes_max: usize,
    /// Where authentication is required: how long a connection may take to say who it is, in milliseconds,
    /// before it is answered with code 16 and closed.
    pub authentication_timeout_ms: u64,
    /// How long the answer to a wrong token is held back, in milliseconds.
    pub token_failure_delay_ms: u64,
    /// Wrong tokens from one address, in `token_failures_window_ms`, after which no more are looked at: code
    /// 8. A /64 of IPv6 counts as one address; peers on Unix sockets have none, and are not limited.
    pub token_failures_per_address: u32,
    /// Time in which wrong tokens of an address are counted together, in milliseconds.
    pub token_failures_window_ms: u64,
    /// Addresses that wrong tokens are remembered of; the oldest is forgotten for one more.
    pub token_failure_addresses_max: usize,
    /// How many calls of a million are logged at their end, by chance: target `rpc_server::access`, level info,
    /// with command, code and latency, never with params, data or tokens. 0 for none, `1_000_000` for all.
    pub access_log_per_million: u32,
    /// Whether calls that end with another code than 0 are all logged, once `access_log_per_million` is above 0.
    pub access_log_failures: bool,
}

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

impl Default for Config {
    fn default() -> Self {
        Self {
            frame_bytes_max: rpc_core::codec::FRAME_BYTES_MAX,
            reply_bytes_max: 4 * 1024 * 1024,
            frame_timeout_ms: 10_000,
            first_frame_timeout_ms: 0,
            idle_timeout_ms: 0,
            bad_frames_in_a_row_max: 16,
            connections_max: 10_000,
            connections_per_address: 2_500,
            refusals_max: 256,
            in_flight_max: 32_768,
            in_flight_per_peer: 8_192,
            adaptive_concurrency: false,
            adaptive_in_flight_min: 16,
            shed_retry_after_ms: 200,
            cheap_frames_per_second: 10_000,
            cheap_frames_timeout_ms: 10_000,
            blocking_threads_max: 64,
            blocking_waiting_per_connection: 1024,
            in_flight_per_connection: 1024,
            connection_bytes_max: 16 * 1024 * 1024,
            memory_bytes_max: 0,
            handler_timeout_ms: 30_000,
            output_bytes_soft_max: 2 * 1024 * 1024,
            output_bytes_hard_max: 8 * 1024 * 1024,
            write_stall_timeout_ms: 10_000,
            linger_timeout_ms: 1_000,
            goaway_grace_ms: 500,
            drain_timeout_ms: 10_000,
            connection_age_max_ms: 0,
            requests_per_connection_max: 0,
            spin_us: 0,
            keepalive_idle_ms: 10_000,
            keepalive_interval_ms: 3_000,
            keepalive_probes: 3,
            tcp_user_timeout_ms: 10_000,
            handshake_timeout_ms: 10_000,
            handshakes_max: 1_000,
            authentication_timeout_ms: 10_000,
            token_failure_delay_ms: 1_000,
            token_failures_per_address: 10,
            token_failures_window_ms: 60_000,
            token_failure_addresses_max: 4_096,
            access_log_per_million: 0,
            access_log_failures: true,
        }
    }
}

/// A setting that cannot work, by itself or beside another one.
///
/// Its `Display` is one line for an operator: the setting, its value, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    message: String,
}

impl ConfigError {
    pub(crate) fn new(setting: &'static str, message: impl Into<String>) -> Self {
        Self {
            setting,
            message: message.into(),
        }
    }

    pub(crate) fn zero(setting: &'static str) -> Self {
        Self::new(setting, format!("`{setting}` is 0 and must be at least 1"))
    }

    /// The name of the setting, as `"frame_bytes_max"`.
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Checks what would make a server that cannot work.
    ///
    /// # Errors
    /// The field, what it is and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_zeros()?;
        self.check_bounds()
    }

    fn check_zeros(&self) -> Result<(), ConfigError> {
        let at_least_one: [(&str, u64); 18] = [
            ("frame_bytes_max", self.frame_bytes_max as u64),
            ("reply_bytes_max", self.reply_bytes_max as u64),
            ("frame_timeout_ms", self.frame_timeout_ms),
            (
                "bad_frames_in_a_row_max",
                u64::from(self.bad_frames_in_a_row_max),
            ),
            ("connections_max", self.connections_max as u64),
            ("in_flight_max", self.in_flight_max as u64),
            ("adaptive_in_flight_min", self.adaptive_in_flight_min as u64),
            ("blocking_threads_max", self.blocking_threads_max as u64),
            (
                "blocking_waiting_per_connection",
                self.blocking_waiting_per_connection as u64,
            ),
            (
                "in_flight_per_connection",
                self.in_flight_per_connection as u64,
            ),
            ("handler_timeout_ms", self.handler_timeout_ms),
            ("output_bytes_soft_max", self.output_bytes_soft_max as u64),
            ("write_stall_timeout_ms", self.write_stall_timeout_ms),
            ("handshake_timeout_ms", self.handshake_timeout_ms),
            ("handshakes_max", self.handshakes_max as u64),
            ("authentication_timeout_ms", self.authentication_timeout_ms),
            (
                "token_failures_per_address",
                u64::from(self.token_failures_per_address),
            ),
            (
                "token_failure_addresses_max",
                self.token_failure_addresses_max as u64,
            ),
        ];
        match at_least_one.iter().find(|(_, value)| *value == 0) {
            Some((setting, _)) => Err(ConfigError::zero(setting)),
            None => Ok(()),
        }
    }

    /// Checks settings that limit each other.
    fn check_bounds(&self) -> Result<(), ConfigError> {
        let Self {
            frame_bytes_max: frame,
            reply_bytes_max: reply,
            output_bytes_soft_max: soft,
            output_bytes_hard_max: hard,
            connection_bytes_max: connection,
            memory_bytes_max: memory,
            access_log_per_million: logged,
            adaptive_in_flight_min: least,
            in_flight_max: most,
            ..
        } = *self;

        if hard < soft.saturating_add(reply) {
            let message = format!(
                "`output_bytes_hard_max` ({hard}) must be at least `output_bytes_soft_max` ({soft}) and \
                 `reply_bytes_max` ({reply}) together, or one large reply could cut a connection"
            );
            return Err(ConfigError::new("output_bytes_hard_max", message));
        }

        if connection < frame.saturating_add(soft) {
            let message = format!(
                "`connection_bytes_max` ({connection}) must be at least `frame_bytes_max` ({frame}) and \
                 `output_bytes_soft_max` ({soft}) together, or one line and the output that waits could take all of it"
            );
            return Err(ConfigError::new("connection_bytes_max", message));
        }

        if memory != 0 && memory < connection {
            let message = format!(
                "`memory_bytes_max` ({memory}) must be at least `connection_bytes_max` ({connection}), or 0 for half of \
                 the memory that the process may use"
            );
            return Err(ConfigError::new("memory_bytes_max", message));
        }

        if logged > PER_MILLION_MAX {
            let message = format!(
                "`access_log_per_million` ({logged}) must be at most {PER_MILLION_MAX}, which is all calls"
            );
            return Err(ConfigError::new("access_log_per_million", message));
        }

        if self.adaptive_concurrency && least > most {
            let message = format!(
                "`adaptive_in_flight_min` ({least}) must not be above `in_flight_max` ({most})"
            );
            return Err(ConfigError::new("adaptive_in_flight_min", message));
        }

        Ok(())
    }

    pub(crate) fn frame_timeout(&self) -> Duration {
        Duration::from_millis(self.frame_timeout_ms)
    }

    pub(crate) fn first_frame_timeout(&self) -> Duration {
        Duration::from_millis(self.first_frame_timeout_ms)
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        (self.idle_timeout_ms > 0).then(|| Duration::from_millis(self.idle_timeout_ms))
    }

    pub(crate) fn cheap_frames_timeout(&self) -> Duration {
        Duration::from_millis(self.cheap_frames_timeout_ms)
    }

    /// When what was shed is to come back: calls that were shed together come back apart.
    pub(crate) fn shed_retry_after(&self) -> Duration {
        around(self.shed_retry_after_ms)
    }

    pub(crate) fn handler_timeout(&self) -> Duration {
        Duration::from_millis(self.handler_timeout_ms)
    }

    pub(crate) fn write_stall_timeout(&self) -> Duration {
        Duration::from_millis(self.write_stall_timeout_ms)
    }

    pub(crate) fn linger_timeout(&self) -> Duration {
        Duration::from_millis(self.linger_timeout_ms)
    }

    pub(crate) fn goaway_grace(&self) -> Duration {
        Duration::from_millis(self.goaway_grace_ms)
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }

    /// The age at which one connection goes away: connections that began together end apart.
    pub(crate) fn connection_age(&self) -> Option<Duration> {
        let jitter = 0.9 + 0.2 * fastrand::f64();
        let age = Duration::from_millis(self.connection_age_max_ms);
        (!age.is_zero()).then(|| age.mul_f64(jitter))
    }
}

/// A time by chance around this one, in milliseconds, from a half of it to one and a half: not all who are told
/// so come back in the same moment.
pub(crate) fn around(ms: u64) -> Duration {
    Duration::from_millis(ms / 2 + fastrand::u64(0..=ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_zero_is_refused_by_name() {
        assert_eq!(Config::default().check(), Ok(()));

        let zero = Config {
            in_flight_per_connection: 0,
            ..Config::default()
        };
        assert_eq!(
            zero.check().unwrap_err().to_string(),
            "`in_flight_per_connection` is 0 and must be at least 1"
        );

        let crossed = Config {
            output_bytes_hard_max: 1,
            ..Config::default()
        };
        assert!(
            crossed
                .check()
                .unwrap_err()
                .to_string()
                .contains("`output_bytes_soft_max` (2097152)")
        );

        let more_than_all = Config {
            access_log_per_million: 1_000_001,
            ..Config::default()
        };
        assert!(
            more_than_all
                .check()
                .unwrap_err()
                .to_string()
                .contains("`access_log_per_million` (1000001)")
        );

        let crossed = Config {
            adaptive_concurrency: true,
            in_flight_max: 8,
            ..Config::default()
        };
        assert_eq!(
            crossed.check().unwrap_err().setting(),
            "adaptive_in_flight_min"
        );
        assert!(
            crossed
                .check()
                .unwrap_err()
                .to_string()
                .contains("`in_flight_max` (8)")
        );
    }

    #[test]
    fn larger_replies_need_room_for_one_behind_those_that_wait() {
        let mib = 1024 * 1024;
        let fits = Config {
            reply_bytes_max: 6 * mib,
            ..Config::default()
        };
        assert_eq!(fits.check(), Ok(()));

        let large = Config {
            reply_bytes_max: 6 * mib + 1,
            ..Config::default()
        };
        assert!(
            large
                .check()
                .unwrap_err()
                .to_string()
                .contains("`reply_bytes_max` (6291457)")
        );
    }

    #[test]
    fn what_is_shed_comes_back_around_its_time() {
        let config = Config {
            shed_retry_after_ms: 100,
            ..Config::default()
        };
        let times: Vec<_> = (0..1_000)
            .map(|_| config.shed_retry_after().as_millis())
            .collect();

        assert!(times.iter().all(|ms| (50..=150).contains(ms)));
        assert!(times.iter().min() < times.iter().max());
    }
}
