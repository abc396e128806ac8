//! The items that wait for subscribers, and how far each subscriber is. Without locks and clock.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};

use rpc_core::Status;

use super::{BroadcastConfig, BroadcastStats, Received, SlowSubscriber};

/// The number of a subscriber.
pub(super) type SubscriberId = u64;

/// The items that one subscriber or more have not taken, oldest first, and the subscribers.
pub(super) struct Ring<T> {
    items: VecDeque<Waiting<T>>,
    bytes: usize,
    /// Items that were published. The number of the oldest one that waits is this without those that wait.
    published: u64,
    subscribers: HashMap<SubscriberId, Subscriber>,
    /// Those of them whose streams do not have to end.
    listening: usize,
    next_id: SubscriberId,
    dropped: u64,
    ended: u64,
    is_closed: bool,
}

struct Waiting<T> {
    item: T,
    bytes: usize,
    /// Subscribers that have not taken it. Of a later item there are as many or more.
    left: usize,
}

struct Subscriber {
    /// The number of the item that it gets next: never of one that does not wait any more.
    next: u64,
    /// Items dropped since it was told of any.
    dropped: u64,
    /// Its stream has to end.
    is_ended: bool,
    /// Waits for an item.
    waker: Option<Waker>,
}

/// Whether there is room for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// A subscriber has not taken the oldest item.
    None,
}

/// Whether there may be room now that there was not before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freed {
    Some,
    Nothing,
}

/// What has become of a subscriber's turn.
pub(super) struct Taken<T> {
    pub(super) next: Poll<Option<Result<Received<T>, Status>>>,
    pub(super) freed: Freed,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            published: 0,
            subscribers: HashMap::new(),
            listening: 0,
            next_id: 0,
            dropped: 0,
            ended: 0,
            is_closed: false,
        }
    }
}

impl<T> Ring<T> {
    /// Adds a subscriber, which gets what is published from now on.
    pub(super) fn subscribe(&mut self) -> SubscriberId {
        let id = self.next_id;
        self.next_id += 1;
        self.listening += 1;
        self.subscribers.insert(
            id,
            Subscriber {
                next: self.published,
                dropped: 0,
                is_ended: false,
                waker: None,
            },
        );
        id
    }

    /// Takes a subscriber away.
    pub(super) fn unsubscribe(&mut self, id: SubscriberId) -> Freed {
        match self.subscribers.remove(&id) {
            Some(gone) if !gone.is_ended => {
                self.listening -= 1;
                self.give_up(gone.next)
            }
            Some(_) | None => Freed::Nothing,
        }
    }

    /// Whether there is room for `bytes` bytes.
    pub(super) fn room_for(&self, bytes: usize, config: &BroadcastConfig) -> Room {
        match self.excess(bytes, config) {
            0 => Room::Enough,
            _ => Room::None,
        }
    }

    /// Adds an item. Returns those who wait for it.
    ///
    /// # Errors
    /// Code 9 where the broadcast is closed.
    pub(super) fn push(
        &mut self,
        item: T,
        bytes: usize,
        config: &BroadcastConfig,
    ) -> Result<Vec<Waker>, Status> {
        if self.is_closed {
            return Err(Status::failed_precondition(
                "the broadcast is closed; the item is not published",
            ));
        }

        self.make_room(self.excess(bytes, config), config.slow);
        self.published += 1;
        self.bytes += bytes;
        self.items.push_back(Waiting {
            item,
            bytes,
            left: self.listening,
        });
        self.drop_taken();

        let waiting = self.subscribers.values_mut();
        Ok(waiting.filter_map(|one| one.waker.take()).collect())
    }

    /// Ends the broadcast. Returns those who wait for an item.
    pub(super) fn close(&mut self) -> Vec<Waker> {
        self.is_closed = true;
        let waiting = self.subscribers.values_mut();
        waiting.filter_map(|one| one.waker.take()).collect()
    }

    pub(super) fn stats(&self) -> BroadcastStats {
        BroadcastStats {
            subscribers: self.listening,
            items: self.items.len(),
            bytes: self.bytes,
            published: self.published,
            dropped: self.dropped,
            ended: self.ended,
        }
    }

    /// The number of the oldest item that waits, or of the next one where none does.
    fn oldest(&self) -> u64 {
        self.published - self.items.len() as u64
    }

    /// Where the item of this number stands, or would stand, among those that wait.
    fn place_of(&self, number: u64) -> usize {
        usize::try_from(number - self.oldest()).expect("no more items wait than there is memory")
    }

