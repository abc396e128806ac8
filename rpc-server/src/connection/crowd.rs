//! The crowd of connections that have more to do than fits into a turn, and their order. A connection that has little
//! to do waits for a few of their turns only, however many they are.

mod turns;
mod watch;

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::runtime::Handle;

use super::spin::come_back;
use crate::sync::{AtomicUsize, Mutex, MutexGuard};
use turns::{Begin, Turns};
use watch::Watch;

/// How long a connection may do its work before the other tasks of its thread have their turn: one that asks for much
/// by little must not keep the others waiting.
pub(super) const SHARE: Duration = Duration::from_millis(1);

/// What is left of that where many connections have more to do than fits into a turn.
const SHARE_MIN: Duration = Duration::from_micros(50);

/// Connections of the crowd that are called at one time, for each thread: with one alone, its thread would have nothing
/// to do until the next one has come.
const AT_TURN_PER_THREAD: usize = 2;

/// The connections of a server that wait for a further turn, because the last one was not long enough, or that are in
/// the middle of a long line. The more there are, the shorter is a turn.
#[derive(Default)]
pub(crate) struct Crowd {
    len: Arc<AtomicUsize>,
    lanes: Mutex<Lanes>,
}

/// A thread that hangs in a handler would keep those waiting that it has called, so each runtime has a lane of its own.
#[derive(Default)]
struct Lanes {
    /// Of the runtime with several threads. Each takes those that it has called itself, behind its look at the sockets;
    /// where it does not come to that, the turn passes to others ([`Watch`]).
    shared: Option<Arc<Lane>>,
    /// Of runtimes of one thread. There are as many as the server ever had threads.
    of_threads: HashMap<ThreadId, Arc<Lane>>,
}

/// The crowd of one runtime, in the order of its turns.
struct Lane {
    /// The number in the crowds of all runtimes.
    len: Arc<AtomicUsize>,
    /// Held for a few operations on a map.
    turns: Mutex<Turns>,
}

/// The place of a connection in the crowd, if it has one.
pub(super) struct InCrowd {
    /// None for a connection that takes no part in it.
    lane: Option<Arc<Lane>>,
    number: Option<NonZeroU64>,
}

/// Whether a connection may do its work now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// It is woken when its turn has come.
    Later,
}

impl Crowd {
    /// How long a turn may be now.
    #[inline]
    pub(super) fn share(&self) -> Duration {
        // Relaxed, here and below: a connection more or fewer for a moment changes little.
        let waiting = u32::try_from(self.len.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        (SHARE / waiting.saturating_add(1)).max(SHARE_MIN)
    }

    /// No place yet, for a connection of this thread's runtime.
    pub(super) fn outside(&self) -> InCrowd {
        let threads = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());

        // A map that is whole after each step.
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = match threads {
            1 => lanes
                .of_threads
                .entry(thread::current().id())
                .or_insert_with(|| self.lane(1)),
            many => lanes.shared.get_or_insert_with(|| self.lane(many)),
        };

        InCrowd {
            lane: Some(Arc::clone(lane)),
            number: None,
        }
    }

    fn lane(&self, threads: usize) -> Arc<Lane> {
        Arc::new(Lane {
            len: Arc::clone(&self.len),
            turns: Mutex::new(Turns::new(threads * AT_TURN_PER_THREAD)),
        })
    }
}

impl InCrowd {
    /// Never a place: for a connection that another task polls now and then, as one in memory. A turn that it was
    /// given would wait for that task.
    #[cfg(feature = "http")]
    pub(super) fn never() -> Self {
        Self {
            lane: None,
            number: None,
        }
    }

    /// Whether the connection is in the crowd.
    #[inline]
    pub(super) fn is_inside(&self) -> bool {
        self.number.is_some()
    }

    /// Whether it is the turn of a connection with much to do, which joins the crowd for that.
    pub(super) fn poll_turn(&mut self, waker: &Waker) -> Turn {
        let Some(lane) = &self.lane else {
            return Turn::Now;
        };

        let mut turns = lane.turns();
        if let Some(number) = self.number {
            match turns.begin(number, waker) {
                Begin::Now => return Turn::Now,
                Begin::Later => return Turn::Later,
                // It came too late, and joins anew.
                Begin::Lost => {}
            }
        }

        let (number, turn) = turns.join(waker);
        let watch = Watch::begin(lane, &mut turns);
        drop(turns);

        Watch::spawn(watch);
        if self.number.replace(number).is_none() {
            lane.len.fetch_add(1, Ordering::Relaxed);
        }
        turn
    }

    /// The turn was not long enough: another one follows, behind those of all others in the crowd.
    pub(super) fn wait_again(&mut self, waker: &Waker) {
        let Some(lane) = &self.lane else {
            return come_back(&mut Context::from_waker(waker));
        };

        let mut turns = lane.turns();
        let number = turns.wait(waker);
        let before = self.number.replace(number);
        if let Some(before) = before {
            turns.give_back(before);
        }
        let called = turns.call();
        let watch = Watch::begin(lane, &mut turns);
        drop(turns);

        Watch::spawn(watch);
        if before.is_none() {
            lane.len.fetch_add(1, Ordering::Relaxed);
        }
        wake(called);
    }

    /// Leaves the crowd.
    #[inline]
    pub(super) fn leave(&mut self) {
        if let (Some(lane), Some(number)) = (&self.lane, self.number.take()) {
            lane.leave(number);
        }
    }
}

impl Drop for InCrowd {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Lane {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        // Each step leaves it whole.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, number: NonZeroU64) {
        self.len.fetch_sub(1, Ordering::Relaxed);

        let mut turns = self.turns();
        turns.give_back(number);
        let called = turns.call();
        drop(turns);

        wake(called);
    }
}

/// Wakes a connection once the runtime has looked at its sockets: those that have little to do come first. Woken at
/// once, also where other threads could take it, it would put off that look.
fn wake(called: Option<Waker>) {
    if let Some(waker) = called {
        come_back(&mut Context::from_waker(&waker));
    }
}

#[cfg(test)]
mod tests;
