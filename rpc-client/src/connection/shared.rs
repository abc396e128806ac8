//! The state that callers and the driver share: the output, the calls in flight, and why there are no new ones.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, shuttle)))]
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use rpc_core::CmdId;
use rpc_core::frame::RequestEncoder;
use rpc_core::in_flight::InFlight;
#[cfg(all(test, shuttle))]
use shuttle::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::flush::Reached;
use super::in_flight::{Answers, Progress, Slot};
use super::key_stores::KeyStores;
use super::liveness::Silence;
use super::start::{CallKind, Due, Frame};
use super::{Common, Refusal};
use crate::config::Config;
use crate::error::{Cause, Error, Kind};
use crate::events::ConnectionEvent;
use crate::metrics::{Tally, Watched};
use crate::time::after;

pub(super) struct Shared {
    pub(super) address: Arc<str>,
    pub(super) number: u64,
    pub(super) common: Common,
    pub(super) state: Mutex<ConnectionState>,
    /// Tells callers that wait for room in the table or in the output.
    pub(super) room: Notify,
    /// What the server has told of its stores of keys.
    pub(super) key_stores: KeyStores,
}

impl Shared {
    pub(super) fn new(address: Arc<str>, common: Common) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);

        let calls_max = match common.config.pool.undelimited_replies {
            // A reply that never comes must not be looked for in that of the next call.
            true => 1,
            false => common.config.limits.in_flight_per_connection,
        };

        let state = ConnectionState {
            output: Vec::new(),
            encoder: RequestEncoder::default(),
            appended: 0,
            reached: Reached::default(),
            admitted: 0,
            calls: InFlight::new(calls_max),
            waiting_for_room: 0,
            driver: None,
            next_deadline: None,
            untimed: Vec::new(),
            tally: Tally::default(),
            leaving: None,
            is_closing: false,
            ended: None,
            answers: Answers::None,
            uses_ids: false,
        };

        Self {
            address,
            // Relaxed: only uniqueness matters.
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            common,
            state: Mutex::new(state),
            room: Notify::new(),
            key_stores: KeyStores::default(),
        }
    }

    /// A panic while the lock was held cannot have left the table half changed in a way that harms:
    /// each change is one step.
    pub(super) fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn error(&self, kind: Kind) -> Error {
        Error::new(kind, &self.address, Some(self.number))
    }

    pub(super) fn tell_of_connecting(&self) {
        let Self {
            address, number, ..
        } = self;

        tracing::debug!(%address, connection = number, "connected");
        let event = || ConnectionEvent::Connected {
            address: Arc::clone(address),
            connection: *number,
        };
        self.common.events.send(event);
    }

    pub(super) fn tell_of_goaway(&self, message: &str) {
        let Self {
            address, number, ..
        } = self;

        tracing::info!(%address, connection = number, reason = %message, "goaway");
        self.common.events.send(|| ConnectionEvent::Goaway {
            address: Arc::clone(address),
            connection: *number,
            message: Arc::from(message),
        });
    }

    pub(super) fn tell_of_the_end(&self, cause: &Cause) {
        let Self {
            address, number, ..
        } = self;

        tracing::debug!(%address, connection = number, reason = %cause.message, "disconnected");
        self.common.events.send(|| ConnectionEvent::Disconnected {
            address: Arc::clone(address),
            connection: *number,
            reason: Arc::from(&*cause.message),
        });
    }
}

impl Watched for Shared {
    fn is_open(&self) -> bool {
        self.lock().ended.is_none()
    }

    fn each_in_flight(&self, count: &mut dyn FnMut(CmdId)) {
        for (_, slot) in self.lock().calls.iter_mut() {
            if matches!(slot.progress, Progress::Waiting) {
                count(slot.cmdid);
            }
        }
    }
}

pub(super) struct ConnectionState {
    /// Frames that the driver has not taken yet.
    pub(super) output: Vec<u8>,
    pub(super) encoder: RequestEncoder,
    /// Bytes that were ever put into `output`.
    pub(super) appended: u64,
    /// How far they have come; what the system has, the stream keeps in no buffer of its own.
    pub(super) reached: Reached,
    /// Calls that were ever admitted.
    pub(super) admitted: u64,
    pub(super) calls: InFlight<Slot>,
    /// Callers that wait for `room`.
    pub(super) waiting_for_room: usize,
    pub(super) driver: Option<Waker>,
    /// When the driver looks for calls that are past their deadline.
    pub(super) next_deadline: Option<Instant>,
    /// Calls that the driver has not seen, and how long they have from then on, where their time begins there.
    pub(super) untimed: Vec<(u64, Option<Duration>)>,
    /// How calls have ended of which the client was not told yet.
    pub(super) tally: Tally,
    /// Why it takes no new calls, though those in flight go on.
    pub(super) leaving: Option<Leaving>,
    /// The last handle is gone.
    pub(super) is_closing: bool,
    pub(super) ended: Option<Cause>,
    /// The best that the replies so far have come to.
    pub(super) answers: Answers,
    /// Whether any call had an id: the server of one that has none may know no ids.
    pub(super) uses_ids: bool,
}