    /// Drops the items that all subscribers have taken.
    fn drop_taken(&mut self) -> Freed {
        let mut freed = Freed::Nothing;
        while self.items.front().is_some_and(|oldest| oldest.left == 0) {
            self.pop();
            freed = Freed::Some;
        }
        freed
    }

    /// One subscriber takes none of the items from this number on.
    fn give_up(&mut self, from: u64) -> Freed {
        let at = self.place_of(from);
        for waiting in self.items.range_mut(at..) {
            waiting.left -= 1;
        }
        self.drop_taken()
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.items.pop_front() {
            self.bytes -= oldest.bytes;
        }
    }

    /// How many of the oldest items are in the way of `bytes` bytes.
    fn excess(&self, bytes: usize, config: &BroadcastConfig) -> usize {
        let (mut left, mut left_bytes) = (self.items.len(), self.bytes);
        let mut oldest = self.items.iter();
        while left > 0 && (left >= config.items_max || left_bytes + bytes > config.bytes_max) {
            left -= 1;
            left_bytes -= oldest.next().map_or(0, |oldest| oldest.bytes);
        }
        self.items.len() - left
    }

    /// Drops `excess` of the oldest items, at the cost of the subscribers that have not taken them.
    fn make_room(&mut self, excess: usize, slow: SlowSubscriber) {
        if excess == 0 {
            return;
        }

        match slow {
            SlowSubscriber::DropOldest => self.drop_oldest(excess),
            SlowSubscriber::End | SlowSubscriber::Wait(_) => self.end_slow(excess),
        }
    }

    fn drop_oldest(&mut self, excess: usize) {
        let until = self.oldest() + excess as u64;
        for subscriber in self.subscribers.values_mut() {
            let missed = until.saturating_sub(subscriber.next);
            subscriber.next += missed;
            subscriber.dropped += missed;
            self.dropped += missed;
        }

        for _ in 0..excess {
            self.pop();
        }
    }

    /// Ends the streams of those who have not taken these items: the item that is published is not for them any more.
    fn end_slow(&mut self, excess: usize) {
        let (published, until) = (self.published, self.oldest() + excess as u64);
        let mut given_up = Vec::new();
        for subscriber in self.subscribers.values_mut() {
            if subscriber.is_ended || subscriber.next >= until {
                continue;
            }

            subscriber.is_ended = true;
            subscriber.dropped = published - subscriber.next;
            self.dropped += subscriber.dropped;
            given_up.push(subscriber.next);
        }

        self.listening -= given_up.len();
        self.ended += given_up.len() as u64;
        for from in given_up {
            self.give_up(from);
        }
    }
}

impl<T: Clone> Ring<T> {
    /// What a subscriber gets next. Has it woken where that is nothing.
    pub(super) fn take(
        &mut self,
        id: SubscriberId,
        cx: &mut Context<'_>,
        config: &BroadcastConfig,
    ) -> Taken<T> {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return Taken::said(Poll::Ready(None));
        };

        if subscriber.is_ended {
            let failure = too_slow(subscriber.dropped, config);
            self.subscribers.remove(&id);
            return Taken::said(Poll::Ready(Some(Err(failure))));
        }
        if subscriber.dropped > 0 {
            let dropped = std::mem::take(&mut subscriber.dropped);
            return Taken::said(Poll::Ready(Some(Ok(Received::Dropped(dropped)))));
        }
        if subscriber.next == self.published {
            if self.is_closed {
                return Taken::said(Poll::Ready(None));
            }
            subscriber.waker = Some(cx.waker().clone());
            return Taken::said(Poll::Pending);
        }

        let number = subscriber.next;
        subscriber.next += 1;
        let at = self.place_of(number);
        let waiting = &mut self.items[at];
        waiting.left -= 1;
        let item = waiting.item.clone();
        Taken {
            next: Poll::Ready(Some(Ok(Received::Item(item)))),
            freed: self.drop_taken(),
        }
    }
}

impl<T> Taken<T> {
    /// Something that is not an item.
    fn said(next: Poll<Option<Result<Received<T>, Status>>>) -> Self {
        Self {
            next,
            freed: Freed::Nothing,
        }
    }
}

/// How the stream of a slow subscriber ends.
fn too_slow(dropped: u64, config: &BroadcastConfig) -> Status {
    let BroadcastConfig {
        items_max,
        bytes_max,
        ..
    } = config;
    Status::resource_exhausted(format!(
        "the caller is too slow for this stream: {dropped} waiting items were dropped; at most {items_max} items \
         (`items_max`) with {bytes_max} bytes together (`bytes_max`) may wait; call again, and read faster"
    ))
}
