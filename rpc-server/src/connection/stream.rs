//! A stream under way: its items, which need credit where the caller gives some, then its end.

mod looking;
mod step;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::Stream;
use rpc_core::frame::ItemStream;
use rpc_core::{HeldBytes, RawJson, Status};
use tokio::time::Sleep;

use step::Taken;

use super::ahead::{Ahead, Looking, Place};
use super::call::{Terms, too_long};
use super::credit::Credit;
use crate::access::Beginnings;
use crate::layers::report_panic;

pub(super) use step::{StepTime, StreamStep};

/// Items that a stream gives at one time, where they are ready together: to ask it for each by itself costs more than
/// an item.
const ITEMS_PER_STEP: usize = 128;

/// Bytes of such items, at most, but for the last one.
const BYTES_PER_STEP: usize = 32 * 1024;

/// Time after which a stream takes no further items. It looks after one, two, four items, and so on, so that one whose
/// items take long does not take many of them.
const STEP_TIME: Duration = Duration::from_micros(100);

/// What holds for a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamRules {
    pub(super) item_bytes_max: usize,
    /// Bytes of all calls and streams of its connection, as far as that is known when it begins.
    pub(super) calls_bytes_max: usize,
    pub(super) beginnings: Beginnings,
}

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
    ahead: Arc<Ahead>,
    /// It looks for the next item before there is credit for it.
    looking: Option<Looking>,
    /// It waits for its turn to do so.
    place: Option<Place>,
    /// It has looked without credit in this step, and found an item or its end: that takes time as well.
    has_looked: bool,
    item_bytes_last: Option<usize>,
    timeout: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
    /// How many items it gave the last time: as many are expected now.
    items_last: usize,
    held: HeldBytes,
    /// Whether to say that it has begun, where its first item is not ready at once.
    beginning: Beginnings,
}

impl StreamCall {
    pub(super) fn new(
        items: ItemStream,
        terms: Terms,
        credit: Option<Arc<Credit>>,
        ahead: Arc<Ahead>,
        rules: StreamRules,
        held: HeldBytes,
    ) -> Self {
        Self {
            terms,
            items,
            item_bytes_max: rules.item_bytes_max,
            next: None,
            end: None,
            credit,
            ahead,
            looking: None,
            has_looked: false,
            place: None,
            item_bytes_last: None,
            timeout: terms
                .deadline()
                .map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
            has_ended: false,
            items_last: 0,
            held,
            beginning: rules.beginnings,
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
            let status = Status::deadline_exceeded(
                "the deadline of the call passed before the stream ended",
            );
            return Poll::Ready(StreamStep::End(Err(status)));
        }

        let mut taken = Taken::none();
        // Unwind safety: as for a handler, whose stream this is; it is not polled again.
        let end = catch_unwind(AssertUnwindSafe(|| self.take_items(cx, &mut taken)));
        self.end = end.unwrap_or_else(|panic| {
            let status = report_panic(self.terms.cmdid, panic.as_ref());
            Some(Err(status))
        });

        let Taken {
            items,
            bytes,
            mut time,
        } = taken;
        let has_looked = std::mem::take(&mut self.has_looked);
        if !items.is_empty() {
            self.items_last = items.len();
            return Poll::Ready(StreamStep::Items { items, bytes, time });
        }
        // Behind items, the next step begins with a look at the time.
        if has_looked {
            time.look();
            return Poll::Ready(StreamStep::Looked(time));
        }
        match self.end.take() {
            Some(end) => Poll::Ready(StreamStep::End(end)),
            None if self.tells_beginning() => Poll::Ready(StreamStep::Begun),
            None => Poll::Pending,
        }
    }

    /// Whether it is said now that the stream has begun: once, and not behind an item. The stream is polled again behind it.
    fn tells_beginning(&mut self) -> bool {
        let beginning = std::mem::take(&mut self.beginning);
        beginning == Beginnings::Told && self.items_last == 0
    }

    /// Takes the items that are ready and may be sent, up to a share of them. Returns how the stream ends behind them,
    /// where it does.
    fn take_items(
        &mut self,
        cx: &mut Context<'_>,
        taken: &mut Taken,
    ) -> Option<Result<(), Status>> {
        let mut credit = self.credit.as_ref().map(|credit| credit.items());

        let end = loop {
            let count = taken.items.len();
            if count >= ITEMS_PER_STEP || taken.bytes >= BYTES_PER_STEP {
                break None;
            }
            if count.is_power_of_two() && taken.time.look() >= STEP_TIME {
                break None;
            }

            if credit == Some(0) {
                break self.look_ahead(cx);
            }
            let item = match self.poll_item(cx) {
                Poll::Ready(Ok(item)) => item,
                Poll::Ready(Err(end)) => break Some(end),
                Poll::Pending => break None,
            };
            if let Some(items) = &mut credit {
                *items -= 1;
            }

            if count == 0 {
                taken.items.reserve_exact(self.items_last);
            }
            taken.bytes += item.as_bytes().len();
            taken.items.push(item);
        };

        if let (Some(credit), Some(left)) = (&self.credit, credit) {
            credit.set(left);
        }
        end
    }

    /// The next item, or how the stream ends.
    #[inline]
    fn poll_item(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<RawJson<'static>, Result<(), Status>>> {
        if let Some((item, _)) = self.next.take() {
            return Poll::Ready(Ok(item));
        }

        let next = ready!(self.items.as_mut().poll_next(cx));
        self.looking = None;
        Poll::Ready(match next {
            Some(Ok(item)) if item.as_bytes().len() > self.item_bytes_max => {
                Err(Err(too_long(&item, self.item_bytes_max)))
            }
            Some(Ok(item)) => {
                self.item_bytes_last = Some(item.as_bytes().len());
                Ok(item)
            }
            Some(Err(status)) => Err(Err(status)),
            None => Err(Ok(())),
        })
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
