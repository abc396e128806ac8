//! Broadcasts: items published once, for all subscribers that listen at that time.
//!
//! A [`Broadcast`] is given to handlers as their state. A handler subscribes and returns what comes as its
//! stream; whatever has news publishes them. Items wait in one place, bounded in number and in bytes, however
//! many subscribers there are; [`SlowSubscriber`] says what becomes of one that does not keep up.
//!
//! ```
//! use rpc_server::broadcast::{Broadcast, BroadcastConfig};
//! use rpc_server::{Reply, Router, State, Status};
//!
//! #[derive(Clone, serde::Serialize)]
//! #[serde(untagged)]
//! enum Price {
//!     Of { fruit: &'static str, cents: u32 },
//!     /// As many prices the caller has missed.
//!     Missed { missed: u64 },
//! }
//!
//! async fn follow(State(prices): State<Broadcast<Price>>) -> Reply {
//!     Reply::stream(prices.subscribe().items(|missed| Ok(Price::Missed { missed })))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let prices = Broadcast::new(BroadcastConfig::default())?;
//! let router = Router::with_state(prices.clone()).route(100, follow)?;
//! # let _ = router;
//!
//! prices.publish(Price::Of { fruit: "pear", cents: 30 }).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }
//! ```

mod config;
mod ring;
mod subscription;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use rpc_core::config::ConfigError;
use rpc_core::{RawJson, Status};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::sync::{Mutex, MutexGuard};
pub use config::{BroadcastConfig, SlowSubscriber};
use ring::{Ring, Room};
pub use subscription::{Received, Subscription};

/// Publishes items to any number of subscribers. Clones publish to the same ones.
///
/// A subscriber gets the items that are published after it has subscribed, in their order. Once the last clone
/// is dropped, or the broadcast is [closed](Self::close), its subscribers get what waits for them, and their
/// streams end.
pub struct Broadcast<T>(Arc<Publisher<T>>);

/// What all clones share: with the last of them the broadcast ends.
struct Publisher<T> {
    shared: Arc<Shared<T>>,
    /// Publishers that wait for room wait one behind the other, so that their items keep their order.
    turn: tokio::sync::Mutex<()>,
}

/// What publishers and subscribers share.
struct Shared<T> {
    config: BroadcastConfig,
    ring: Mutex<Ring<T>>,
    /// Told when a subscriber has made room. One publisher at a time waits for it.
    room: Notify,
}

/// The figures of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BroadcastStats {
    /// Subscribers that listen.
    pub subscribers: usize,
    /// Items that wait for one subscriber or more, at most `items_max`.
    pub items: usize,
    /// Their length as JSON in bytes, at most `bytes_max`.
    pub bytes: usize,
    /// Items that were published.
    pub published: u64,
    /// Items that subscribers did not get because they were slow, counted for each subscriber.
    pub dropped: u64,
    /// Subscribers whose streams were ended with code 8 because they were slow.
    pub ended: u64,
}

impl<T: Clone + Serialize> Broadcast<T> {
    /// A broadcast without subscribers.
    ///
    /// # Errors
    /// A limit of `config` is 0.
    pub fn new(config: BroadcastConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let shared = Shared {
            config,
            ring: Mutex::new(Ring::default()),
            room: Notify::new(),
        };

        Ok(Self(Arc::new(Publisher {
            shared: Arc::new(shared),
            turn: tokio::sync::Mutex::default(),
        })))
    }

    /// Listens to all that is published from now on.
    pub fn subscribe(&self) -> Subscription<T> {
        Subscription::new(&self.0.shared)
    }

    /// Gives the item to all subscribers. Ready at once, except where [`SlowSubscriber::Wait`] waits for room.
    ///
    /// # Errors
    /// Code 8 where the item alone is over `bytes_max`, 13 where it has no JSON form, and 9 where the broadcast is
    /// closed.
    ///
    /// # Cancel safety
    /// An item that waits for room when the future is dropped is not published.
    pub async fn publish(&self, item: T) -> Result<(), Status> {
        let shared = &self.0.shared;
        let bytes = shared.measure(&item)?;
        let limit = match shared.config.slow {
            SlowSubscriber::Wait(limit) => limit,
            SlowSubscriber::DropOldest | SlowSubscriber::End => {
                return shared.publish(item, bytes);
            }
        };

        let _turn = self.0.turn.lock().await;
        shared.wait_for_room(bytes, limit).await;
        shared.publish(item, bytes)
    }

    /// Ends the broadcast: subscribers get what waits for them, then their streams end.
    pub fn close(&self) {
        self.0.shared.close();
    }

    /// Its figures now.
    pub fn stats(&self) -> BroadcastStats {
        self.0.shared.lock().stats()
    }
}

impl<T> Shared<T> {
    /// An item is whole before it is put there, so a panic leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Ring<T>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let waiting = self.lock().close();
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl<T: Clone + Serialize> Shared<T> {
    /// The length of an item as JSON, which is what it counts as.
    fn measure(&self, item: &T) -> Result<usize, Status> {
        let json = RawJson::serialize(item).map_err(|error| {
            Status::internal("the item cannot be written as JSON, and is not published")
                .with_source(error)
        })?;

        let (bytes, limit) = (json.as_bytes().len(), self.config.bytes_max);
        if bytes > limit {
            return Err(Status::resource_exhausted(format!(
                "the item has {bytes} bytes, but all waiting items together may have at most {limit} (`bytes_max`)"
            )));
        }
        Ok(bytes)
    }

    /// Publishes; what is in the way of the item is dropped as the policy says.
    fn publish(&self, item: T, bytes: usize) -> Result<(), Status> {
        let waiting = self.lock().push(item, bytes, &self.config)?;
        // Outside of the lock, which those who are woken take.
        waiting.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Waits until there is room for `bytes` bytes, or the subscribers that are in the way have had their time.
    async fn wait_for_room(&self, bytes: usize, limit: Duration) {
        let until = Instant::now() + limit;
        while self.lock().room_for(bytes, &self.config) == Room::None {
            if timeout_at(until, self.room.notified()).await.is_err() {
                return;
            }
        }
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &self.0.shared;
        f.debug_struct("Broadcast")
            .field("config", &shared.config)
            .field("stats", &shared.lock().stats())
            .finish()
    }
}
