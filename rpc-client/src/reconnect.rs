//! One endpoint: a connection that is opened when it is first needed, by one attempt at a time, and
//! again after it was lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rpc_core::backoff::Backoff;
use tokio::time::Instant;

use crate::config::Config;
use crate::connect::Connector;
use crate::connection::Connection;
use crate::error::{Cause, Error, Kind};
use crate::events::Events;
use crate::progress as watch;

/// The endpoint's connection, and who is about to open one.
pub(crate) struct Endpoint {
    address: Arc<str>,
    config: Arc<Config>,
    /// None where the address is the name of a byte stream made elsewhere.
    connector: Option<Connector>,
    events: Events,
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
    pub(crate) fn new(
        address: Arc<str>,
        config: Arc<Config>,
        connector: Connector,
        events: Events,
    ) -> Arc<Self> {
        let state = Mutex::new(State::Idle);
        Arc::new(Self { address, config, connector: Some(connector), events, state })
    }

    /// An endpoint with a connection that was made elsewhere; it is not made again.
    pub(crate) fn connected(
        address: Arc<str>,
        config: Arc<Config>,
        connection: Arc<Connection>,
        events: Events,
    ) -> Arc<Self> {
        let state = Mutex::new(State::Connected(connection));
        Arc::new(Self { address, config, connector: None, events, state })
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
        let Some(connector) = &self.connector else {
            let over = || {
                self.not_sent(Cause::new("its connection is over, and was not one that can be opened again"))
            };
            return self.current().ok_or_else(over);
        };
        let mut attempts = match self.join_or_begin(connector) {
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

    fn join_or_begin(
        self: &Arc<Self>,
        connector: &Connector,
    ) -> Result<Arc<Connection>, watch::Receiver<Attempts>> {
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
        let attempt = Attempt {
            address: Arc::clone(&self.address),
            config: Arc::clone(&self.config),
            connector: connector.clone(),
            events: self.events.clone(),
        };
        tokio::spawn(keep_connecting(Arc::downgrade(self), attempt, progress));
        Err(attempts)
    }

    /// Changes of the state are single steps, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an attempt to connect needs, without holding the endpoint.
struct Attempt {
    address: Arc<str>,
    config: Arc<Config>,
    connector: Connector,
    events: Events,
}

/// Tries until it succeeds, for as long as anybody holds the endpoint.
async fn keep_connecting(endpoint: Weak<Endpoint>, attempt: Attempt, progress: watch::Sender<Attempts>) {
    let Attempt { address, config, connector, events } = attempt;
    let base = Duration::from_millis(config.reconnect_base_ms);
    let cap = Duration::from_millis(config.reconnect_cap_ms);
    let mut backoff = Backoff::new(base, cap);
    let mut failing_since = None;
    while endpoint.strong_count() > 0 {
        let opening = connector.open(&address, &config, &events);
        let cause = match tokio::time::timeout(config.connect_timeout(), opening).await {
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
