//! The stream of a subscriber.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{Stream, StreamExt};
use rpc_core::Status;

use super::Shared;
use super::ring::{Freed, SubscriberId};

/// What a subscriber gets: the items that are published while it listens, in their order.
///
/// It ends with code 8 where the subscriber is too slow and the broadcast does not drop items for it, and without
/// a failure when the broadcast ends. Dropping it ends it.
pub struct Subscription<T> {
    shared: Arc<Shared<T>>,
    id: SubscriberId,
}

/// What a subscriber gets next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received<T> {
    /// An item.
    Item(T),
    /// As many items were dropped, because the subscriber was too slow: they come before the next one.
    Dropped(u64),
}

impl<T> Subscription<T> {
    pub(super) fn new(shared: &Arc<Shared<T>>) -> Self {
        Self {
            id: shared.lock().subscribe(),
            shared: Arc::clone(shared),
        }
    }
}

impl<T: Clone + Unpin> Subscription<T> {
    /// The items alone: of dropped ones, `tell` makes an item that says how many there were, or a failure, with which
    /// the stream ends.
    pub fn items(
        self,
        mut tell: impl FnMut(u64) -> Result<T, Status>,
    ) -> impl Stream<Item = Result<T, Status>> {
        self.map(move |received| match received? {
            Received::Item(item) => Ok(item),
            Received::Dropped(dropped) => tell(dropped),
        })
    }
}

impl<T: Clone> Stream for Subscription<T> {
    type Item = Result<Received<T>, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let taken = self.shared.lock().take(self.id, cx, &self.shared.config);
        if taken.freed == Freed::Some {
            self.shared.room.notify_one();
        }
        taken.next
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        let freed = self.shared.lock().unsubscribe(self.id);
        if freed == Freed::Some {
            self.shared.room.notify_one();
        }
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
