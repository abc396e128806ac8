//! The bytes that a connection may hold: its own limit, or its share where memory is scarce.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::ahead::Ahead;
use super::back_pressure::BackPressure;
use super::session::Session;
use super::timers::Timer;
use crate::limit::{Level, Memory, MemoryShare};
use crate::metrics::add;

/// Bytes that are read of a connection whatever there is, for the cancels and credits among them.
const CONTROL_BYTES: usize = 4 * 1024;

/// After this time a connection that is below its share, and that there is still no memory for, looks again.
const RETRY: Duration = Duration::from_millis(5);

/// What a connection may hold, as of the last look.
pub(super) struct Budget {
    share: MemoryShare,
    level: Level,
    own_max: usize,
    bytes_max: usize,
    /// Its calls were ended in this turn.
    has_shed: bool,
    /// Results of blocking work waited for it at the end of the last turn.
    has_results: bool,
}

impl Budget {
    pub(super) fn new(memory: &Arc<Memory>, connection: u64, own_max: usize) -> Self {
        Self {
            share: MemoryShare::none(memory, connection),
            level: Level::Enough,
            own_max,
            bytes_max: own_max,
            has_shed: false,
            has_results: false,
        }
    }

    /// Bytes at which the connection waits.
    #[inline]
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether there is memory for all connections.
    #[inline]
    pub(super) fn is_enough(&self) -> bool {
        self.level == Level::Enough
    }

    #[inline]
    fn look(&mut self, memory: &Memory) {
        self.level = memory.level();
        self.bytes_max = match self.level {
            Level::Enough => self.own_max,
            Level::Scarce | Level::Exhausted => self.own_max.min(memory.share()),
        };
    }
}

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Looks how much memory there is for this turn, and how many calls there may be.
    #[inline]
    pub(super) fn look_at_limits(&mut self) {
        self.budget.look(&self.host.memory);
        self.call_count.look(self.in_flight.calls());
    }

    /// Bytes that the connection holds: the line being read, its calls in flight, and its output.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.peer.held_bytes() + self.held_beside_calls()
    }

    /// Those of them that calls which have begun do not hold.
    #[inline]
    fn held_beside_calls(&self) -> usize {
        self.input_bytes + self.in_flight.waiting_bytes() + self.output.held_bytes()
    }

    /// Bytes that calls which have begun may hold, beside what the connection holds for others.
    #[inline]
    pub(super) fn calls_bytes_max(&self) -> usize {
        self.budget
            .bytes_max
            .saturating_sub(self.held_beside_calls())
    }

    /// Looks how much room there is for items without credit.
    #[inline]
    pub(super) fn look_at_room_ahead(&self) {
        if let Some(ahead) = self.in_flight.ahead() {
            ahead.set_bytes_max(self.calls_bytes_max());
        }
    }

    /// Whether it is the turn of a stream that waits for room for an item without credit.
    fn has_room_ahead(&self) -> bool {
        self.look_at_room_ahead();
        let is_turn = self.in_flight.ahead().is_some_and(Ahead::is_turn);
        is_turn && self.may_send_items()
    }

    /// Whether a stream waits for such room.
    #[inline]
    fn waits_for_room_ahead(&self) -> bool {
        self.in_flight.ahead().is_some_and(Ahead::has_waiting)
    }

    /// Bytes that may be read now: up to the connection's share, and no more than there is for all. One whose calls may
    /// wait for a cancel or for credit is read a little further.
    #[inline]
    pub(super) fn read_bytes_max(&self) -> usize {
        if self.budget.is_enough() {
            return usize::MAX;
        }

        let room = self.budget.bytes_max.saturating_sub(self.held_bytes());
        let least = match self.in_flight.len() {
            0 => room.min(CONTROL_BYTES),
            _ => CONTROL_BYTES,
        };

        let room = room.min(self.host.memory.room());
        room.max(least.saturating_sub(self.input_bytes))
    }

    /// Has a connection that is below its share, and is not read because the largest holders have not given back yet
    /// what they have to, look again soon.
    pub(super) fn retry_for_memory(&mut self) {
        let is_below_share = self.held_bytes() < self.budget.bytes_max;
        if !self.budget.is_enough() && is_below_share && self.has_room(BackPressure::Output) {
            self.timers
                .set_once(Timer::Memory, || Instant::now() + RETRY);
        }
    }

    /// Tells what the connection holds, and has it woken when it need not wait for others any more.
    #[inline]
    pub(super) fn tell_held_bytes(&mut self, waker: &Waker) {
        let held = self.held_bytes();
        // Results of blocking work are told as they are built.
        let told = self.peer.held_beside_results() + self.held_beside_calls();
        let is_told = self.budget.share.publish(told);
        let has_results = held > told;
        let before = std::mem::replace(&mut self.budget.has_results, has_results);
        if is_told || has_results || before {
            self.stats.tell_held_bytes(held);
        }

        if !self.budget.is_enough() || self.host.memory.level() != Level::Enough {
            self.wait_for_memory(held, waker);
        }
    }

    /// Has the connection woken when what its calls hold is given back elsewhere, as by work that has outlived its call,
    /// if it waits for that: it holds all that it may, a stream waits for room, or no call is left whose end would wake
    /// it, so that what it has told to the count of all connections would stay too much. Returns whether it has room by
    /// now.
    #[inline]
    pub(super) fn wait_for_room(&mut self, waker: &Waker) -> bool {
        let is_full = self.is_full();
        let is_outlived = self.peer.held_bytes() > 0 && self.in_flight.len() == 0;
        if !is_full && !is_outlived && !self.waits_for_room_ahead() {
            return false;
        }

        self.peer.wait_for_room(waker);
        // What was given back just before has woken no task.
        self.tell_held_bytes(waker);
        is_full && !self.is_full() || self.has_room_ahead()
    }

    fn is_full(&self) -> bool {
        self.held_bytes() >= self.budget.bytes_max
    }

    #[cold]
    fn wait_for_memory(&mut self, held: usize, waker: &Waker) {
        let memory = &self.host.memory;
        memory.log();

        // The holder that has given something back looks for the next one, if that was not enough.
        let has_shed = std::mem::take(&mut self.budget.has_shed);
        if memory.level() == Level::Exhausted && (has_shed || memory.is_time_to_shed()) {
            self.host.metrics.connections.shed_largest(memory.share());
        }

        // As it was looked at in this turn: that is what held the connection back.
        let is_full = held >= self.budget.bytes_max || self.waits_for_room_ahead();
        let is_held_back = !self.budget.is_enough() && is_full;
        if is_held_back && self.budget.share.wait(waker) {
            add(&self.host.metrics.limits.memory_pauses, 1);
        }
    }

    /// Ends all calls of the connection: it is the largest holder of memory that has run out.
    pub(super) fn shed_calls(&mut self, cx: &mut Context<'_>) {
        let calls = self.in_flight.len();
        let held = self.held_bytes();
        self.host.log.memory_sheds.write(|| {
            tracing::warn!(peer = %self.peer, held, calls, "the calls of a connection end: connections hold all of \
                `limits.memory_bytes_max`, and this one holds the most");
        });
        self.budget.has_shed = true;

        let ended = self.end_all_calls(&self.host.memory.refusal());
        add(&self.host.metrics.limits.memory_sheds, ended);
        self.in_flight.sweep(cx);
    }
}
