//! Starting a try of a call, at one endpoint, on one connection: at once where there is one that takes it, or as
//! soon as there is.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker, ready};

use futures::Stream;
use rpc_core::frame::fast::Settled;
use rpc_core::scope::Series;
use rpc_core::{RawJson, Request};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::Command;
use crate::balance::{InFlightGuard, Lease, Route, RouteHint, ServerStanding};
use crate::connection::{
    CallKind, Connection, Data, Due, Frame, PendingCall, PendingStream, Refusal, Refused,
};
use crate::error::{Error, Kind};
use crate::metrics::End;

impl Command<'_> {
    /// Starts a call in `place` at once, where there is a connection that takes it; otherwise the place stays empty.
    /// What is started is never moved, which would cost as much as to decode a reply.
    #[inline]
    pub(super) fn try_start(
        &self,
        frame: &impl Frame,
        due: Due,
        waker: &Waker,
        place: &mut Option<Attempt>,
    ) {
        let (context, kind) = (self.caller(), self.options().kind);
        context.budget.count_call();

        // Where nothing is counted, there is less to carry about.
        if let Route::Sole(endpoint) = &context.route {
            if let Some(connection) = endpoint.latest()
                && let Ok(pending) = connection.try_start(frame, due, kind, waker)
            {
                *place = Some(Attempt::new(pending, None));
            }
        } else if let Some(lease) = context.route.try_lease(self.hint(&[]), Instant::now())
            && let Ok(pending) = lease.connection.try_start(frame, due, kind, waker)
        {
            *place = Some(Attempt::new(pending, lease.guard));
        }
    }

    /// Starts a call as soon as there is a connection that takes it. What is told to the server is the time that is
    /// left then.
    pub(super) async fn start(
        &self,
        request: &mut Request<'static>,
        kind: CallKind,
        deadline: Option<Instant>,
        avoid: &[Arc<str>],
    ) -> Result<Attempt, Error> {
        let started = self.start_in_time(request, kind, deadline, avoid).await;
        started.inspect_err(|error| {
            let metrics = &self.caller().metrics;
            metrics.ended(self.cmdid(), unsent(error));
        })
    }

    async fn start_in_time(
        &self,
        request: &mut Request<'static>,
        kind: CallKind,
        deadline: Option<Instant>,
        avoid: &[Arc<str>],
    ) -> Result<Attempt, Error> {
        let target = &self.caller().target;

        loop {
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(Error::new(Kind::Deadline { was_sent: false }, target, None));
            }

            let route = &self.caller().route;
            let lease = route.lease(self.hint(avoid), deadline).await?;
            if let Some(attempt) = self.start_on(lease, request, kind, deadline).await? {
                return Ok(attempt);
            }
        }
    }

    /// Starts a call on this connection; `None` where it took none, and it makes sense to look for one again.
    pub(super) async fn start_on(
        &self,
        lease: Lease,
        request: &mut Request<'static>,
        kind: CallKind,
        deadline: Option<Instant>,
    ) -> Result<Option<Attempt>, Error> {
        let Lease { connection, guard } = lease;
        let mut connection = Some(connection);

        request.timeout = deadline
            .filter(|_| self.tells_timeout())
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));

        let started = poll_fn(|cx| {
            let connection = connection.take().expect("this is polled once");
            Poll::Ready(connection.try_start(request, deadline.into(), kind, cx.waker()))
        });
        match started.await {
            Ok(pending) => Ok(Some(Attempt::new(pending, guard))),
            Err(Refused {
                connection,
                refusal,
            }) => {
                self.wait(&connection, refusal, deadline, kind).await?;
                Ok(None)
            }
        }
    }

    /// A server that knows no ids may not know `timeout_ms` either: it is told where the caller asks for it.
    pub(super) fn tells_timeout(&self) -> bool {
        self.options().timeout.is_some() || !self.options().kind.is_ordered()
    }

    pub(super) fn hint<'a>(&self, avoid: &'a [Arc<str>]) -> RouteHint<'a> {
        RouteHint {
            key: self.options().key(),
            avoid,
        }
    }

    /// Waits until it makes sense to look for a connection again.
    pub(super) async fn wait(
        &self,
        connection: &Connection,
        refusal: Refusal,
        deadline: Option<Instant>,
        kind: CallKind,
    ) -> Result<(), Error> {
        match refusal {
            // Another connection may take it.
            Refusal::Over => Ok(()),
            Refusal::Full => self.in_time(connection.wait_for_room(kind), deadline).await,
        }
    }

    pub(super) async fn in_time<T>(
        &self,
        wait: impl Future<Output = T>,
        deadline: Option<Instant>,
    ) -> Result<T, Error> {
        let Some(deadline) = deadline else {
            return Ok(wait.await);
        };

        let target = &self.caller().target;
        let late = |_| Error::new(Kind::Deadline { was_sent: false }, target, None);
        tokio::time::timeout_at(deadline, wait).await.map_err(late)
    }
}

