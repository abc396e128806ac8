//! A stream: the items that wait for its reader, and the stream as the reader holds it.

use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use rpc_core::RawJson;
use rpc_core::frame::BadReply;
use rpc_core::frame::encode_credit;
use rpc_core::frame::fast::UnverifiedItem;
use rpc_core::scope::Series;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::CallEnd;
use super::in_flight::{Data, Failure, Progress};
use super::pending::{PendingCall, decode};
use crate::config::Config;
use crate::error::Error;
use crate::metrics::End;

/// Items that a reader takes out of the connection together: to lock it for each costs more than an item.
const ITEMS_AT_HAND: usize = 128;

/// Bytes of such items, at most, but for the last one: `limits.stream_bytes_max` counts those that wait behind them.
const BYTES_AT_HAND: usize = 64 * 1024;

/// An item as it came.
pub(super) enum StreamItem {
    /// Of a line that was only glanced at: the code that decodes the data checks it.
    Unverified(UnverifiedItem),
    Sound(RawJson<'static>),
}

impl StreamItem {
    fn bytes(&self) -> usize {
        match self {
            Self::Unverified(item) => item.len(),
            Self::Sound(item) => item.as_bytes().len(),
        }
    }
}

/// The items of a stream that wait for its reader, and their bytes.
#[derive(Default)]
pub(super) struct Items {
    waiting: VecDeque<StreamItem>,
    bytes: usize,
}

impl Items {
    /// Moves the first ones into `hand`, which is empty.
    fn take(&mut self, hand: &mut VecDeque<StreamItem>) {
        if self.waiting.len() <= ITEMS_AT_HAND && self.bytes <= BYTES_AT_HAND {
            // Both keep their room.
            mem::swap(&mut self.waiting, hand);
            self.bytes = 0;
            return;
        }

        let mut bytes = 0;
        while hand.len() < ITEMS_AT_HAND && bytes < BYTES_AT_HAND {
            let Some(item) = self.waiting.pop_front() else {
                break;
            };
            bytes += item.bytes();
            hand.push_back(item);
        }
        self.bytes -= bytes;
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }

    /// Fails if there is no room for another one.
    pub(super) fn check_room(&self, config: &Config) -> Result<(), Failure> {
        if self.waiting.len() as u64 > config.limits.stream_credit {
            let message = "the stream sent more items than it had `credit` for";
            return Err(Failure::Nonsense(message.into()));
        }

        let limit = config.limits.stream_bytes_max;
        if self.bytes >= limit {
            let (items, bytes) = (self.waiting.len(), self.bytes);
            return Err(Failure::Unread(format!(
                "{items} items with {bytes} bytes wait for the reader of this stream, and \
                 `limits.stream_bytes_max` of {limit} bytes allows no further one; read faster, set a smaller \
                 `limits.stream_credit`, or raise the limit"
            )));
        }

        Ok(())
    }

    pub(super) fn add(&mut self, item: StreamItem) {
        self.bytes += item.bytes();
        self.waiting.push_back(item);
    }
}

/// The items of a streaming call. Dropping it gives the call up.
pub(crate) struct PendingStream {
    call: PendingCall,
    /// Taken out of the connection, and not given out yet.
    hand: VecDeque<StreamItem>,
    taken_since_credit: u64,
    /// Half of the credit: that many items are paid back together, so that there are few such frames, and the server
    /// never runs dry.
    credit_step: u64,
    /// Is told of the call's end.
    series: Option<Arc<Series>>,
    began: Instant,
}

/// What a stream has come to.
enum Next {
    /// Items are at hand.
    Items,
    /// It is over, with a last item or its failure.
    End(Option<Result<StreamItem, Error>>),
}

impl PendingStream {
    pub(crate) fn new(call: PendingCall, series: Option<Arc<Series>>) -> Self {
        let credit = call.connection.0.common.config.limits.stream_credit;
        Self {
            call,
            hand: VecDeque::new(),
            taken_since_credit: 0,
            credit_step: credit.div_ceil(2).max(1),
            series,
            began: Instant::now(),
        }
    }

