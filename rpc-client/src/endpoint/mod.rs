//! One endpoint: a connection that is opened when it is first needed, by one attempt at a time, and
//! again after it was lost: by the next call, or at once where it was lost with calls in flight.

pub(crate) mod authenticate;
pub(crate) mod connect;
mod dial;
mod dialing;
mod history;
mod kept;
mod one_call;
pub(crate) mod pool;
#[cfg(feature = "tls")]
mod tls;
mod tried;
mod waiting;
mod watched;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::connection::{Common, Connection, Loss};
use crate::error::{Cause, Error, Kind};

use connect::Connector;
use dialing::Outage;
use history::History;
use kept::{Connecting, Kept};

/// The endpoint's connection, and what is about to open one.
pub(crate) struct Endpoint {
    address: Arc<str>,
    common: Common,
    /// None where the address is the name of a byte stream made elsewhere.
    connector: Option<Connector>,
    /// Tells the task that connects that calls come in.
    wanted: Arc<Notify>,
    inner: Mutex<Inner>,
    /// Tells those who wait that `inner` has changed, in the order in which they came: calls that waited for a
    /// connection leave in the order in which they were made.
    changed: Notify,
}

struct Inner {
    state: State,
    history: History,
    /// Tasks that ever connected.
    tasks: u64,
}

enum State {
    /// Nothing connects: no call has come yet, or the task that connected was stopped.
    Idle,
    Connecting(Attempts),
    /// The last connection, be it over by now.
    Connected(Arc<Connection>),
}

/// How the attempts of one task go.
struct Attempts {
    number: u64,
    outcome: Outcome,
}

#[derive(Clone)]
enum Outcome {
    FirstUnderWay,
    /// The first one after the loss of a connection with calls is under way.
    AfterLoss(Outage),
    Failing(Outage),
}

impl Endpoint {
    pub(crate) fn new(address: Arc<str>, common: Common, connector: Connector) -> Arc<Self> {
        Self::in_state(State::Idle, address, common, Some(connector))
    }

    /// An endpoint with a connection that was made elsewhere; it is not made again.
    pub(crate) fn connected(
        address: Arc<str>,
        common: Common,
        connection: Arc<Connection>,
    ) -> Arc<Self> {
        Self::in_state(State::Connected(connection), address, common, None)
    }

