//! One endpoint: a connection that is opened when it is first needed, by one attempt at a time, and
//! again after it was lost: by the next call, or at once where it was lost with calls in flight.

pub(crate) mod authenticate;
pub(crate) mod connect;
mod dial;
mod history;
pub(crate) mod pool;
mod progress;
#[cfg(feature = "tls")]
mod tls;
mod watched;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rpc_core::backoff::half_jitter;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connection::{Common, Connection, Loss};
use crate::error::{Cause, Error, Kind};

use authenticate::Refusal;
use connect::Connector;
use dial::Tried;
use history::{History, TurnedAway};

/// The endpoint's connection, and who is about to open one.
pub(crate) struct Endpoint {
    address: Arc<str>,
    common: Common,
    /// None where the address is the name of a byte stream made elsewhere.
    connector: Option<Connector>,
    /// Tells who is connecting that calls come in.
    wanted: Arc<Notify>,
    history: Mutex<History>,
    state: Mutex<State>,
}

enum State {
    /// Nobody has asked yet.
    Idle,
    /// Somebody is connecting; those who wait watch how it goes.
    Connecting(progress::Receiver<Attempts>),
    /// The last connection, be it over by now.
    Connected(Arc<Connection>),
}

/// How the attempts to connect go.
#[derive(Clone)]
enum Attempts {
    FirstUnderWay,
    /// The first one after the loss of a connection with calls.
    AfterLoss(Failure),
    Failing(Failure),
    Succeeded(Arc<Connection>),
}

#[derive(Clone)]
struct Failure {
    since: Instant,
    last: Cause,
    /// Whether waiting is of no use: the server has looked at the token and refused it.
    is_final: bool,
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
        Arc::new(Self {
            address,
            common,
            connector,
            wanted: Arc::default(),
            history: Mutex::default(),
            state: Mutex::new(state),
        })
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.address
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

    /// Whether a connection that is over can be followed by another one.
    pub(crate) fn can_connect(&self) -> bool {
        self.connector.is_some()
    }

    /// Begins to connect, where that is not under way and there is no connection; nobody waits for it.
    pub(crate) fn open(self: &Arc<Self>) {
        if let Some(connector) = &self.connector {
            let _ = self.join_or_begin(connector);
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
                self.not_sent(Cause::new(
                    "its connection is over, and was not one that can be opened again",
                ))
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
                    Attempts::AfterLoss(_) if self.common.config.fail_fast_after().is_zero() => {
                        None
                    }
                    Attempts::AfterLoss(failure) | Attempts::Failing(failure) => {
                        self.wanted.notify_one();
                        let until = failure
                            .since
                            .checked_add(self.common.config.fail_fast_after());
                        if failure.is_final || until.is_some_and(|until| until <= Instant::now()) {
                            return Err(self.not_sent(failure.last));
                        }
                        until
                    }
                };

                let changed = attempts.changed();
                let changed = match patience {
                    Some(until) => tokio::time::timeout_at(until, changed)
                        .await
                        .unwrap_or(Ok(())),
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
                Err(_) => Err(Error::new(
                    Kind::Deadline { was_sent: false },
                    &self.address,
                    None,
                )),
            },
        }
    }

    fn not_sent(&self, cause: Cause) -> Error {
        Error::new(Kind::NotSent(cause), &self.address, None)
    }

    fn join_or_begin(
        self: &Arc<Self>,
        connector: &Connector,
    ) -> Result<Arc<Connection>, progress::Receiver<Attempts>> {
        let mut state = self.lock();
        match &*state {
            State::Connected(connection) if connection.is_usable() => Ok(Arc::clone(connection)),
            // Sender gone without success: its runtime was shut down under it.
            State::Connecting(attempts) if attempts.has_changed().is_ok() => Err(attempts.clone()),
            State::Idle | State::Connecting(_) | State::Connected(_) => {
                Err(self.begin(&mut state, connector, None))
            }
        }
    }

    /// Begins to connect; the state that is locked sees to it that nobody else does.
    fn begin(
        self: &Arc<Self>,
        state: &mut State,
        connector: &Connector,
        lost: Option<Failure>,
    ) -> progress::Receiver<Attempts> {
        let (now, config) = (Instant::now(), &self.common.config);
        let mut history = self.history();
        let not_before = match &*state {
            State::Connected(old) => history.replace(old, config, now),
            State::Idle | State::Connecting(_) => None,
        };
        let turned_away = history.turned_away(config, now);
        drop(history);

        let failing_since = lost.as_ref().map(|lost| lost.since);
        let (progress, attempts) =
            progress::channel(lost.map_or(Attempts::FirstUnderWay, Attempts::AfterLoss));
        *state = State::Connecting(attempts.clone());

        let connecting = Connecting {
            endpoint: Arc::downgrade(self),
            address: Arc::clone(&self.address),
            common: self.common.clone(),
            connector: connector.clone(),
            wanted: Arc::clone(&self.wanted),
            failing_since,
            turned_away,
            not_before,
        };

        tokio::spawn(connecting.run(progress));
        attempts
    }

    /// A connection is over. One that was in use is wanted again: the next call shall find it, or a
    /// reason to fail at once.
    fn lost(self: &Arc<Self>, loss: Loss) {
        self.history()
            .note_end(&loss, &self.common.config, Instant::now());

        let Some(connector) = self.connector.as_ref().filter(|_| loss.calls > 0) else {
            return;
        };

        let mut state = self.lock();
        let is_open = match &*state {
            State::Connected(connection) => connection.is_usable(),
            State::Connecting(_) => true,
            State::Idle => false,
        };
        if !is_open {
            let failure = Failure {
                since: Instant::now(),
                last: loss.cause,
                is_final: false,
            };
            self.begin(&mut state, connector, Some(failure));
        }
    }

    /// Taken for single steps, also with the state locked.
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes of the state are single steps, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one task that connects. It holds the endpoint no longer than others do.
struct Connecting {
    endpoint: Weak<Endpoint>,
    address: Arc<str>,
    common: Common,
    connector: Connector,
    wanted: Arc<Notify>,
    failing_since: Option<Instant>,
    turned_away: Option<TurnedAway>,
    not_before: Option<Instant>,
}

