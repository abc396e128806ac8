//! A call under way: the handler's future, or the items of its stream, with what its replies need.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::Stream;
use futures::task::AtomicWaker;
use rpc_core::frame::{Item, ItemStream};
use rpc_core::scope::LazyCancellation;
use rpc_core::{CmdId, Outcome, RawJson, Request, Status};
use tokio::time::{Instant, Sleep};

use crate::layers::{Fault, report_panic};
use crate::metrics::{Command, Ended};
use crate::sync::{AtomicBool, AtomicU64};

/// Where the reply of a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Under its id, whenever it is ready.
    Multiplexed(u64),
    /// In the order of the calls without id.
    Ordered,
    /// Nowhere: a oneway call beside the order.
    Unanswered,
}

impl Place {
    pub(crate) fn of(id: Option<u64>, oneway: bool) -> Self {
        match id {
            Some(_) if oneway => Self::Unanswered,
            Some(id) => Self::Multiplexed(id),
            None => Self::Ordered,
        }
    }

    pub(crate) fn id(self) -> Option<u64> {
        match self {
            Self::Multiplexed(id) => Some(id),
            Self::Ordered | Self::Unanswered => None,
        }
    }
}

/// The trace of a call, most significant byte first: so it needs no alignment, and `Terms` stay small.
pub(crate) type TraceId = [u8; 16];

/// What the reply of a call needs besides its outcome.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) cmdid: CmdId,
    pub(crate) place: Place,
    pub(crate) oneway: bool,
    pub(crate) credit: Option<u64>,
    /// The caller's own time limit, which a stream keeps too.
    pub(crate) timeout: Option<Duration>,
    pub(crate) received: Instant,
    /// When it began, of its own turn and with room: what its latency is to `adaptive_concurrency`.
    pub(crate) started: Instant,
    /// What it is counted as.
    pub(crate) command: Command,
    pub(crate) params_bytes: u32,
    /// Only where calls are logged.
    pub(crate) trace: Option<TraceId>,
}

impl Terms {
    /// `params_bytes`: asking unread params for their length would have them read.
    pub(crate) fn of(request: &Request<'_>, received: Instant, params_bytes: usize) -> Self {
        Self {
            cmdid: request.cmdid,
            place: Place::of(request.id, request.oneway),
            oneway: request.oneway,
            credit: request.credit,
            timeout: request.timeout,
            received,
            started: received,
            command: Command::OTHER,
            // A frame is far shorter.
            params_bytes: u32::try_from(params_bytes).unwrap_or(u32::MAX),
            trace: None,
        }
    }

    /// What is counted of it.
    pub(crate) fn ended(&self) -> Ended {
        Ended {
            command: self.command,
            received: self.received,
            params_bytes: self.params_bytes,
            is_answered: !self.oneway,
        }
    }

    /// The end of the caller's time. One that lies beyond what a clock can say is none.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.received.checked_add(self.timeout?)
    }
}

/// Whether the time of a call is up.
pub(crate) fn is_late(request: &Request<'_>, now: Instant) -> bool {
    request
        .scope
        .deadline
        .is_some_and(|deadline| deadline <= now.into_std())
}

/// A handler at work.
pub(crate) struct Call {
    terms: Terms,
    future: BoxFuture<'static, Outcome>,
    /// Dropped with the call, which tells whoever asked that the caller has gone.
    _cancellation: LazyCancellation,
}

