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

/// Items that a stream gives at one time, where they are ready together: to ask it for each by itself costs more than
/// an item.
const ITEMS_PER_STEP: usize = 16;

/// Bytes of such items, at most, but for the last one.
const BYTES_PER_STEP: usize = 4 * 1024;

/// The items of a streaming call, then its end.
pub(super) struct StreamCall {
    terms: Terms,
    items: ItemStream,
    item_bytes_max: usize,
    /// The next item, taken before there is credit for it: whether there is one decides whether the
    /// stream waits for credit or ends, and its end needs none. Its bytes count while it waits.
    next: Option<(RawJson<'static>, HeldBytes)>,
    /// How it ends, behind the items that were given last.
    end: Option<Result<(), Status>>,
    credit: Option<Arc<Credit>>,
    timeout: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
    held: HeldBytes,
}

/// Lines of a stream.
pub(super) enum StreamStep {
    /// One item or more.
    Items(Vec<RawJson<'static>>),
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
            end: None,
            credit,
            timeout: terms
                .deadline()
                .map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
            has_ended: false,
            held,
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<StreamStep> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(StreamStep::End(end));
        }
        if self
            .timeout
            .as_mut()
            .is_some_and(|timeout| timeout.as_mut().poll(cx).is_ready())
        {
            let status =
                Status::deadline_exceeded("the time of the call was up before the stream's end");
            return Poll::Ready(StreamStep::End(Err(status)));
        }

        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < ITEMS_PER_STEP && bytes < BYTES_PER_STEP {
            match self.poll_line(cx) {
                Poll::Ready(Ok(item)) => {
                    bytes += item.as_bytes().len();
                    items.push(item);
                }
                Poll::Ready(Err(end)) => {
                    self.end = Some(end);
                    break;
                }
                Poll::Pending => break,
            }
        }

        match self.end.take_if(|_| items.is_empty()) {
            Some(end) => Poll::Ready(StreamStep::End(end)),
            None if items.is_empty() => Poll::Pending,
            None => Poll::Ready(StreamStep::Items(items)),
        }
    }

    /// The next item that may be sent, or how the stream ends.
    fn poll_line(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<RawJson<'static>, Result<(), Status>>> {
        let item = match self.next.take() {
            Some((item, _)) => item,
            None => match ready!(self.poll_item(cx)) {
                Some(Ok(item)) if item.as_bytes().len() > self.item_bytes_max => {
                    return Poll::Ready(Err(Err(too_long(&item, self.item_bytes_max))));
                }
                Some(Ok(item)) => item,
                Some(Err(status)) => return Poll::Ready(Err(Err(status))),
                None => return Poll::Ready(Err(Ok(()))),
            },
        };

        let Some(credit) = self.credit.as_ref().filter(|credit| !credit.poll_use(cx)) else {
            return Poll::Ready(Ok(item));
        };

        // A stream may not wait for ever for credit that cannot come.
        let why = match self.terms.place.id() {
            None => "a call without `id` cannot be given more",
            Some(_) if credit.is_closed() => "the connection takes no more requests",
            Some(_) => {
                let held = self.held.another(item.as_bytes().len());
                self.next = Some((item, held));
                return Poll::Pending;
            }
        };
        let message = format!("the `credit` is used up, and {why}");
        Poll::Ready(Err(Err(Status::resource_exhausted(message))))
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
