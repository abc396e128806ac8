//! A call under way: the handler's future, with what its reply needs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use rpc_core::frame::ServerTiming;
use rpc_core::scope::LazyCancellation;
use rpc_core::{CmdId, HeldBytes, Outcome, RawJson, Request, Status};
use tokio::time::Instant;

use crate::layers::Fault;
use crate::metrics::{CommandIndex, Ended};

/// What a call in flight holds besides its request: its future, its place, and its entries in tables.
pub(super) const CALL_BYTES: usize = 1024;

/// When a request came, and how much of the input it was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// When its line was received, from when on its time counts.
    pub(super) received: Instant,
    /// The length of its line, which bounds what the request holds.
    pub(super) line_bytes: usize,
}

/// Where the reply of a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ReplyOrder {
    /// Under its id, whenever it is ready.
    Multiplexed(u64),
    /// In the order of the calls without id.
    Ordered,
    /// Nowhere: a oneway call beside the order, with a number of its own once it is in flight.
    Unanswered(u32),
}

impl ReplyOrder {
    fn of(request: &Request<'_>) -> Self {
        match request.id {
            Some(_) if request.oneway => Self::Unanswered(0),
            Some(id) => Self::Multiplexed(id),
            None => Self::Ordered,
        }
    }

    pub(super) fn id(self) -> Option<u64> {
        match self {
            Self::Multiplexed(id) => Some(id),
            Self::Ordered | Self::Unanswered(_) => None,
        }
    }
}

/// The trace of a call, most significant byte first: so it needs no alignment, and `Terms` stay small.
pub(super) type TraceId = [u8; 16];

/// What the reply of a call needs besides its outcome.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) cmdid: CmdId,
    pub(super) place: ReplyOrder,
    pub(super) oneway: bool,
    pub(super) credit: Option<u64>,
    /// The caller's own time limit, which a stream keeps too.
    pub(super) timeout: Option<Duration>,
    pub(super) received: Instant,
    /// When it began, of its own turn and with room: what its latency is to `admission.adaptive`.
    pub(super) started: Instant,
    /// Its reply tells where its time went.
    pub(super) is_timed: bool,
    /// What it is counted as.
    pub(super) command: CommandIndex,
    pub(super) params_bytes: u32,
    pub(super) line_bytes: u32,
    /// Only where calls are logged.
    pub(super) trace: Option<TraceId>,
}

impl Terms {
    /// `params_bytes`: asking unread params for their length would have them read.
    pub(super) fn of(request: &Request<'_>, arrival: Arrival, params_bytes: usize) -> Self {
        let Arrival {
            received,
            line_bytes,
        } = arrival;

        Self {
            cmdid: request.cmdid,
            place: ReplyOrder::of(request),
            oneway: request.oneway,
            credit: request.credit,
            timeout: request.timeout,
            received,
            started: received,
            is_timed: false,
            command: CommandIndex::OTHER,
            // A frame is far shorter.
            params_bytes: u32::try_from(params_bytes).unwrap_or(u32::MAX),
            line_bytes: u32::try_from(line_bytes).unwrap_or(u32::MAX),
            trace: None,
        }
    }

    /// Has its reply tell where its time goes: what it waited for is over `now`.
    pub(super) fn time_from(&mut self, now: Instant) {
        self.is_timed = true;
        self.started = now;
    }

    /// Where its time has gone by `now`, which is that of its result.
    pub(super) fn timing(&self, now: Instant) -> ServerTiming {
        ServerTiming {
            queue: self.started.saturating_duration_since(self.received),
            run: now.saturating_duration_since(self.started),
        }
    }

    /// Bytes that it holds while it is in flight.
    pub(super) fn held_bytes(&self) -> usize {
        CALL_BYTES + self.line_bytes as usize
    }

    /// What is counted of it.
    pub(super) fn ended(&self) -> Ended {
        Ended {
            command: self.command,
            received: self.received,
            params_bytes: self.params_bytes,
            is_answered: !self.oneway,
        }
    }

    /// The end of the caller's time. A deadline beyond the range of the clock counts as no deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.received.checked_add(self.timeout?)
    }
}

/// Whether the time of a call is up.
pub(super) fn is_late(request: &Request<'_>, now: Instant) -> bool {
    request
        .scope
        .deadline
        .is_some_and(|deadline| deadline <= now.into_std())
}

/// A handler at work.
pub(super) struct Call {
    terms: Terms,
    future: BoxFuture<'static, Outcome>,
    /// Dropped with the call, which tells those who asked that the caller has gone.
    _cancellation: LazyCancellation,
    _held: HeldBytes,
}

impl Call {
    pub(super) fn new(
        terms: Terms,
        future: BoxFuture<'static, Outcome>,
        cancellation: LazyCancellation,
        held: HeldBytes,
    ) -> Self {
        Self {
            terms,
            future,
            _cancellation: cancellation,
            _held: held,
        }
    }
}

impl Future for Call {
    type Output = (Terms, Outcome);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let terms = self.terms;
        self.future
            .as_mut()
            .poll(cx)
            .map(|outcome| (terms, outcome))
    }
}

/// What is said where data are over the reply limit.
pub(super) fn too_long(data: &RawJson<'_>, limit: usize) -> Status {
    let length = data.as_bytes().len();
    let message = format!(
        "the reply has {length} bytes and the limit `limits.reply_bytes_max` is {limit}; ask for less at a time"
    );
    Status::resource_exhausted(message).with_source(Fault::TooLong)
}
