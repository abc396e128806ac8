//! One try of a call: at one endpoint, on one connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use rpc_core::RawJson;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::balance::Ticket;
use crate::connection::{Data, PendingCall, PendingStream};
use crate::error::Error;

/// A call that has been begun, and its place at its endpoint where those are counted. Dropping it gives
/// the call up, and tells the server.
pub(crate) struct Attempt {
    pending: PendingCall,
    ticket: Option<Ticket>,
}

impl Attempt {
    pub(crate) fn new(pending: PendingCall, ticket: Option<Ticket>) -> Self {
        Self {
            pending,
            ticket: ticket.map(|ticket| ticket.of_unary_call(true)),
        }
    }

    /// For a call that is not awaited where it was begun.
    pub(crate) fn polled_elsewhere(self) -> Self {
        Self {
            pending: self.pending.polled_elsewhere(),
            ticket: self.ticket,
        }
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Data, Error>> {
        let result = ready!(self.pending.poll_data(cx));
        self.finish(result.as_ref().err());
        Poll::Ready(result)
    }

    /// Decodes the data that it got.
    pub(crate) fn decode<T: DeserializeOwned>(&self, data: Data) -> Result<T, Error> {
        self.pending.decode(data)
    }

    /// The address that it is made at.
    pub(crate) fn address(&self) -> &Arc<str> {
        self.pending.address()
    }

    /// Until when it had time, where it has failed and had begun to count.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.pending.deadline()
    }

    /// The items that the call answers with.
    pub(crate) fn into_items(self) -> Items {
        let address = Arc::clone(self.pending.address());
        let ticket = self.ticket.map(|ticket| ticket.of_unary_call(false));
        Items {
            stream: PendingStream::new(self.pending),
            address,
            _ticket: ticket,
        }
    }

    fn finish(&mut self, failure: Option<&Error>) {
        if let Some(ticket) = self.ticket.take() {
            ticket.finish(failure, !self.pending.is_usable());
        }
    }
}

impl Future for Attempt {
    type Output = Result<Option<RawJson<'static>>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.pending).poll(cx));
        self.finish(result.as_ref().err());
        Poll::Ready(result)
    }
}

/// The items of a streaming call, which has its place at its endpoint until it is dropped. How long it
/// takes says nothing of the endpoint's latency.
pub(crate) struct Items {
    stream: PendingStream,
    address: Arc<str>,
    _ticket: Option<Ticket>,
}

impl Items {
    /// The address that they come from, for errors about them.
    pub(crate) fn address(&self) -> &Arc<str> {
        &self.address
    }
}

impl Stream for Items {
    type Item = Result<RawJson<'static>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.stream).poll_next(cx)
    }
}
