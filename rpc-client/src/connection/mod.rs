//! The one room of the client that moves bytes: a connection, its calls, and the task that drives it.
//!
//! Callers write their frames into one shared buffer and wait in a slot (`state`); the driver writes what has
//! gathered, reads replies, and wakes the slots that they are for (`driver`); a call's `Drop` is its way out
//! (`pending`). Between them stands one mutex, held for copies in memory only. Nothing is allocated,
//! spawned or sent through a channel for a call. Its twin is rpc-server's `connection`.

mod driver;
mod flush;
mod liveness;
#[cfg(all(test, shuttle))]
mod models;
mod pending;
mod start;
mod state;

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, shuttle)))]
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rpc_core::frame::{RequestEncoder, encode_cancel};
use rpc_core::in_flight::InFlight;
#[cfg(all(test, shuttle))]
use shuttle::sync::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use self::driver::Driver;
pub(crate) use self::flush::LostOneways;
use self::flush::Reached;
pub(crate) use self::pending::{PendingCall, PendingStream, decode};
pub(crate) use self::start::{CallKind, Due, Frame, Refused, Usual};
pub(crate) use self::state::Data;
use self::state::{Answers, Failure, Leaving, Progress, State};
use crate::config::Config;
use crate::error::{Cause, Error, Kind};
use crate::events::{ConnectionEvent, Events};

const NO_STREAM_EXPECTED: &str = "the command answers with a stream; call it as one";

/// One end of a connection, as callers hold it. Dropping the last handle lets the driver write what
/// is left and close.
pub(crate) struct Connection(Arc<Shared>);

/// What the connections of a client have in common.
#[derive(Clone, Default)]
pub(crate) struct Common {
    pub(crate) config: Arc<Config>,
    pub(crate) events: Events,
    pub(crate) lost_oneways: LostOneways,
}

struct Shared {
    address: Arc<str>,
    number: u64,
    common: Common,
    state: Mutex<State>,
    /// Tells callers that wait for room in the table or in the output.
    room: Notify,
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

impl Connection {
    /// Takes a byte stream into use and returns the handle and the driver, which somebody must run.
    pub(crate) fn new<IO>(
        io: IO,
        address: Arc<str>,
        common: Common,
    ) -> (Arc<Self>, impl Future<Output = Loss> + Send + use<IO>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        static NEXT: AtomicU64 = AtomicU64::new(1);

        let state = State {
            output: Vec::new(),
            encoder: RequestEncoder::default(),
            appended: 0,
            reached: Reached::default(),
            admitted: 0,
            calls: InFlight::new(common.config.in_flight_max),
            waiting_for_room: 0,
            driver: None,
            next_deadline: None,
            untimed: Vec::new(),
            leaving: None,
            is_closing: false,
            ended: None,
            answers: Answers::None,
            uses_ids: false,
        };

        let shared = Arc::new(Shared {
            address,
            // Relaxed: only uniqueness matters.
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            common,
            state: Mutex::new(state),
            room: Notify::new(),
        });
        shared.tell_of_connecting();

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
            (None, _) => Cause::new("the connection was not used, and is being closed"),
        };
        self.0.error(Kind::NotSent(cause))
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

    /// Whether it takes no calls because there were none for a while.
    pub(crate) fn was_idle(&self) -> bool {
        matches!(self.0.lock().leaving, Some(Leaving::Idle))
    }

    fn end_of(&self, failure: Failure) -> Error {
        let kind = match failure {
            Failure::Status(status) => Kind::Status(status),
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

    /// Frees a call's slot. `is_given_up`: the server may still be at work, and is told.
    fn release(&self, state: &mut State, id: u64, is_given_up: bool) {
        let Some(slot) = state.calls.close(id) else {
            return;
        };

        let is_ordered = slot.kind.is_ordered();
        slot.progress = Progress::Waiting;
        slot.waker = None;
        slot.items.clear();

        if is_given_up && !is_ordered && state.ended.is_none() {
            state.append(|output| encode_cancel(output, id));
        }

        state.tell_of_room(&self.0.room);
        if state.is_done() {
            state.wake_driver();
        }
    }
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

impl Shared {
    /// A panic while the lock was held cannot have left the table half changed in a way that harms:
    /// each change is one step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: Kind) -> Error {
        Error::new(kind, &self.address, Some(self.number))
    }

    fn tell_of_connecting(&self) {
        let Self {
            address, number, ..
        } = self;

        tracing::debug!(%address, connection = number, "connected");
        let event = || ConnectionEvent::Connected {
            address: Arc::clone(address),
            connection: *number,
        };
        self.common.events.tell(event);
    }

    fn tell_of_goaway(&self, message: &str) {
        let Self {
            address, number, ..
        } = self;

        tracing::info!(%address, connection = number, reason = %message, "goaway");
        self.common.events.tell(|| ConnectionEvent::Goaway {
            address: Arc::clone(address),
            connection: *number,
            message: Arc::from(message),
        });
    }

    fn tell_of_the_end(&self, cause: &Cause) {
        let Self {
            address, number, ..
        } = self;

        tracing::debug!(%address, connection = number, reason = %cause.message, "disconnected");
        self.common.events.tell(|| ConnectionEvent::Disconnected {
            address: Arc::clone(address),
            connection: *number,
            reason: Arc::from(&*cause.message),
        });
    }
}
