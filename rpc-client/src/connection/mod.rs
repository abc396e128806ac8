//! The one room of the client that moves bytes: a connection, its calls, and the task that drives it.
//!
//! Callers write their frames into one shared buffer and wait in a slot (`state`); the driver writes what has
//! gathered, reads replies, and wakes the slots that they are for (`driver`); a call's `Drop` is its way out
//! (`pending`). Between them stands one mutex, held for copies in memory only. Nothing is allocated,
//! spawned or sent through a channel for a call. Its twin is rpc-server's `connection`.

mod driver;
mod flush;
mod in_flight;
mod key_stores;
mod liveness;
#[cfg(all(test, shuttle))]
mod models;
mod pending;
mod shared;
mod start;
mod stream;

use std::future::{Future, poll_fn};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rpc_core::frame::encode_cancel;
use rpc_core::in_flight::OrderedReply;
use tokio::io::{AsyncRead, AsyncWrite};

use self::driver::Driver;
pub(crate) use self::flush::LostOneways;
pub(crate) use self::in_flight::Data;
use self::in_flight::{Answers, Failure, Progress};
pub(crate) use self::key_stores::Repetition;
pub(crate) use self::pending::{PendingCall, decode};
use self::shared::{ConnectionState, Leaving, Shared};
pub(crate) use self::start::{CallKind, Due, FastRequest, Frame, Refused};
pub(crate) use self::stream::PendingStream;
use crate::config::Config;
use crate::error::{Cause, Error, Kind};
use crate::events::Events;
use crate::metrics::Metrics;

/// One end of a connection, as callers hold it. Dropping the last handle lets the driver write what
/// is left and close.
pub(crate) struct Connection(Arc<Shared>);

/// What the connections of a client have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) config: Arc<Config>,
    pub(crate) events: Events,
    pub(crate) lost_oneways: LostOneways,
    pub(crate) metrics: Arc<Metrics>,
}

impl Common {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            metrics: Arc::new(Metrics::new(&config)),
            config,
            events: Events::default(),
            lost_oneways: LostOneways::default(),
        }
    }
}

/// What the driver reports at its end.
pub(crate) struct Loss {
    /// Why the connection ended.
    pub(crate) cause: Cause,
    /// Calls that it left behind without a reply.
    pub(crate) calls: usize,
    /// Its number within this process.
    pub(crate) connection: u64,
    /// Whether any reply was more than a rejection.
    pub(crate) has_served: bool,
    /// Whether this side was done with it, and not sent away.
    pub(crate) is_wanted: bool,
    /// When the server wants to see the next connection, where it said so.
    pub(crate) retry_after: Option<Duration>,
}

/// Why a call could not be started.
pub(crate) enum Refusal {
    /// The connection takes no new calls; another one may.
    Over,
    /// Too much waits; [`Connection::wait_for_room`] says when to try again.
    Full,
}

/// The way in which a call leaves its slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CallEnd {
    /// The server has finished with it.
    Answered,
    /// The server may still be at work, and is told.
    GivenUp,
}

impl Connection {
    /// Takes a byte stream into use and returns the handle and the driver, which the caller must run.
    pub(crate) fn new<IO>(
        io: IO,
        address: Arc<str>,
        common: Common,
    ) -> (Arc<Self>, impl Future<Output = Loss> + Send + use<IO>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let shared = Arc::new(Shared::new(address, common));
        shared.tell_of_connecting();
        let watched: Weak<Shared> = Arc::downgrade(&shared);
        shared.common.metrics.opened(watched);

        let mut driver = Driver::new(io, Arc::clone(&shared));
        let run = async move {
            let ended = poll_fn(|cx| driver.poll(cx)).await;
            driver.finish(ended)
        };

        (Arc::new(Self(shared)), run)
    }

    /// Whether it takes new calls.
    pub(crate) fn is_usable(&self) -> bool {
        !self.0.lock().is_over()
    }

    /// Why it takes no calls.
    pub(crate) fn over(&self) -> Error {
        let state = self.0.lock();
        let cause = match (&state.ended, &state.leaving) {
            (Some(ended), _) => ended.clone(),
            (None, Some(Leaving::Goaway(message))) => goaway(message),
            (None, Some(Leaving::Nonsense(what))) => given_up(what),
            (None, Some(Leaving::Unanswered)) => {
                Cause::new("a call of the connection was given up, and it is being closed")
            }
            (None, _) => Cause::new("the connection was not used, and is being closed"),
        };
        self.0.error(Kind::NotSent(cause))
    }

    /// The address that it leads to.
    pub(crate) fn address(&self) -> &Arc<str> {
        &self.0.address
    }

    /// Its number within this process.
    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    /// Why it takes no calls, where the server has sent this client away and has served none of its calls.
    pub(crate) fn sent_away_unserved(&self) -> Option<Cause> {
        let state = self.0.lock();
        match &state.leaving {
            Some(Leaving::Goaway(message)) if state.answers < Answers::Served => {
                Some(goaway(message))
            }
            _ => None,
        }
    }

    /// Whether it takes no calls because none came for a while.
    pub(crate) fn was_idle(&self) -> bool {
        matches!(self.0.lock().leaving, Some(Leaving::Idle))
    }

    fn end_of(&self, failure: Failure) -> Error {
        let kind = match failure {
            Failure::Status { status, timing } => {
                return self.0.error(Kind::Status(status)).with_timing(timing);
            }
            Failure::Nonsense(message) => Kind::Data(Cause::new(message)),
            Failure::Unread(message) => Kind::Unread(message),
            Failure::Lost {
                may_have_run: true,
                cause,
            } => Kind::MayHaveRun(cause),
            Failure::Lost {
                may_have_run: false,
                cause,
            } => Kind::NotSent(cause),
            // Even a frame that waits still leaves when the peer reads again.
            Failure::Expired => Kind::Deadline { was_sent: true },
        };

        self.0.error(kind)
    }

    /// Frees a call's slot.
    fn release(&self, state: &mut ConnectionState, id: u64, end: CallEnd) {
        let Some(slot) = state.calls.close(id) else {
            return;
        };

        let is_ordered = slot.kind.is_ordered();
        slot.progress = Progress::Waiting;
        slot.waker = None;
        slot.items.clear();

        if end == CallEnd::GivenUp && !is_ordered && state.ended.is_none() {
            state.append(|output| encode_cancel(output, id));
        }

        if self.0.common.config.pool.undelimited_replies
            && state.calls.peek_ordered() == OrderedReply::GivenUp
        {
            state.leaving.get_or_insert(Leaving::Unanswered);
        }

        state.tell_of_room(&self.0.room);
        if state.is_done() {
            state.wake_driver();
        }
    }
}

/// The reason of a connection that this side has given up.
fn given_up(what: &str) -> Cause {
    Cause::new(format!("the connection was given up: {what}"))
}

fn goaway(message: &str) -> Cause {
    Cause::new(format!("the server asked to go away: {message}"))
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closing = true;
        state.wake_driver();
    }
}
