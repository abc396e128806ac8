//! Every setting of a client, with its unit in its name.

use std::path::PathBuf;
use std::time::Duration;

use rpc_core::backoff::Backoff;
use serde::{Deserialize, Serialize};

/// The settings of a client and of its connection.
///
/// ```
/// use rpc_client::{Client, Config};
///
/// let patient = Config { call_timeout_ms: 60_000, ..Config::default() };
/// let client = Client::with_config("127.0.0.1:8889", patient);
/// # let _ = client;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many connections there are to an endpoint: one for all calls, some, or one for each call.
    pub mode: Mode,
    /// How a call's endpoint is chosen where there are several.
    pub balance: Balance,
    /// Time of a call in milliseconds, where the call does not say: it covers connecting, waiting
    /// for room, writing and the reply.
    pub call_timeout_ms: u64,
    /// Time of one attempt to connect, in milliseconds: looking up the host, dialing its addresses, TLS and
    /// authentication. The addresses are dialed 250 ms after one another, or at once when one has failed.
    pub connect_timeout_ms: u64,
    /// How long calls wait for a server that cannot be reached, in milliseconds from the first
    /// failure, or from the loss of a connection with calls; after that they fail at once, until it is
    /// back. With 0 they wait for the first attempt, however it goes, and for no other one.
    pub fail_fast_after_ms: u64,
    /// Shortest window of the back-off between attempts to connect, in milliseconds; the first
    /// attempt after a failure is made at once. Also the age below which a connection that the server ends counts as
    /// short-lived: from the third one in a row on, the next one is opened half this time to all of it after it.
    pub reconnect_base_ms: u64,
    /// Longest window of the back-off, in milliseconds.
    pub reconnect_cap_ms: u64,
    /// Longest time between attempts to connect while calls come in and fail, in milliseconds: a call
    /// shortens the back-off to a random time of half of it to all of it. 0 leaves the back-off alone.
    pub reconnect_wanted_ms: u64,
    /// Time without a call after which a connection is closed, in milliseconds; it may take up to twice
    /// that. The next call opens another one. 0 keeps it.
    pub idle_timeout_ms: u64,
    /// Calls in flight on the connection; more wait for room.
    pub in_flight_max: usize,
    /// Bytes of requests that wait to be written; more calls wait for room.
    pub output_bytes_max: usize,
    /// Longest reply line in bytes. A longer one ends the connection.
    pub reply_bytes_max: usize,
    /// Longest time between two lookups of a target in DNS, in milliseconds; where the resolver tells how
    /// long an answer holds, and that is shorter, it is asked again then. An etcd is asked as often,
    /// beside being watched.
    pub resolve_interval_ms: u64,
    /// Shortest time between two lookups in DNS, in milliseconds, however short its answers hold; also
    /// where the back-off of failing lookups begins.
    pub resolve_interval_min_ms: u64,
    /// Time between two looks at a file of endpoints, in milliseconds.
    pub file_interval_ms: u64,
    /// Longest file, or answer of an etcd, that lists endpoints, in bytes. A longer one is a failure.
    pub discovery_bytes_max: u64,
    /// Endpoints that a list may have. A longer one is a failure.
    pub endpoints_max: usize,
    /// Items that a stream may send ahead of its reader.
    pub stream_credit: u64,
    /// Maximum number of bytes of a stream's items that wait for their reader; the item that reaches it is still
    /// kept. The next one ends the stream with code 8, after those that wait.
    pub stream_bytes_max: usize,
    /// Connection events that may stand ahead of who reads them ([`Client::events`]); a power of two,
    /// or it is rounded up to one. At the limit the oldest are lost, and the reader is told how many.
    ///
    /// [`Client::events`]: crate::Client::events
    pub events_max: usize,
    /// Sends every call without an id, for a server that knows none, as tornado-TCP's: calls run
    /// one after another and are answered in their order.
    pub ordered: bool,
    /// Received silence, in milliseconds, after which the server is asked with a `ping`, and again
    /// after each such time; 0 turns it off. Only what is received counts, however much is sent.
    ///
    /// A connection that has never used an id is not pinged: its server may know none and would answer
    /// in the place of another call. A server that has stopped reading at its
    /// `in_flight_per_connection` does not answer either: where so many calls take longer than
    /// `ping_misses_max + 1` intervals, keep `in_flight_max` below it, or make this longer.
    pub ping_interval_ms: u64,
    /// Pings in a row with nothing received in their interval before the connection is dead.
    pub ping_misses_max: u32,
    /// Whether a connection is pinged that has no call in flight and has sent nothing either: two
    /// short lines an interval. Without it, only TCP keepalive watches an idle connection, at the cost
    /// of one packet each way in `keepalive_idle_ms` and without waking a process; a server that is
    /// stopped is then noticed by the next calls only.
    pub ping_idle: bool,
    /// Time in milliseconds in which the server takes none of the bytes that wait for it, before the
    /// connection is dead; 0 turns it off.
    pub write_stall_timeout_ms: u64,
    /// How long the connection stays awake for a reply before its thread may sleep, in microseconds;
    /// 0 (the default) sleeps at once. One call at a time becomes several times faster, because nobody
    /// has to wake the thread, and a processor is kept busy while a call waits.
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
    /// Tries of one call at most, the first one included; 1 turns retries off. Only what was not sent or
    /// was rejected is tried again, or is idempotent.
    pub attempts_max: u32,
    /// Longest pause before the third try, in milliseconds, which doubles for each further one; the
    /// second try is made at once. The actual pause is a random one below it.
    pub retry_base_ms: u64,
    /// Longest pause before any try, in milliseconds. What the server asks for with `retry_after_ms` is
    /// added.
    pub retry_cap_ms: u64,
    /// Retries of all calls together, in percent of the calls.
    pub retry_budget_percent: u32,
    /// Retries a second that are allowed besides, for a client with few calls.
    pub retry_budget_per_second: u32,
    /// How long the right to a retry that is not used is kept, in milliseconds.
    pub retry_budget_window_ms: u64,
    /// Commands that may run twice without harm, and are tried again also where they may have run; as
    /// [`Command::idempotent`](crate::Command::idempotent) says of a call.
    pub idempotent_cmdids: Vec<u32>,
    /// Sends an idempotent call a second time once it takes longer than this percentage of the calls,
    /// to another endpoint where there is one: 95 does so for the slowest twentieth. 0 turns this off.
    pub hedge_percentile: u32,
    /// Shortest time before a second request is sent, in milliseconds.
    pub hedge_after_min_ms: u64,
    /// Second requests at most, in percent of the calls that may have one.
    pub hedge_percent_max: u32,
    /// Time in which the latency of an endpoint that the balancer remembers fades to a third, in
    /// milliseconds. Longer leaves an endpoint that was slow alone for longer.
    pub latency_decay_ms: u64,
    /// Latencies below this count as equal, in milliseconds.
    pub latency_floor_ms: u64,
    /// Failures in a row that eject an endpoint: it gets no calls for a while, as long as there are
    /// others. 0 turns this off.
    pub eject_after_failures: u32,
    /// Percentage of the calls in `eject_window_ms` that must succeed, or the endpoint is ejected.
    /// 0 turns this off.
    pub eject_success_percent_min: u32,
    /// Calls within the window before its success rate is judged.
    pub eject_calls_min: u64,
    /// Length of the window in which calls are counted, in milliseconds. After one without any failure
    /// an endpoint is trusted as before.
    pub eject_window_ms: u64,
    /// Longest time of the first ejection, in milliseconds. It doubles each time; the actual time is a
    /// random one in its upper half.
    pub eject_base_ms: u64,
    /// Longest time of any ejection, in milliseconds.
    pub eject_cap_ms: u64,
    /// Percentage of the endpoints that may be ejected: where it is more, all of them are used.
    pub eject_percent_max: u32,
    /// Speaks TLS on every TCP connection, with these settings (feature `tls`). Without it, `tls:HOST:PORT`
    /// does so at that address, with the default ones.
    pub tls: Option<TlsConfig>,
    /// File of a token, alone on its line, by which each new connection says who it is before it takes calls
    /// (command 6, `authenticate`). It is read for each connection. A token of the program's own goes before
    /// it: [`ClientBuilder::token`](crate::ClientBuilder::token).
    pub token_file: Option<PathBuf>,
}

