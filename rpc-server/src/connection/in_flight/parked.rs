//! The calls that have begun.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::{AbortHandle, Abortable};
use futures::stream::{FuturesUnordered, SelectAll};

use crate::connection::ahead::Ahead;
use crate::connection::call::{Call, ReplyOrder, Terms};
use crate::connection::credit::Credit;
use crate::connection::stream::StreamCall;

/// Calls that have begun.
#[derive(Default)]
pub(super) struct Parked {
    pub(super) calls: FuturesUnordered<Abortable<Call>>,
    pub(super) streams: SelectAll<Abortable<StreamCall>>,
    pub(super) handles: HashMap<ReplyOrder, Handle>,
    /// The room for items without credit; none before the first stream.
    pub(super) ahead: Option<Arc<Ahead>>,
    /// The number of the last oneway call beside the order.
    pub(super) unanswered: u32,
}

impl Parked {
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
