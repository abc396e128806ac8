//! The calls in flight of a connection: handlers at work, streams, and the ordered calls that wait for their turn.

mod abort;
mod parked;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use rpc_core::frame::ItemStream;
use rpc_core::scope::LazyCancellation;
use rpc_core::{Outcome, Peer};

use parked::Parked;

use super::ahead::Ahead;
use super::call::{Call, ReplyOrder, Terms};
use super::credit::Credit;
use super::order::{Order, Ordered};
use super::stream::{StreamCall, StreamRules, StreamStep};

/// Calls that were accepted and are not over.
#[derive(Default)]
pub(super) struct InFlight {
    /// The calls that were not ready at once. Most connections never have any.
    parked: Option<Box<Parked>>,
    order: Order,
}

impl InFlight {
    /// Calls in flight, those that wait for their turn among them.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.parked.as_ref().map_or(0, |parked| parked.len()) + self.order.len()
    }

    /// Calls of services in flight, as the server counts them.
    #[inline]
    pub(super) fn calls(&self) -> usize {
        self.parked.as_ref().map_or(0, |parked| parked.len()) + self.order.calls()
    }

    /// How much waits in the order.
    pub(super) fn waiting(&self) -> usize {
        self.order.len()
    }

    /// Bytes of what waits for its turn. Calls that have begun count their bytes with their peer.
    #[inline]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.order.held_bytes()
    }

    /// Whether a call with this id is in flight.
    #[inline]
    pub(super) fn has(&self, id: u64) -> bool {
        self.parked
            .as_ref()
            .is_some_and(|parked| parked.handles.contains_key(&ReplyOrder::Multiplexed(id)))
    }

    /// Whether a call without id may start at once.
    #[inline]
    pub(super) fn is_next_in_order(&self) -> bool {
        self.order.is_empty() && !self.is_order_taken()
    }

    /// Whether an ordered call has begun and is not over.
    pub(super) fn is_order_taken(&self) -> bool {
        self.parked
            .as_ref()
            .is_some_and(|parked| parked.handles.contains_key(&ReplyOrder::Ordered))
    }

    /// Whether all places are taken by streams, or by ordered calls behind one. Nothing of that has to end by
    /// itself: the credit or the cancel that it may wait for can come after the line that waits for a place,
    /// and so does the end of the stream.
    pub(super) fn is_held_by_streams(&self) -> bool {
        self.parked
            .as_ref()
            .is_some_and(|parked| parked.calls.is_empty())
    }

    /// Takes a call whose handler is not ready.
    pub(super) fn add_call(
        &mut self,
        peer: &Arc<Peer>,
        mut terms: Terms,
        future: BoxFuture<'static, Outcome>,
        cancellation: LazyCancellation,
    ) {
        let (abort, registration) = AbortHandle::new_pair();
        let parked = self.parked.get_or_insert_default();
        if let ReplyOrder::Unanswered(number) = &mut terms.place {
            // There are never enough at one time for a number to come twice.
            parked.unanswered = parked.unanswered.wrapping_add(1);
            *number = parked.unanswered;
        }

        let held = peer.hold(terms.held_bytes());
        let call = Call::new(terms, future, cancellation, held);
        parked.calls.push(Abortable::new(call, registration));
        parked.occupy(terms, abort, None);
    }

    /// Takes a call whose handler has returned a stream.
    pub(super) fn add_stream(
        &mut self,
        peer: &Arc<Peer>,
        terms: Terms,
        items: ItemStream,
        credit: Option<Credit>,
        rules: StreamRules,
    ) {
        let (abort, registration) = AbortHandle::new_pair();
        let credit = credit.map(Arc::new);
        let parked = self.parked.get_or_insert_default();

        let held = peer.hold(terms.held_bytes());
        let ahead = parked
            .ahead
            .get_or_insert_with(|| Arc::new(Ahead::new(peer, rules.calls_bytes_max)));
        let ahead = Arc::clone(ahead);
        let stream = StreamCall::new(items, terms, credit.clone(), ahead, rules, held);
        parked.streams.push(Abortable::new(stream, registration));
        parked.occupy(terms, abort, credit);
    }

    /// Notes that a call is over: its place is free.
    pub(super) fn vacate(&mut self, place: ReplyOrder) {
        if let Some(parked) = &mut self.parked {
            parked.handles.remove(&place);
        }
    }

    /// Lets the stream with this id send more items.
    pub(super) fn give_credit(&self, id: u64, items: u64) {
        let parked = self.parked.as_ref();
        let handle = parked.and_then(|parked| parked.handles.get(&ReplyOrder::Multiplexed(id)));
        if let Some(credit) = handle.and_then(|handle| handle.credit.as_ref()) {
            credit.add(items);
        }
    }

    /// Wakes a stream that waits for room for its next item, if there is some. Returns whether it has woken one.
    #[inline]
    pub(super) fn wake_for_room(&self) -> bool {
        self.ahead()
            .is_some_and(|ahead| ahead.has_waiting() && ahead.wake_next())
    }

    /// The room for items without credit, if there are streams.
    #[inline]
    pub(super) fn ahead(&self) -> Option<&Ahead> {
        self.parked.as_ref()?.ahead.as_deref()
    }

    /// Ends the streams that run out of credit: the peer can send no more of it.
    pub(super) fn close_credits(&self) {
        let handles = self
            .parked
            .iter()
            .flat_map(|parked| parked.handles.values());
        handles
            .filter_map(|handle| handle.credit.as_deref())
            .for_each(Credit::close);
    }

    /// The next call whose handler is done. One that was aborted was answered when that was done.
    #[inline]
    pub(super) fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Terms, Outcome)>> {
        let Some(parked) = &mut self.parked else {
            return Poll::Ready(None);
        };

        loop {
            match parked.calls.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(ended))) => return Poll::Ready(Some(ended)),
                Poll::Ready(Some(Err(_))) => {}
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The next line of a stream.
    #[inline]
    pub(super) fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Terms, StreamStep)>> {
        match &mut self.parked {
            Some(parked) => parked.streams.poll_next_unpin(cx),
            None => Poll::Ready(None),
        }
    }

    /// Puts something at the end of the order.
    pub(super) fn wait_in_order(&mut self, ordered: Ordered) {
        self.order.push(ordered);
    }

    /// Takes the next call in the order, if no ordered call is under way.
    pub(super) fn next_in_order(&mut self) -> Option<Ordered> {
        match self.is_order_taken() {
            true => None,
            false => self.order.pop(),
        }
    }

    /// Gives back the tables of calls if they are empty. Returns whether it did.
    pub(super) fn release(&mut self) -> bool {
        let unused = self.parked.take_if(|parked| parked.len() == 0);
        unused.map(|parked| parked.give_back()).is_some()
    }
}