/// Whom a client trusts under TLS, and what it shows. All files are in PEM, and are read again when a
/// connection is opened after they have changed.
///
/// ```
/// use rpc_client::{Config, TlsConfig};
///
/// let tls = TlsConfig {
///     ca_file: Some("/etc/rpc/ca.pem".into()),
///     server_name: Some("log.internal".into()),
///     ..TlsConfig::default()
/// };
/// let config = Config { tls: Some(tls), ..Config::default() };
/// # let _ = config;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificates of the authorities that are trusted; without it those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The name that the server's certificate must have; without it the host of the address.
    pub server_name: Option<String>,
    /// The client's certificate, then those that lead from it to an authority, for a server that asks.
    pub certificate_file: Option<PathBuf>,
    /// The private key of `certificate_file`.
    pub key_file: Option<PathBuf>,
}

/// How many connections a client has to an endpoint; docs/client.md says which is for what.
///
/// In a file: `"single"`, `{ pooled = 4 }` or `"short"`.
///
/// ```
/// use rpc_client::{Client, Config, Mode};
///
/// let client = Client::with_config("10.0.0.1:8889", Config { mode: Mode::Short, ..Config::default() });
/// # let _ = client;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One, opened by the first call and shared by all.
    #[default]
    Single,
    /// Up to this many, each opened when the others are busy; a call takes the one with the fewest calls
    /// in flight. 0 counts as 1.
    Pooled(u32),
    /// One for each call, closed after it.
    Short,
}

