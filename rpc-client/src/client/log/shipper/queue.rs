//! The queue of a shipper, as its handles and its worker share it.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rpc_core::api::log::{Append, Fields, Level};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::ShipperConfig;
use super::line;
use super::state::{Awaited, Chunk, Fate, State};
use super::stats::{Dropped, Shipped, ShipperStats};

/// A queue with its lock, which is held for the copy of an entry at most, and with those that wait for it.
pub(in super::super) struct Queue {
    config: ShipperConfig,
    service: String,
    state: Mutex<State>,
    /// Wakes the worker.
    wake: Notify,
    /// Wakes tasks that wait for batches to end.
    settled: Notify,
    /// Wakes threads that wait for the same.
    settled_threads: Condvar,
}

impl Queue {
    pub(super) fn new(service: String, config: ShipperConfig) -> Self {
        Self {
            config: config.within_limits(),
            service,
            state: Mutex::default(),
            wake: Notify::new(),
            settled: Notify::new(),
            settled_threads: Condvar::new(),
        }
    }

    /// A panic leaves nothing half done here: what is in the state is counters and text.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn config(&self) -> &ShipperConfig {
        &self.config
    }

    pub(in super::super) fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn push(&self, entry: &Append) -> Result<(), Dropped> {
        line::with_buffer(|buffer| {
            line::write(buffer, entry);
            self.push_line(entry.level, buffer)
        })
    }

    /// Takes an entry that is written as JSON.
    pub(in super::super) fn push_line(&self, level: Level, line: &[u8]) -> Result<(), Dropped> {
        let mut state = self.state();
        let result = state.room_for(level, line.len(), &self.config);
        let is_to_wake = match result {
            Ok(()) => state.take(line, &self.config),
            Err(Dropped::Closed) => {
                state.drop_untold();
                false
            }
            Err(_) => {
                state.drop_one();
                // The worker tells the log of it. If batches are under way, the end of one wakes it.
                !state.has_under_way()
            }
        };
        drop(state);

        if is_to_wake {
            self.wake.notify_one();
        }
        result
    }

    /// Waits until the worker has something to look at.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn next_batch(&self, now: Instant) -> Option<Chunk> {
        let mut state = self.state();
        self.tell_of_dropped(&mut state);
        state.next_batch(now, &self.config)
    }

    /// When the next batch is sent even if it is not full.
    pub(super) fn due(&self) -> Option<Instant> {
        self.state().due(&self.config)
    }

    /// Puts an entry about dropped ones into the queue. While that is full it waits: the entry then tells of all.
    fn tell_of_dropped(&self, state: &mut State) {
        let untold = state.untold();
        if untold == 0 {
            return;
        }

        let service = &self.service;
        let message = match untold {
            1 => format!("an entry of `{service}` was dropped before it was in the log"),
            _ => {
                format!("{untold} entries of `{service}` were dropped before they were in the log")
            }
        };
        let mut note = Append::new(Level::Warn, service.clone(), message);
        note.fields = Fields::of(&serde_json::json!({ "dropped": untold })).ok();

        let mut text = Vec::new();
        line::write(&mut text, &note);
        // At the end the reserve is for this.
        let level = match state.end {
            None => Level::Warn,
            Some(_) => Level::Fatal,
        };
        if state.has_room(level, text.len(), &self.config) {
            state.take_note(&text, untold, &self.config);
        }
    }

    /// A batch has ended: its entries are no longer held.
    pub(super) fn settle(&self, batch: &Chunk, fate: Fate) {
        self.state().settle(batch, fate);
        self.wake_waiting();
    }

    pub(super) fn refuse_one(&self) {
        self.state().refuse_one();
    }

    /// A batch has failed, and is sent again.
    pub(super) fn note_failure(&self, error: &str) {
        let mut state = self.state();
        state.resent += 1;
        state.last_error = Some(error.into());
    }

    pub(super) fn note_refusal(&self, error: &str) {
        self.state().last_error = Some(error.into());
    }

    fn wake_waiting(&self) {
        self.settled.notify_waiters();
        self.settled_threads.notify_all();
    }

    /// Has everything in the queue sent at once; returns what to wait for.
    pub(super) fn begin_flush(&self) -> Awaited {
        let place = self.state().begin_flush();
        self.wake.notify_one();
        Awaited::Before(place)
    }

    /// Takes no more entries, and has the worker end by then.
    pub(super) fn begin_close(&self, end: Instant) {
        let mut state = self.state();
        let end = state.end.map_or(end, |earlier| earlier.min(end));
        state.end = Some(end);
        drop(state);

        self.wake.notify_one();
    }

    /// When the worker ends, if the shipper was closed.
    pub(super) fn end(&self) -> Option<Instant> {
        self.state().end
    }

    /// Whether the shipper was closed, and everything has ended that it held.
    pub(super) fn is_done(&self) -> bool {
        let state = self.state();
        state.end.is_some() && state.is_empty()
    }

    /// The worker has ended: nothing is sent any more.
    pub(super) fn set_over(&self) {
        self.state().set_over();
        self.wake_waiting();
    }

    pub(super) fn look(&self, awaited: Awaited) -> (Shipped, bool) {
        self.state().look(awaited)
    }

    /// Waits on a task.
    pub(super) async fn wait(&self, awaited: Awaited) {
        loop {
            let settled = self.settled.notified();
            let mut settled = std::pin::pin!(settled);
            // Before the look: what ends after it is not missed.
            settled.as_mut().enable();
            if self.look(awaited).1 {
                return;
            }
            settled.await;
        }
    }

    /// Waits on this thread, until the deadline at most.
    pub(super) fn wait_on_thread(&self, awaited: Awaited, deadline: std::time::Instant) -> Shipped {
        let mut state = self.state();
        loop {
            let (shipped, is_done) = state.look(awaited);
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if is_done || left.is_zero() {
                return shipped;
            }

            let woken = self.settled_threads.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(in super::super) fn stats(&self) -> ShipperStats {
        self.state().stats()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("service", &self.service)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