    /// The next item, decoded where it lies.
    pub(crate) fn poll_decoded<T: DeserializeOwned>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<T, Error>>> {
        let item = match ready!(self.poll_item(cx)) {
            Some(Ok(item)) => item,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        };

        if let StreamItem::Unverified(item) = &item
            && let Ok(typed) = item.decode()
        {
            return Poll::Ready(Some(Ok(typed)));
        }
        let typed = self
            .verify(item)
            .and_then(|item| decode(Some(&item), self.call.address()));
        Poll::Ready(Some(typed))
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<StreamItem, Error>>> {
        if self.hand.is_empty() {
            if self.call.is_over {
                return Poll::Ready(None);
            }
            match ready!(self.poll_hand(cx)) {
                Next::Items => {}
                Next::End(last) => return Poll::Ready(last),
            }
        }

        let item = self.hand.pop_front();
        self.taken_since_credit += 1;
        if self.taken_since_credit >= self.credit_step {
            let items = mem::take(&mut self.taken_since_credit);
            let id = self.call.id;
            let mut state = self.call.connection.0.lock();
            state.append(|output| encode_credit(output, id, items));
        }
        Poll::Ready(item.map(Ok))
    }

    /// Takes the items that have come, or finds the end of the stream.
    fn poll_hand(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let PendingCall {
            connection,
            id,
            is_over,
            deadline,
            ..
        } = &mut self.call;
        let mut state = connection.0.lock();
        let slot = state
            .calls
            .get_mut(*id)
            .expect("the slot is closed by this call alone");

        slot.items.take(&mut self.hand);
        if !self.hand.is_empty() {
            return Poll::Ready(Next::Items);
        }

        // Under the same lock: an item that came in between would wake no task, or be lost with the end.
        let done = PendingCall::poll_locked(connection, &mut state, *id, is_over, deadline, cx);

        // The last line of a stream carries no data; that of a unary command does, and is taken for
        // a stream of one item.
        let sound = |item: RawJson<'static>| Ok(StreamItem::Sound(item));
        let (item, told) = match ready!(done) {
            Ok(Data::Sound(item)) => (item.map(sound), None),
            Ok(Data::Timed(settled)) => (settled.data.map(sound), settled.timing),
            Ok(Data::Unverified(_)) => unreachable!("the last line is read to its end"),
            Err(error) => {
                let told = error.timing();
                (Some(Err(error)), told)
            }
        };
        if let Some(series) = &self.series {
            if matches!(item, Some(Err(_))) {
                series.was_open(self.began.elapsed());
            }
            if let Some(timing) = series.timing() {
                timing.set(told);
            }
        }
        Poll::Ready(Next::End(item))
    }

    /// The data of an item whose line has been read to its end. A line that makes no sense is the end of the stream.
    fn verify(&mut self, item: StreamItem) -> Result<RawJson<'static>, Error> {
        match item {
            StreamItem::Sound(item) => Ok(item),
            StreamItem::Unverified(item) => item.verify().map_err(|bad| self.give_up(bad)),
        }
    }

    /// Gives the stream up for a line that makes no sense, and the connection where that line may have been for another
    /// call.
    fn give_up(&mut self, bad: BadReply) -> Error {
        self.hand.clear();
        let PendingCall {
            connection,
            id,
            is_over,
            ..
        } = &mut self.call;

        if !mem::replace(is_over, true) {
            let mut state = connection.0.lock();
            if let Some(slot) = state.calls.get_mut(*id)
                && matches!(slot.progress, Progress::Waiting)
            {
                let metrics = &connection.0.common.metrics;
                metrics.ended(slot.cmdid, End::UNREADABLE);
            }
            connection.release(&mut state, *id, CallEnd::GivenUp);
        }

        match bad.id {
            Some(_) => connection.end_of(Failure::Nonsense(bad.message)),
            None => self.call.give_up_connection(&bad.message),
        }
    }
}

impl Stream for PendingStream {
    type Item = Result<RawJson<'static>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.poll_item(cx));
        Poll::Ready(next.map(|item| item.and_then(|item| self.verify(item))))
    }
}