impl Connecting {
    /// Tries until it succeeds, for as long as anybody holds the endpoint.
    async fn run(mut self, progress: progress::Sender<Attempts>) {
        let base = Duration::from_millis(self.common.config.reconnect_base_ms);
        let cap = Duration::from_millis(self.common.config.reconnect_cap_ms);
        let mut backoff = self.common.config.backoff();

        if let Some(TurnedAway {
            times,
            failure,
            retry_after,
            ..
        }) = self.turned_away.take()
        {
            if times > 1 {
                // Those who wait are told as if connecting had failed: it is no better than that.
                self.failing_since.get_or_insert(failure.since);
                progress.send_replace(Attempts::Failing(failure));
            }

            for _ in 1..times.min(16) {
                backoff.next_delay();
            }

            if let Some(after) = retry_after {
                // It has said when; not all who were told so come back in the same moment.
                tokio::time::sleep(half_jitter(after.min(cap) * 2)).await;
            } else if times > 1 {
                self.pause(backoff.next_delay()).await;
            }
        }

        if let Some(at) = self.not_before {
            tokio::time::sleep_until(at).await;
        }

        while self.endpoint.strong_count() > 0 {
            let refusal = match self.attempt().await {
                Ok(connection) => {
                    if let Some(endpoint) = self.endpoint.upgrade() {
                        endpoint.history().has_opened(Instant::now());
                        *endpoint.lock() = State::Connected(Arc::clone(&connection));
                    }
                    progress.send_replace(Attempts::Succeeded(connection));
                    return;
                }
                Err(refusal) => refusal,
            };

            let since = *self.failing_since.get_or_insert_with(Instant::now);
            let delay = backoff.next_delay_after(since.elapsed());
            refusal.tell(&self.address);

            match refusal {
                Refusal::Failed(last) => {
                    progress.send_replace(Attempts::Failing(Failure {
                        since,
                        last,
                        is_final: false,
                    }));
                    self.pause(delay).await;
                }
                Refusal::Token(last, after) => {
                    progress.send_replace(Attempts::Failing(Failure {
                        since,
                        last,
                        is_final: true,
                    }));
                    // Calls do not shorten this one: the answer stays the same until somebody acts.
                    let pause = after.unwrap_or_default().max(cap);
                    tokio::time::sleep(pause + half_jitter(base)).await;
                }
            }
        }
    }

    async fn attempt(&self) -> Result<Arc<Connection>, Refusal> {
        let endpoint = self.endpoint.clone();
        let at_end = move |loss| {
            if let Some(endpoint) = endpoint.upgrade() {
                endpoint.lost(loss);
            }
        };

        let tried = Tried::default();
        let opening = self
            .connector
            .open(&self.address, &self.common, &tried, at_end);
        match tokio::time::timeout(self.common.config.connect_timeout(), opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Refusal::no_answer(&self.common.config, &tried)),
        }
    }

    /// Waits for the next attempt: the back-off's time, or a shorter one where somebody calls.
    async fn pause(&self, delay: Duration) {
        let wanted_within = Duration::from_millis(self.common.config.reconnect_wanted_ms);
        let wanted = async {
            if wanted_within.is_zero() {
                std::future::pending::<()>().await;
            }

            let least = tokio::time::sleep(half_jitter(wanted_within));
            self.wanted.notified().await;
            least.await;
        };

        tokio::select! {
            // In this order, and not in a random one, so that a simulated run can be repeated.
            biased;
            () = tokio::time::sleep(delay) => {}
            () = wanted => {}
        }
    }
}