/// How a call's endpoint is chosen. A call with a [`hash_key`](crate::Command::hash_key) goes where its
/// key belongs, whatever is set here.
///
/// In a file: `"power_of_two"` or `"round_robin"`.
///
/// ```
/// use rpc_client::{Balance, Client, Config};
///
/// let in_turn = Config { balance: Balance::RoundRobin, ..Config::default() };
/// let client = Client::with_config("10.0.0.1:8889,10.0.0.2:8889", in_turn);
/// # let _ = client;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Of two random ones, the one with the lower product of calls in flight and latency.
    #[default]
    PowerOfTwo,
    /// One after another, however fast they are.
    RoundRobin,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Single,
            balance: Balance::PowerOfTwo,
            call_timeout_ms: 5_000,
            connect_timeout_ms: 3_000,
            fail_fast_after_ms: 1_000,
            reconnect_base_ms: 50,
            reconnect_cap_ms: 5_000,
            reconnect_wanted_ms: 1_000,
            idle_timeout_ms: 0,
            in_flight_max: 65_536,
            output_bytes_max: 8 * 1024 * 1024,
            reply_bytes_max: 16 * 1024 * 1024,
            resolve_interval_ms: 10_000,
            resolve_interval_min_ms: 1_000,
            file_interval_ms: 1_000,
            discovery_bytes_max: 1024 * 1024,
            endpoints_max: 1_024,
            stream_credit: 64,
            stream_bytes_max: 16 * 1024 * 1024,
            events_max: 64,
            ordered: false,
            ping_interval_ms: 5_000,
            ping_misses_max: 2,
            ping_idle: true,
            write_stall_timeout_ms: 10_000,
            spin_us: 0,
            keepalive_idle_ms: 10_000,
            keepalive_interval_ms: 3_000,
            keepalive_probes: 3,
            tcp_user_timeout_ms: 10_000,
            attempts_max: 3,
            retry_base_ms: 10,
            retry_cap_ms: 1_000,
            retry_budget_percent: 20,
            retry_budget_per_second: 10,
            retry_budget_window_ms: 10_000,
            idempotent_cmdids: Vec::new(),
            hedge_percentile: 0,
            hedge_after_min_ms: 1,
            hedge_percent_max: 5,
            latency_decay_ms: 1_000,
            latency_floor_ms: 1,
            eject_after_failures: 5,
            eject_success_percent_min: 50,
            eject_calls_min: 100,
            eject_window_ms: 10_000,
            eject_base_ms: 1_000,
            eject_cap_ms: 60_000,
            eject_percent_max: 50,
            tls: None,
            token_file: None,
        }
    }
}

impl Config {
    pub(crate) fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    /// Between attempts to connect.
    pub(crate) fn backoff(&self) -> Backoff {
        let base = Duration::from_millis(self.reconnect_base_ms);
        Backoff::new(base, Duration::from_millis(self.reconnect_cap_ms))
    }

    pub(crate) fn fail_fast_after(&self) -> Duration {
        Duration::from_millis(self.fail_fast_after_ms)
    }
}
