//! A call from its beginning to its end, as its caller holds it.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rpc_core::RawJson;
use rpc_core::frame::encode_cancel;
use rpc_core::frame::fast::{Settled, UnverifiedData};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::in_flight::{Data, Failure, NO_STREAM_EXPECTED, Progress};
use super::shared::{ConnectionState, Leaving};
use super::{CallEnd, Connection, given_up};
use crate::error::{Cause, Error, Kind};
use crate::metrics::End;

/// A call that has been begun: a future of its data. Dropping it gives the call up, and tells the
/// server.
pub(crate) struct PendingCall {
    pub(super) connection: Arc<Connection>,
    pub(super) id: u64,
    pub(super) is_over: bool,
    /// Not polled since the slot got its waker.
    is_fresh: bool,
    /// Of one that has failed, where it had one.
    pub(super) deadline: Option<Instant>,
}

impl PendingCall {
    pub(super) fn new(connection: Arc<Connection>, id: u64) -> Self {
        Self {
            connection,
            id,
            is_over: false,
            is_fresh: true,
            deadline: None,
        }
    }

    /// For a call that is not awaited where it was begun.
    pub(crate) fn polled_elsewhere(mut self) -> Self {
        self.is_fresh = false;
        self
    }

    /// Whether its connection still takes calls.
    pub(crate) fn is_usable(&self) -> bool {
        self.connection.is_usable()
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.connection.0.address
    }

    /// Until when it had time, where it has failed and had begun to count.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Decodes the data that it got.
    pub(crate) fn decode<T: DeserializeOwned>(&self, data: Data) -> Result<T, Error> {
        let data = match data {
            Data::Unverified(data) => match data.decode() {
                Ok(typed) => return Ok(typed),
                Err(_) => self.settle(data)?.data,
            },
            Data::Timed(settled) => settled.data,
            Data::Sound(data) => data,
        };

        decode(data.as_ref(), &self.connection.0.address)
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Data, Error>> {
        if mem::take(&mut self.is_fresh) {
            // The slot has this task's waker since it was taken, in this same poll.
            return Poll::Pending;
        }

        let Self {
            connection,
            id,
            is_over,
            deadline,
            ..
        } = self;

        let mut state = connection.0.lock();
        Self::poll_locked(connection, &mut state, *id, is_over, deadline, cx)
    }

    /// As [`poll_data`](Self::poll_data), with the line read to its end.
    pub(crate) fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Result<Settled, Error>> {
        let settled = match ready!(self.poll_data(cx))? {
            Data::Sound(data) => Settled {
                data,
                more: false,
                timing: None,
            },
            Data::Timed(settled) => *settled,
            Data::Unverified(data) => self.settle(data)?,
        };
        Poll::Ready(Ok(settled))
    }

    pub(super) fn poll_locked(
        connection: &Connection,
        state: &mut ConnectionState,
        id: u64,
        is_over: &mut bool,
        deadline: &mut Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Data, Error>> {
        let slot = state
            .calls
            .get_mut(id)
            .expect("the slot is closed by this call alone");

        match mem::take(&mut slot.progress) {
            Progress::Waiting => {
                if !slot
                    .waker
                    .as_ref()
                    .is_some_and(|waker| waker.will_wake(cx.waker()))
                {
                    slot.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Progress::Done(done) => {
                let end = match done {
                    Err(Failure::Expired | Failure::Nonsense(_) | Failure::Unread(_)) => {
                        CallEnd::GivenUp
                    }
                    Ok(_) | Err(Failure::Status { .. } | Failure::Lost { .. }) => CallEnd::Answered,
                };
                let had_until = slot.deadline;
                let result = done.map_err(|failure| {
                    *deadline = had_until;
                    connection.end_of(failure)
                });

                connection.release(state, id, end);
                *is_over = true;
                Poll::Ready(result)
            }
        }
    }

    /// Looks at a line again that was only glanced at.
    fn settle(&self, data: UnverifiedData) -> Result<Settled, Error> {
        let settled = match data.settle() {
            Ok(settled) => settled,
            Err(bad) if bad.id.is_none() => return Err(self.give_up_connection(&bad.message)),
            Err(bad) => return Err(self.connection.end_of(Failure::Nonsense(bad.message))),
        };

        if settled.more {
            let mut state = self.connection.0.lock();
            if state.ended.is_none() {
                state.append(|output| encode_cancel(output, self.id));
            }
            let failure = Failure::Nonsense(NO_STREAM_EXPECTED.into());
            return Err(self.connection.end_of(failure));
        }

        Ok(settled)
    }

    /// Ends the connection for a line that may have been for another call. Its calls fail as those of a lost
    /// connection do, and so does this one.
    pub(super) fn give_up_connection(&self, what: &str) -> Error {
        let mut state = self.connection.0.lock();
        if state.ended.is_none() {
            state.leaving = Some(Leaving::Nonsense(what.to_owned()));
            state.wake_driver();
        }
        drop(state);

        self.connection.end_of(Failure::Lost {
            may_have_run: true,
            cause: given_up(what),
        })
    }
}

/// Decodes the data of a reply.
pub(crate) fn decode<T: DeserializeOwned>(
    data: Option<&RawJson<'_>>,
    address: &Arc<str>,
) -> Result<T, Error> {
    // A reply without data is `null`: a `()`, or a `None`.
    data.unwrap_or(&RawJson::NULL).decode().map_err(|error| {
        let cause = Cause::with_source(
            format!("the call ran, but its data does not have the expected type: {error}"),
            error,
        );
        Error::new(Kind::Data(cause), address, None)
    })
}

impl Future for PendingCall {
    type Output = Result<Option<RawJson<'static>>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_settled(cx).map_ok(|settled| settled.data)
    }
}

impl PendingCall {
    /// Its caller has dropped it.
    #[cold]
    fn give_up(&self) {
        let mut state = self.connection.0.lock();
        if let Some(slot) = state.calls.get_mut(self.id)
            && matches!(slot.progress, Progress::Waiting)
        {
            let metrics = &self.connection.0.common.metrics;
            metrics.ended(slot.cmdid, End::GIVEN_UP);
        }

        self.connection
            .release(&mut state, self.id, CallEnd::GivenUp);
    }
}

impl Drop for PendingCall {
    #[inline]
    fn drop(&mut self) {
        if !self.is_over {
            self.give_up();
        }
    }
}
