//! The order of the calls without id: those that wait for their turn.

use std::collections::VecDeque;

use rpc_core::Request;

use super::call::{Arrival, CALL_BYTES};

/// An entry in the order of the calls without id.
pub(super) enum Ordered {
    /// A call that waits for its turn.
    Call(Box<Request<'static>>, Arrival),
    /// A line that is ready, a verdict on a bad frame for example.
    Line(Vec<u8>),
}

impl Ordered {
    fn is_call(&self) -> bool {
        matches!(self, Self::Call(request, _) if !request.cmdid.is_built_in())
    }

    fn held_bytes(&self) -> usize {
        match self {
            Self::Call(_, arrival) => CALL_BYTES + arrival.line_bytes,
            Self::Line(line) => line.capacity(),
        }
    }
}

/// What waits for its turn, and its bytes.
#[derive(Default)]
pub(super) struct Order {
    waiting: VecDeque<Ordered>,
    /// How many of them are calls of services.
    calls: usize,
    held_bytes: usize,
}

impl Order {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Calls of services that wait: built-in commands and verdicts do not count among the calls of the server.
    #[inline]
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// Bytes of all that waits.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn push(&mut self, ordered: Ordered) {
        self.held_bytes += ordered.held_bytes();
        self.calls += usize::from(ordered.is_call());
        self.waiting.push_back(ordered);
    }

    pub(super) fn pop(&mut self) -> Option<Ordered> {
        let next = self.waiting.pop_front()?;
        self.held_bytes -= next.held_bytes();
        self.calls -= usize::from(next.is_call());
        Some(next)
    }
}
