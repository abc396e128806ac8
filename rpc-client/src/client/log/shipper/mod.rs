//! Batches of log entries, sent in the background: each entry is in the log once, or counted as dropped.
//!
//! The code that logs never waits: an entry is put into a queue that is bounded in entries and bytes, and a worker sends the
//! queue in batches. A batch has a number by which the log recognises it, so one whose answer was lost is sent again and
//! is still in the log once. While the log is away the entries wait; those that find the queue full are dropped and
//! counted, and an entry in the log says how many.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use rpc_client::log::{Append, Level, Shipper, ShipperConfig};
//!
//! # async fn example() {
//! let client = rpc_client::shared("127.0.0.1:8889");
//! let shipper = Shipper::start(client, "order", ShipperConfig::default());
//!
//! // An entry that finds no room is dropped, and counted.
//! let _ = shipper.push(&Append::new(Level::Info, "order", "user 4211 logged in"));
//!
//! let shipped = shipper.close(Duration::from_secs(2)).await;
//! println!("{} entries are in the log, {} were dropped", shipped.sent, shipped.dropped);
//! # }
//! ```
//!
//! [`BlockingShipper`] does the same for programs without a runtime.

mod blocking;
mod config;
mod doubt;
mod handle;
pub(super) mod line;
mod queue;
mod state;
mod stats;
mod verdict;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::api::log::Append;

use crate::client::Client;
use handle::Handle;
pub(super) use queue::Queue;
use worker::Worker;

pub use blocking::BlockingShipper;
pub use config::ShipperConfig;
pub use stats::{Dropped, Shipped, ShipperStats};

/// Sends entries to the log in batches, from a task of the runtime; see [the module](self). Clones share the queue.
///
/// When the last clone is dropped, the task goes on until the queue is empty, for
/// [`close_timeout_ms`](ShipperConfig::close_timeout_ms) at most. A program that ends calls [`close`](Self::close), since a
/// runtime that ends takes its tasks with it.
#[derive(Clone)]
pub struct Shipper {
    handle: Arc<Handle>,
}

impl Shipper {
    /// Starts the task on the current runtime. `service` is the name under which the log is told of dropped entries.
    ///
    /// The client may be shared with other calls. Batches are tried for as long as the shipper runs, whatever the client's own
    /// settings of retries are.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(client: Client, service: impl Into<String>, config: ShipperConfig) -> Self {
        let queue = Arc::new(Queue::new(service.into(), config));
        tokio::spawn(Worker::new(client, Arc::clone(&queue)).run());

        Self {
            handle: Arc::new(Handle::new(queue)),
        }
    }

    /// Puts an entry into the queue, without waiting. An entry without `ts` gets the current time.
    ///
    /// # Errors
    /// The entry was dropped; the reason. It is counted, and the log will say how many were dropped before the shipper was
    /// closed.
    pub fn push(&self, entry: &Append) -> Result<(), Dropped> {
        self.handle.queue().push(entry)
    }

    /// Waits until the entries that were pushed before are in the log or dropped, for `timeout` at most.
    /// [`Shipped::unsent`] is the number of those that are not.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: the entries are still sent.
    pub async fn flush(&self, timeout: Duration) -> Shipped {
        self.handle.flush(timeout).await
    }

    /// Sends what the queue holds, for `timeout` at most, and ends the task. Entries that are pushed from now on are dropped,
    /// in clones too.
    ///
    /// Of [`Shipped::unsent`], those entries may be in the log whose batches were under way.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: the task still ends by the timeout.
    pub async fn close(&self, timeout: Duration) -> Shipped {
        self.handle.close(timeout).await
    }

    /// What was counted so far.
    pub fn stats(&self) -> ShipperStats {
        self.handle.queue().stats()
    }
}

impl fmt::Debug for Shipper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shipper")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