    fn in_state(
        state: State,
        address: Arc<str>,
        common: Common,
        connector: Option<Connector>,
    ) -> Arc<Self> {
        let inner = Inner {
            state,
            history: History::default(),
            tasks: 0,
        };

        Arc::new(Self {
            address,
            common,
            connector,
            wanted: Arc::default(),
            inner: Mutex::new(inner),
            changed: Notify::new(),
        })
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// The connection, where there is one already.
    pub(crate) fn current(&self) -> Option<Arc<Connection>> {
        match &self.lock().state {
            State::Connected(connection) if connection.is_usable() => Some(Arc::clone(connection)),
            _ => None,
        }
    }

    /// The connection that was used last, be it over by now.
    pub(crate) fn latest(&self) -> Option<Arc<Connection>> {
        match &self.lock().state {
            State::Connected(connection) => Some(Arc::clone(connection)),
            State::Idle | State::Connecting(_) => None,
        }
    }

    /// Whether a connection that is over can be followed by another one.
    pub(crate) fn can_connect(&self) -> bool {
        self.connector.is_some()
    }

    /// Begins to connect, where that is not under way and there is no connection; nothing waits for it.
    pub(crate) fn begin_connecting(self: &Arc<Self>) {
        if let Some(connector) = &self.connector {
            let _ = self.join_or_begin(connector);
        }
    }

    /// A connection that takes calls: the one there is, or the one that is being opened.
    ///
    /// # Errors
    /// The last error of connecting, where that has failed for longer than `reconnect.fail_fast_after_ms`;
    /// the deadline, where it comes first. Either way nothing was sent.
    pub(crate) async fn connection(
        self: &Arc<Self>,
        deadline: Option<Instant>,
    ) -> Result<Arc<Connection>, Error> {
        let Some(connector) = &self.connector else {
            let over = || {
                self.not_sent(Cause::new(
                    "its connection has ended, and cannot be opened again",
                ))
            };
            return self.current().ok_or_else(over);
        };

        if let Some(connection) = self.join_or_begin(connector) {
            return Ok(connection);
        }

        let Some(deadline) = deadline else {
            return self.wait().await;
        };
        let late = |_| Error::new(Kind::Deadline { was_sent: false }, &self.address, None);
        timeout_at(deadline, self.wait()).await.map_err(late)?
    }

    fn not_sent(&self, cause: Cause) -> Error {
        Error::new(Kind::NotSent(cause), &self.address, None)
    }

    /// The connection, where there is one that takes calls; otherwise an attempt to connect is
    /// under way when this returns.
    fn join_or_begin(self: &Arc<Self>, connector: &Connector) -> Option<Arc<Connection>> {
        let mut inner = self.lock();
        match &inner.state {
            State::Connected(connection) if connection.is_usable() => {
                return Some(Arc::clone(connection));
            }
            State::Connecting(_) => return None,
            State::Idle | State::Connected(_) => {}
        }

        let connecting = self.begin(&mut inner, connector, None);
        drop(inner);
        tokio::spawn(connecting.run());
        None
    }

    /// Begins to connect; the locked state ensures that this is the only attempt. The task is spawned without the
    /// lock, which it takes when it is dropped, be it by a runtime that is going.
    fn begin(
        self: &Arc<Self>,
        inner: &mut Inner,
        connector: &Connector,
        lost: Option<Outage>,
    ) -> Connecting {
        let (now, config) = (Instant::now(), &self.common.config);
        let not_before = match &inner.state {
            State::Connected(old) => inner.history.replace(old, config, now),
            State::Idle | State::Connecting(_) => None,
        };

        let failing_since = lost.as_ref().map(|lost| lost.since);
        inner.tasks += 1;
        inner.state = State::Connecting(Attempts {
            number: inner.tasks,
            outcome: lost.map_or(Outcome::FirstUnderWay, Outcome::AfterLoss),
        });

        let course = Kept {
            endpoint: Arc::downgrade(self),
            number: inner.tasks,
            config: Arc::clone(config),
            wanted: Arc::clone(&self.wanted),
        };
        Connecting {
            course,
            address: Arc::clone(&self.address),
            common: self.common.clone(),
            connector: connector.clone(),
            failing_since,
            turned_away: inner.history.turned_away(config, now),
            not_before,
        }
    }

    /// The attempts of this task fail.
    fn is_failing(&self, number: u64, outage: Outage) {
        if let State::Connecting(attempts) = &mut self.lock().state
            && attempts.number == number
        {
            attempts.outcome = Outcome::Failing(outage);
        }
        self.changed.notify_waiters();
    }

    fn has_connected(&self, connection: Arc<Connection>) {
        let mut inner = self.lock();
        if inner.history.has_opened(Instant::now()) {
            self.common.metrics.reconnected();
        }
        inner.state = State::Connected(connection);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// A connection is over. One that was in use is wanted again: the next call shall find it, or a
    /// reason to fail at once.
    fn lost(self: &Arc<Self>, loss: Loss) {
        let (mut inner, now) = (self.lock(), Instant::now());
        inner.history.note_end(&loss, &self.common.config, now);

        let Some(connector) = self.connector.as_ref().filter(|_| loss.calls > 0) else {
            return;
        };

        let is_open = match &inner.state {
            State::Connected(connection) => connection.is_usable(),
            State::Connecting(_) => true,
            State::Idle => false,
        };
        if !is_open {
            let outage = Outage {
                since: now,
                last: loss.cause,
                is_final: false,
                retry_after: None,
            };
            let connecting = self.begin(&mut inner, connector, Some(outage));
            drop(inner);
            tokio::spawn(connecting.run());
        }
    }

    /// Changes under the lock are single steps, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
