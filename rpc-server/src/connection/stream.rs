//! A stream under way: its items, which need credit where the caller gives some, then its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures::stream::Stream;
use futures::task::AtomicWaker;
use rpc_core::frame::{Item, ItemStream};
use rpc_core::{HeldBytes, RawJson, Status};
use tokio::time::Sleep;

use super::call::{Terms, too_long};
use crate::layers::report_panic;
use crate::sync::{AtomicBool, AtomicU64};

/// The items of a streaming call, then its end.
pub(super) struct StreamCall {
    terms: Terms,
    items: ItemStream,
    item_bytes_max: usize,
    /// The next item, taken before there is credit for it: whether there is one decides whether the
    /// stream waits for credit or ends, and its end needs none. Its bytes count while it waits.
    next: Option<(RawJson<'static>, HeldBytes)>,
    credit: Option<Arc<Credit>>,
    timeout: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
    held: HeldBytes,
}

/// One line of a stream.
pub(super) enum StreamStep {
    Item(RawJson<'static>),
    End(Result<(), Status>),
}

impl StreamCall {
    pub(super) fn new(
        items: ItemStream,
        terms: Terms,
        credit: Option<Arc<Credit>>,
        item_bytes_max: usize,
        held: HeldBytes,
    ) -> Self {
        Self {
            terms,
            items,
            item_bytes_max,
            next: None,
            credit,
            timeout: terms
                .deadline()
                .map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
            has_ended: false,
            held,
        }
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
                Some(Ok(item)) => {
                    let held = self.held.another(item.as_bytes().len());
                    self.next = Some((item, held));
                }
                Some(Err(status)) => return Poll::Ready(StreamStep::End(Err(status))),
                None => return Poll::Ready(StreamStep::End(Ok(()))),
            }
        }

        if let Some(credit) = &self.credit
            && !credit.poll_use(cx)
        {
            // A stream may not wait for ever for credit that cannot come.
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

        let (item, _held) = self.next.take().expect("it was filled above");
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

/// How many items a stream may still send.
pub(super) struct Credit {
    items: AtomicU64,
    is_closed: AtomicBool,
    waiting: AtomicWaker,
}

impl Credit {
    pub(super) fn new(items: u64) -> Self {
        Self {
            items: AtomicU64::new(items),
            is_closed: AtomicBool::new(false),
            waiting: AtomicWaker::new(),
        }
    }

    /// Only the connection's own task adds and uses, so relaxed operations do not race; the waker
    /// brings the stream back to be polled.
    pub(super) fn add(&self, items: u64) {
        let now = self.items.load(Ordering::Relaxed).saturating_add(items);
        self.items.store(now, Ordering::Relaxed);
        self.waiting.wake();
    }

    /// No more will be added.
    pub(super) fn close(&self) {
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