impl Call {
    pub(crate) fn new(
        terms: Terms,
        future: BoxFuture<'static, Outcome>,
        cancellation: LazyCancellation,
    ) -> Self {
        Self {
            terms,
            future,
            _cancellation: cancellation,
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

/// The items of a streaming call, then its end.
pub(crate) struct StreamCall {
    terms: Terms,
    items: ItemStream,
    item_bytes_max: usize,
    /// The next item, taken before there is credit for it: whether there is one decides whether the
    /// stream waits for credit or ends, and its end needs none.
    next: Option<RawJson<'static>>,
    credit: Option<Arc<Credit>>,
    timeout: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
}

/// One line of a stream.
pub(crate) enum StreamStep {
    Item(RawJson<'static>),
    End(Result<(), Status>),
}

impl StreamCall {
    pub(crate) fn new(items: ItemStream, terms: &Terms, item_bytes_max: usize) -> Self {
        Self {
            terms: *terms,
            items,
            item_bytes_max,
            next: None,
            credit: terms.credit.map(|items| Arc::new(Credit::new(items))),
            timeout: terms
                .deadline()
                .map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
            has_ended: false,
        }
    }

    pub(crate) fn credit(&self) -> Option<Arc<Credit>> {
        self.credit.clone()
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<StreamStep> {
        if self
            .timeout
            .as_mut()
            .is_some_and(|timeout| timeout.as_mut().poll(cx).is_ready())
        {
            let status =
                Status::deadline_exceeded("the time of the call was up before the stream's end");
            return Poll::Ready(StreamStep::End(Err(status)));
        }

        if self.next.is_none() {
            match ready!(self.poll_item(cx)) {
                Some(Ok(item)) if item.as_bytes().len() > self.item_bytes_max => {
                    let status = too_long(&item, self.item_bytes_max);
                    return Poll::Ready(StreamStep::End(Err(status)));
                }
                Some(Ok(item)) => self.next = Some(item),
                Some(Err(status)) => return Poll::Ready(StreamStep::End(Err(status))),
                None => return Poll::Ready(StreamStep::End(Ok(()))),
            }
        }

        if let Some(credit) = &self.credit
            && !credit.poll_use(cx)
        {
            // Nothing may wait for ever for what nobody can give.
            return match self.terms.place.id() {
                None => Poll::Ready(StreamStep::End(Err(Status::resource_exhausted(
                    "the `credit` is used up, and a call without `id` cannot be given more",
                )))),
                Some(_) if credit.is_closed() => {
                    Poll::Ready(StreamStep::End(Err(Status::resource_exhausted(
                        "the `credit` is used up, and the connection takes no more requests",
                    ))))
                }
                Some(_) => Poll::Pending,
            };
        }

        let item = self.next.take().expect("it was filled above");
        Poll::Ready(StreamStep::Item(item))
    }

    /// The next item; a panic is the stream's own end, and not that of its connection.
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        // Unwind safety: as for a handler, whose stream this is; it is not polled again.
        catch_unwind(AssertUnwindSafe(|| self.items.as_mut().poll_next(cx))).unwrap_or_else(
            |panic| Poll::Ready(Some(Err(report_panic(self.terms.cmdid, panic.as_ref())))),
        )
    }
}

impl Stream for StreamCall {
    type Item = (Terms, StreamStep);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }

        let terms = self.terms;
        self.poll_step(cx).map(|step| {
            self.has_ended = matches!(step, StreamStep::End(_));
            Some((terms, step))
        })
    }
}

/// What is said where data are over the reply limit.
pub(crate) fn too_long(data: &RawJson<'_>, limit: usize) -> Status {
    let length = data.as_bytes().len();
    let message = format!(
        "the reply has {length} bytes and the limit `reply_bytes_max` is {limit}; ask for less at a time"
    );
    Status::resource_exhausted(message).with_source(Fault::TooLong)
}

/// How many items a stream may still send.
pub(crate) struct Credit {
    items: AtomicU64,
    is_closed: AtomicBool,
    waiting: AtomicWaker,
}

impl Credit {
    fn new(items: u64) -> Self {
        Self {
            items: AtomicU64::new(items),
            is_closed: AtomicBool::new(false),
            waiting: AtomicWaker::new(),
        }
    }

    /// Only the connection's own task adds and uses, so relaxed operations do not race; the waker
    /// brings the stream back to be polled.
    pub(crate) fn add(&self, items: u64) {
        let now = self.items.load(Ordering::Relaxed).saturating_add(items);
        self.items.store(now, Ordering::Relaxed);
        self.waiting.wake();
    }

    /// Nobody will add any more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.waiting.wake();
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Takes the credit for one item, or has the stream polled again when there is some.
    fn poll_use(&self, cx: &Context<'_>) -> bool {
        let items = self.items.load(Ordering::Relaxed);
        if items == 0 {
            self.waiting.register(cx.waker());
            return false;
        }

        self.items.store(items - 1, Ordering::Relaxed);
        true
    }
}
