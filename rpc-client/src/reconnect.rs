//! One endpoint: a connection that is opened when it is first needed, by one attempt at a time, and
//! again after it was lost.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rpc_core::backoff::Backoff;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Config;
use crate::connection::Connection;
use crate::error::{Cause, Error, Kind};

/// The endpoint's connection, and who is about to open one.
pub(crate) struct Endpoint {
    address: Arc<str>,
    config: Arc<Config>,
    /// Whether the address is one to connect to, and not the name of a byte stream made elsewhere.
    can_connect: bool,
    state: Mutex<State>,
}

enum State {
    /// Nobody has asked yet, or the last connection is over.
    Idle,
    /// Somebody is connecting; those who wait watch how it goes.
    Connecting(watch::Receiver<Attempts>),
    Connected(Arc<Connection>),
}

/// How the attempts to connect go.
#[derive(Clone)]
enum Attempts {
    FirstUnderWay,
    Failing { since: Instant, last: Cause },
    Succeeded(Arc<Connection>),
}

impl Endpoint {
    pub(crate) fn new(address: Arc<str>, config: Arc<Config>) -> Arc<Self> {
        Arc::new(Self { address, config, can_connect: true, state: Mutex::new(State::Idle) })
    }

    /// An endpoint with a connection that was made elsewhere; it is not made again.
    pub(crate) fn connected(
        address: Arc<str>,
        config: Arc<Config>,
        connection: Arc<Connection>,
    ) -> Arc<Self> {
        let state = Mutex::new(State::Connected(connection));
        Arc::new(Self { address, config, can_connect: false, state })
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.address
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The connection, where there is one already.
    pub(crate) fn current(&self) -> Option<Arc<Connection>> {
        match &*self.lock() {
            State::Connected(connection) if connection.is_usable() => Some(Arc::clone(connection)),
            _ => None,
        }
    }

    /// The connection that was used last, be it over by now.
    pub(crate) fn latest(&self) -> Option<Arc<Connection>> {
        match &*self.lock() {
            State::Connected(connection) => Some(Arc::clone(connection)),
            State::Idle | State::Connecting(_) => None,
        }
    }

    /// A connection that takes calls: the one there is, or the one that is being opened.
    ///
    /// # Errors
    /// The last error of connecting, where that has failed for longer than `fail_fast_after_ms`;
    /// the deadline, where it comes first. Either way nothing was sent.
    pub(crate) async fn connection(
        self: &Arc<Self>,
        deadline: Option<Instant>,
    ) -> Result<Arc<Connection>, Error> {
        if !self.can_connect {
            let over = || {
                self.not_sent(Cause::new("its connection is over, and was not one that can be opened again"))
            };
            return self.current().ok_or_else(over);
        }
        let mut attempts = match self.join_or_begin() {
            Ok(connection) => return Ok(connection),
            Err(attempts) => attempts,
        };
        let wait = async {
            loop {
                let now = attempts.borrow_and_update().clone();
                let patience = match now {
                    Attempts::Succeeded(connection) => return Ok(connection),
                    Attempts::FirstUnderWay => None,
                    Attempts::Failing { since, last } => {
                        let until = since + self.config.fail_fast_after();
                        if until <= Instant::now() {
                            return Err(self.not_sent(last));
                        }
                        Some(until)
                    }
                };
                let changed = attempts.changed();
                let changed = match patience {
                    Some(until) => tokio::time::timeout_at(until, changed).await.unwrap_or(Ok(())),
                    None => changed.await,
                };
                if changed.is_err() {
                    return Err(self.not_sent(Cause::new("the task that connects was stopped")));
                }
            }
        };
        match deadline {
            None => wait.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, wait).await {
                Ok(result) => result,
                Err(_) => Err(Error::new(Kind::Deadline { was_sent: false }, &self.address, None)),
            },
        }
    }

    fn not_sent(&self, cause: Cause) -> Error {
        Error::new(Kind::NotSent(cause), &self.address, None)
    }

    fn join_or_begin(self: &Arc<Self>) -> Result<Arc<Connection>, watch::Receiver<Attempts>> {
        let mut state = self.lock();
        match &*state {
            State::Connected(connection) if connection.is_usable() => return Ok(Arc::clone(connection)),
            // Sender gone without success: its runtime was shut down under it.
            State::Connecting(attempts) if attempts.has_changed().is_ok() => return Err(attempts.clone()),
            State::Idle | State::Connecting(_) | State::Connected(_) => {}
        }
        let (progress, attempts) = watch::channel(Attempts::FirstUnderWay);
        *state = State::Connecting(attempts.clone());
        drop(state);
        let connect = keep_connecting(
            Arc::downgrade(self),
            Arc::clone(&self.address),
            Arc::clone(&self.config),
            progress,
        );
        tokio::spawn(connect);
        Err(attempts)
    }

    /// Changes of the state are single steps, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries until it succeeds, for as long as anybody holds the endpoint.
async fn keep_connecting(
    endpoint: Weak<Endpoint>,
    address: Arc<str>,
    config: Arc<Config>,
    progress: watch::Sender<Attempts>,
) {
    let base = Duration::from_millis(config.reconnect_base_ms);
    let cap = Duration::from_millis(config.reconnect_cap_ms);
    let mut backoff = Backoff::new(base, cap);
    let mut failing_since = None;
    while endpoint.strong_count() > 0 {
        let attempt = connect(&address, &config);
        let cause = match tokio::time::timeout(config.connect_timeout(), attempt).await {
            Ok(Ok(connection)) => {
                if let Some(endpoint) = endpoint.upgrade() {
                    *endpoint.lock() = State::Connected(Arc::clone(&connection));
                }
                progress.send_replace(Attempts::Succeeded(connection));
                return;
            }
            Ok(Err(error)) => Cause::with_source(format!("cannot connect: {error}"), error),
            Err(_) => Cause::new(format!(
                "cannot connect: no answer within `connect_timeout_ms` of {} ms",
                config.connect_timeout_ms
            )),
        };
        tracing::debug!(%address, reason = %cause.message, "connecting failed");
        let since = *failing_since.get_or_insert_with(Instant::now);
        progress.send_replace(Attempts::Failing { since, last: cause });
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

async fn connect(address: &Arc<str>, config: &Arc<Config>) -> io::Result<Arc<Connection>> {
    if let Some(path) = address.strip_prefix("unix:") {
        let stream = UnixStream::connect(path).await?;
        return Ok(run(stream, address, config));
    }
    if !address.contains(':') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an address is HOST:PORT or unix:PATH, as 127.0.0.1:8889",
        ));
    }
    let stream = TcpStream::connect(&**address).await?;
    prepare(&stream, config)?;
    Ok(run(stream, address, config))
}

fn run<IO>(stream: IO, address: &Arc<str>, config: &Arc<Config>) -> Arc<Connection>
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (connection, driver) = Connection::new(stream, Arc::clone(address), Arc::clone(config));
    tokio::spawn(driver);
    connection
}

/// Requests leave at once, and a server that has vanished is noticed.
fn prepare(stream: &TcpStream, config: &Config) -> io::Result<()> {
    let socket = SockRef::from(stream);
    stream.set_nodelay(true)?;
    if config.keepalive_idle_ms > 0 {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_millis(config.keepalive_idle_ms))
            .with_interval(Duration::from_millis(config.keepalive_interval_ms))
            .with_retries(config.keepalive_probes);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    if config.tcp_user_timeout_ms > 0 {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(config.tcp_user_timeout_ms)))?;
    }
    Ok(())
}