/// How a try has ended that was not sent.
pub(super) fn unsent(error: &Error) -> End {
    if error.is_deadline() {
        End::DEADLINE
    } else {
        End::NOT_SENT
    }
}

/// A call that has been begun, and its place at its endpoint where those are counted. Dropping it gives
/// the call up, and tells the server.
pub(crate) struct Attempt {
    pending: PendingCall,
    guard: Option<InFlightGuard>,
}

impl Attempt {
    pub(crate) fn new(pending: PendingCall, guard: Option<InFlightGuard>) -> Self {
        Self {
            pending,
            guard: guard.map(InFlightGuard::with_latency),
        }
    }

    /// For a call that is not awaited where it was begun.
    pub(crate) fn polled_elsewhere(self) -> Self {
        Self {
            pending: self.pending.polled_elsewhere(),
            guard: self.guard,
        }
    }

    pub(crate) fn poll_data(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Data, Error>> {
        let result = ready!(self.pending.poll_data(cx));
        self.finish(result.as_ref().err());
        Poll::Ready(result)
    }

    /// As [`poll_data`](Self::poll_data), with the line read to its end.
    pub(super) fn poll_settled(
        &mut self,
        cx: &mut task::Context<'_>,
    ) -> Poll<Result<Settled, Error>> {
        let result = ready!(self.pending.poll_settled(cx));
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

    /// The items that the call answers with. Its series is told of the call's end.
    pub(crate) fn into_items(self, series: Option<Arc<Series>>) -> Items {
        let guard = self.guard.map(InFlightGuard::without_latency);
        Items {
            stream: PendingStream::new(self.pending, series),
            _guard: guard,
        }
    }

    #[inline]
    fn finish(&mut self, failure: Option<&Error>) {
        if let Some(guard) = self.guard.take() {
            self.count_end(guard, failure);
        }
    }

    fn count_end(&self, guard: InFlightGuard, failure: Option<&Error>) {
        let standing = match self.pending.is_usable() {
            true => ServerStanding::Serving,
            false => ServerStanding::Leaving,
        };
        guard.finish(failure, standing);
    }
}

impl Future for Attempt {
    type Output = Result<Option<RawJson<'static>>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.poll_settled(cx).map_ok(|settled| settled.data)
    }
}

/// The items of a streaming call, which has its place at its endpoint until it is dropped. How long it
/// takes says nothing of the endpoint's latency.
pub(crate) struct Items {
    stream: PendingStream,
    _guard: Option<InFlightGuard>,
}

impl Items {
    /// The next item, decoded.
    pub(super) fn poll_decoded<T: DeserializeOwned>(
        &mut self,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<T, Error>>> {
        self.stream.poll_decoded(cx)
    }
}

impl Stream for Items {
    type Item = Result<RawJson<'static>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.stream).poll_next(cx)
    }
}
