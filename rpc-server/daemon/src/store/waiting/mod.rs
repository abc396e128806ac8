//! Readers that wait for an entry: each is woken only when one comes that passes its filter.
//!
//! Thousands of readers may wait, mostly for entries that do not come. None of them looks at new entries
//! itself. A thread of its own, the [`Matcher`], reads what has come once and asks each distinct filter once,
//! in slices: neither the writer nor the readers wait for it, and it holds the lock for a few steps at a time.

mod matcher;
mod side;
mod slice;

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use tokio::sync::oneshot;

use self::side::{Side, WaiterId};
use super::{Filter, lock};

pub(super) use self::matcher::Matcher;

/// The readers that wait, between the calls that they belong to, the writer, and the matcher.
#[derive(Default)]
pub(super) struct Waiting {
    /// Held for look-ups and small changes only: callers are async tasks, and the writer has others that wait.
    state: Mutex<State>,
    /// Told when there is something to match, or nothing will be any more.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Readers whose filters ask for level and service only. An entry finds the few of those filters that it
    /// passes by its own level and service, however many there are.
    by_name: Side,
    /// Readers whose filters have to be asked one by one.
    by_text: Side,
    /// The last durable entry.
    last: u64,
    /// Whether no reader waits any more.
    ended: bool,
}

/// The two kinds of filters, by what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ByName,
    ByText,
}

impl Waiting {
    pub(super) fn new(last: u64) -> Self {
        let state = State {
            last,
            ..State::default()
        };

        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Notes that entries up to `last` are durable, and can be read.
    pub(super) fn appended(&self, last: u64) {
        let mut state = lock(&self.state);
        state.last = last;
        let has_waiters = !state.by_name.is_empty() || !state.by_text.is_empty();
        drop(state);

        if has_waiters {
            self.changed.notify_one();
        }
    }

    /// Begins to wait for an entry behind `after`; `None` once no reader waits any more.
    pub(super) fn join(self: &Arc<Self>, filter: &Arc<Filter>, after: u64) -> Option<Waiter> {
        let kind = Kind::of(filter);
        let (tell, told) = oneshot::channel();

        let mut state = lock(&self.state);
        if state.ended {
            return None;
        }

        let last = state.last;
        let after = after.max(last);
        let id = state.side(kind).join(filter, after, tell, last);
        drop(state);

        Some(Waiter {
            waiting: Arc::clone(self),
            kind,
            id,
            after,
            told,
        })
    }

    /// Wakes all readers, and lets none wait from now on.
    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        let waiters = (
            std::mem::take(&mut state.by_name),
            std::mem::take(&mut state.by_text),
        );
        drop(state);

        // Readers learn of it by the drop, which is not for the lock.
        drop(waiters);
        self.changed.notify_one();
    }

    /// Whether no reader waits any more.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn side(&mut self, kind: Kind) -> &mut Side {
        match kind {
            Kind::ByName => &mut self.by_name,
            Kind::ByText => &mut self.by_text,
        }
    }
}

impl Kind {
    fn of(filter: &Filter) -> Self {
        if filter.is_by_name() {
            Self::ByName
        } else {
            Self::ByText
        }
    }
}

/// A reader that waits, until it is dropped.
pub(super) struct Waiter {
    waiting: Arc<Waiting>,
    kind: Kind,
    id: WaiterId,
    after: u64,
    told: oneshot::Receiver<u64>,
}

impl Waiter {
    /// The entry behind which this waits. What is durable and not behind it has to be read without waiting.
    pub(super) fn after(&self) -> u64 {
        self.after
    }

    /// Waits for an entry that passes the filter, and returns a number that it comes behind, from which on
    /// reading soon finds it; `None` when no reader waits any more.
    pub(super) async fn woken(&mut self) -> Option<u64> {
        (&mut self.told).await.ok()
    }

    /// The last entry that is known not to pass the filter, as all between it and [`after`](Self::after).
    pub(super) fn seen(&self) -> u64 {
        let mut state = self.waiting.lock();
        let side = state.side(self.kind);
        let seen = side.has(&self.id).then_some(side.done);
        seen.unwrap_or_default().max(self.after)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiting.lock().side(self.kind).leave(&self.id);
    }
}
