//! The credit of a stream: the number of items that it may still send.

use std::sync::atomic::Ordering;
use std::task::Waker;

use futures::task::AtomicWaker;

use crate::sync::{AtomicBool, AtomicU64};

/// How many items a stream may still send.
pub(super) struct Credit {
    items: AtomicU64,
    is_closed: AtomicBool,
    waiting: AtomicWaker,
}

impl Credit {
    pub(super) fn new(items: u64) -> Self {
        Self {
            items: AtomicU64::new(items),
            is_closed: AtomicBool::new(false),
            waiting: AtomicWaker::new(),
        }
    }

    /// Only the connection's own task adds and uses, so relaxed operations do not race; the waker
    /// brings the stream back to be polled.
    pub(super) fn add(&self, items: u64) {
        let now = self.items.load(Ordering::Relaxed).saturating_add(items);
        self.items.store(now, Ordering::Relaxed);
        self.waiting.wake();
    }

    /// Has the stream woken when it is given credit, or can be given none any more.
    pub(super) fn wait(&self, waker: &Waker) {
        self.waiting.register(waker);
    }

    /// Has the stream look again.
    pub(super) fn wake(&self) {
        self.waiting.wake();
    }

    /// No more will be added.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.waiting.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Items that may be sent now.
    pub(super) fn items(&self) -> u64 {
        self.items.load(Ordering::Relaxed)
    }

    /// Some have been sent.
    pub(super) fn set(&self, left: u64) {
        self.items.store(left, Ordering::Relaxed);
    }
}
