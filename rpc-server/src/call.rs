//! A call under way: the handler's future, or the items of its stream, with what its replies need.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::Stream;
use futures::task::AtomicWaker;
use rpc_core::frame::{Item, ItemStream};
use rpc_core::scope::LazyCancellation;
use rpc_core::{Outcome, RawJson, Status};
use tokio::time::{Instant, Sleep};

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

/// What the reply of a call needs besides its outcome.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) place: Place,
    pub(crate) oneway: bool,
    pub(crate) credit: Option<u64>,
    /// The caller's own time limit, which a stream keeps too.
    pub(crate) deadline: Option<Instant>,
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
        Self { terms, future, _cancellation: cancellation }
    }
}

impl Future for Call {
    type Output = (Terms, Outcome);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let terms = self.terms;
        self.future.as_mut().poll(cx).map(|outcome| (terms, outcome))
    }
}

/// The items of a streaming call, then its end.
pub(crate) struct StreamCall {
    place: Place,
    items: ItemStream,
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
    pub(crate) fn new(items: ItemStream, terms: &Terms) -> Self {
        Self {
            place: terms.place,
            items,
            credit: terms.credit.map(|items| Arc::new(Credit::new(items))),
            timeout: terms.deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
            has_ended: false,
        }
    }

    pub(crate) fn credit(&self) -> Option<Arc<Credit>> {
        self.credit.clone()
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<StreamStep> {
        if self.timeout.as_mut().is_some_and(|timeout| timeout.as_mut().poll(cx).is_ready()) {
            let status = Status::deadline_exceeded("the time of the call was up before the stream's end");
            return Poll::Ready(StreamStep::End(Err(status)));
        }
        if let Some(credit) = &self.credit
            && !credit.poll_any(cx)
        {
            // Without an id nobody can give more, and nothing may wait for ever.
            return match self.place {
                Place::Ordered => Poll::Ready(StreamStep::End(Err(Status::resource_exhausted(
                    "the `credit` is used up, and a call without `id` cannot be given more",
                )))),
                Place::Multiplexed(_) | Place::Unanswered => Poll::Pending,
            };
        }
        self.items.as_mut().poll_next(cx).map(|item: Option<Item>| match item {
            Some(Ok(item)) => {
                if let Some(credit) = &self.credit {
                    credit.use_one();
                }
                StreamStep::Item(item)
            }
            Some(Err(status)) => StreamStep::End(Err(status)),
            None => StreamStep::End(Ok(())),
        })
    }
}

impl Stream for StreamCall {
    type Item = (Place, StreamStep);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let place = self.place;
        self.poll_step(cx).map(|step| {
            self.has_ended = matches!(step, StreamStep::End(_));
            Some((place, step))
        })
    }
}

/// How many items a stream may still send.
pub(crate) struct Credit {
    items: AtomicU64,
    waiting: AtomicWaker,
}

impl Credit {
    fn new(items: u64) -> Self {
        Self { items: AtomicU64::new(items), waiting: AtomicWaker::new() }
    }

    /// Only the connection's own task adds and uses, so relaxed operations do not race; the waker
    /// brings the stream back to be polled.
    pub(crate) fn add(&self, items: u64) {
        let now = self.items.load(Ordering::Relaxed).saturating_add(items);
        self.items.store(now, Ordering::Relaxed);
        self.waiting.wake();
    }

    fn poll_any(&self, cx: &Context<'_>) -> bool {
        let any = self.items.load(Ordering::Relaxed) > 0;
        if !any {
            self.waiting.register(cx.waker());
        }
        any
    }

    fn use_one(&self) {
        let left = self.items.load(Ordering::Relaxed).saturating_sub(1);
        self.items.store(left, Ordering::Relaxed);
    }
}
