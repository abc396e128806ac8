//! The calls that have begun.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use futures::future::{AbortHandle, Abortable};
use futures::stream::{FuturesUnordered, SelectAll};

use crate::connection::ahead::Ahead;
use crate::connection::call::{Call, ReplyOrder, Terms};
use crate::connection::credit::Credit;
use crate::connection::stream::StreamCall;

/// The calls that have begun, by their places. `SipHash`, which std uses, costs several times as much.
pub(super) type Handles = HashMap<ReplyOrder, Handle, RandomState>;

/// The largest table that a thread keeps, by its places: one for the calls that a connection may have in flight by default.
const KEPT_CALLS_MAX: usize = 2048;

thread_local! {
    /// An empty table: connections whose calls all end at one time, as those that wait for the same write do, would make
    /// one anew each time, and let it grow.
    static KEPT: Cell<Option<Handles>> = const { Cell::new(None) };
}

/// Calls that have begun.
pub(super) struct Parked {
    pub(super) calls: FuturesUnordered<Abortable<Call>>,
    pub(super) streams: SelectAll<Abortable<StreamCall>>,
    pub(super) handles: Handles,
    /// The room for items without credit; none before the first stream.
    pub(super) ahead: Option<Arc<Ahead>>,
    /// The number of the last oneway call beside the order.
    pub(super) unanswered: u32,
}

impl Default for Parked {
    fn default() -> Self {
        Self {
            calls: FuturesUnordered::default(),
            streams: SelectAll::default(),
            handles: KEPT.take().unwrap_or_default(),
            ahead: None,
            unanswered: 0,
        }
    }
}

impl Parked {
    /// Gives the table to the thread; no calls are left.
    pub(super) fn give_back(self) {
        if self.handles.is_empty() && self.handles.capacity() <= KEPT_CALLS_MAX {
            KEPT.set(Some(self.handles));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len() + self.streams.len()
    }

    /// Notes that a call has begun: its id is taken, or its turn in the order.
    pub(super) fn occupy(&mut self, terms: Terms, abort: AbortHandle, credit: Option<Arc<Credit>>) {
        let handle = Handle {
            abort,
            terms,
            credit,
        };
        self.handles.insert(terms.place, handle);
    }
}

/// How to reach a call that has begun.
pub(super) struct Handle {
    pub(super) abort: AbortHandle,
    pub(super) terms: Terms,
    pub(super) credit: Option<Arc<Credit>>,
}