pub(super) enum Leaving {
    /// There was no call for `timeouts.idle_timeout_ms`.
    Idle,
    /// The server has said goaway, and this about it.
    Goaway(String),
    /// A call was given up on a connection whose server may leave it without a reply: the next one could be for it.
    Unanswered,
    /// A line that was only glanced at turned out to make no sense, and does not say for sure whom it was for. The
    /// driver ends the connection.
    Nonsense(String),
}

impl ConnectionState {
    pub(super) fn admit(&mut self, config: &Config) -> Result<(), Refusal> {
        if self.is_over() {
            return Err(Refusal::Over);
        }

        if self.output.len() >= config.limits.output_bytes_max {
            return Err(Refusal::Full);
        }

        self.admitted += 1;
        Ok(())
    }

    /// Whether it takes no new calls any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some() || self.leaving.is_some()
    }

    /// Takes a slot, and puts the call's frame into the output.
    pub(super) fn start_call(
        &mut self,
        config: &Config,
        frame: &impl Frame,
        due: Due,
        kind: CallKind,
        waker: &Waker,
    ) -> Result<u64, Refusal> {
        self.admit(config)?;

        let is_ordered = kind.is_ordered();
        let opened = if is_ordered {
            self.calls.open_ordered()
        } else {
            self.calls.open()
        };
        let Some((id, slot)) = opened else {
            return Err(Refusal::Full);
        };

        self.uses_ids |= !is_ordered;
        let before = self.output.len();
        let sent_id = (!is_ordered).then_some(id);
        frame.write(&mut self.output, &mut self.encoder, sent_id);
        self.appended += (self.output.len() - before) as u64;

        slot.progress = Progress::Waiting;
        slot.waker = Some(waker.clone());
        slot.deadline = None;
        slot.frame_end = self.appended;
        slot.kind = kind;
        slot.cmdid = frame.cmdid();
        slot.begun = None;

        // The driver sees all calls that have come since it was woken, so the first of them wakes it.
        let is_first = self.untimed.is_empty();
        let is_next = match due {
            Due::Never => {
                self.untimed.push((id, None));
                false
            }
            Due::In(limit) => {
                self.untimed.push((id, Some(limit)));
                false
            }
            Due::At(deadline) => {
                slot.deadline = Some(deadline);
                self.untimed.push((id, None));
                self.is_next(deadline)
            }
        };

        if before == 0 || is_first || is_next {
            self.wake_driver();
        }

        Ok(id)
    }

    /// Notes a deadline. True where it is before all others.
    fn is_next(&mut self, deadline: Instant) -> bool {
        let is_next = self.next_deadline.is_none_or(|next| deadline < next);
        if is_next {
            self.next_deadline = Some(deadline);
        }
        is_next
    }

    /// Begins the time of the calls that have come since the last look.
    pub(super) fn begin_time(&mut self) {
        if self.untimed.is_empty() {
            return;
        }

        let now = Instant::now();
        let mut untimed = mem::take(&mut self.untimed);
        let mut last = None;

        for (id, limit) in untimed.drain(..) {
            let Some(slot) = self.calls.get_mut(id) else {
                continue;
            };

            slot.begun = Some(now);
            let Some(limit) = limit else {
                continue;
            };

            // Most calls have the same limit.
            if let Some((same, deadline)) = last
                && same == limit
            {
                slot.deadline = Some(deadline);
                continue;
            }

            let deadline = after(now, limit);
            slot.deadline = Some(deadline);
            self.is_next(deadline);
            last = Some((limit, deadline));
        }

        self.untimed = untimed;
    }

    /// What the server's silence says about it.
    pub(super) fn silence(&self, config: &Config, appended_when_heard: u64) -> Silence {
        let is_idle = || self.calls.is_empty() && self.appended == appended_when_heard;
        if self.uses_ids && (config.liveness.ping_idle || !is_idle()) {
            Silence::Counts
        } else {
            Silence::SaysNothing
        }
    }

    pub(super) fn has_room(&self, config: &Config, kind: CallKind) -> bool {
        let has_slot = match kind.is_ordered() {
            true => self.calls.has_room_for_ordered(),
            false => self.calls.has_room(),
        };
        has_slot && self.output.len() < config.limits.output_bytes_max
    }

    /// Called by the code that makes room, under the lock.
    pub(super) fn tell_of_room(&mut self, room: &Notify) {
        if self.waiting_for_room > 0 {
            self.waiting_for_room = 0;
            room.notify_waiters();
        }
    }

    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.output.len();
        write(&mut self.output);
        self.appended += (self.output.len() - before) as u64;
        if before == 0 {
            self.wake_driver();
        }
    }

    /// Whether there is nothing left to do: no new calls, none in flight, and no caller waits for an answer.
    pub(super) fn is_done(&self) -> bool {
        self.leaving.is_some() && self.calls.is_empty() && !self.reached.is_asking()
    }

    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}
