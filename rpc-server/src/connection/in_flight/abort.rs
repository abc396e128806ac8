//! Calls that end before they are done.

use std::task::{Context, Poll};

use futures::StreamExt;

use super::InFlight;
use crate::connection::call::{ReplyOrder, Terms};

impl InFlight {
    /// Ends the call with this id, if there is one.
    pub(in crate::connection) fn abort(&mut self, id: u64) -> Option<Terms> {
        self.abort_at(ReplyOrder::Multiplexed(id))
    }

    /// Ends the calls that `is_wanted` picks, in the order of their receipt.
    pub(in crate::connection) fn abort_all(
        &mut self,
        is_wanted: impl Fn(&Terms) -> bool,
    ) -> Vec<Terms> {
        let Some(parked) = &self.parked else {
            return Vec::new();
        };

        let all = parked.handles.values().map(|handle| &handle.terms);
        let mut wanted: Vec<_> = all
            .filter(|terms| is_wanted(terms))
            .map(|terms| (terms.received, terms.place))
            .collect();
        wanted.sort_unstable();

        let ended = wanted
            .into_iter()
            .filter_map(|(_, place)| self.abort_at(place));
        ended.collect()
    }

    /// Ends the call at this place, if there is one.
    pub(in crate::connection) fn abort_at(&mut self, place: ReplyOrder) -> Option<Terms> {
        let handle = self.parked.as_mut()?.handles.remove(&place)?;
        handle.abort.abort();
        Some(handle.terms)
    }

    /// Drops what is left of calls that were aborted, whether there is room for results or not.
    pub(in crate::connection) fn sweep(&mut self, cx: &mut Context<'_>) {
        if let Some(parked) = &mut self.parked
            && parked.handles.is_empty()
        {
            // All are aborted: none of them is ready with anything else.
            while let Poll::Ready(Some(_)) = parked.calls.poll_next_unpin(cx) {}
            while let Poll::Ready(Some(_)) = parked.streams.poll_next_unpin(cx) {}
        }
    }
}
