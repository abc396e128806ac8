//! A shipper for programs without a runtime.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::api::log::Append;
use tracing::Dispatch;

use super::config::ShipperConfig;
use super::handle::Handle;
use super::queue::Queue;
use super::stats::{Dropped, Shipped, ShipperStats};
use super::worker::Worker;
use crate::client::ClientBuilder;

/// Sends entries to the log in batches, from a thread and over a connection of its own; see [the module](super). Clones share
/// the queue.
///
/// The thread is called `rpc-log`. When the last clone is dropped, it goes on until the queue is empty, for
/// [`close_timeout_ms`](ShipperConfig::close_timeout_ms) at most. A program that ends calls [`close`](Self::close), since threads end
/// with the program.
///
/// ```no_run
/// use std::time::Duration;
///
/// use rpc_client::Client;
/// use rpc_client::log::{Append, BlockingShipper, Level, ShipperConfig};
///
/// fn main() -> std::io::Result<()> {
///     let client = Client::builder("127.0.0.1:8889");
///     let shipper = BlockingShipper::start(client, "order", ShipperConfig::default())?;
///     let _ = shipper.push(&Append::new(Level::Info, "order", "user 4211 logged in"));
///     shipper.close(Duration::from_secs(2));
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct BlockingShipper {
    handle: Arc<Handle>,
}

impl BlockingShipper {
    /// Starts the thread. `service` is the name under which the log is told of dropped entries.
    ///
    /// The thread has a dispatcher of `tracing` of its own, that records nothing: what the connection of a shipper tells of
    /// itself is never shipped.
    ///
    /// # Errors
    /// Those of the system: it has no room for a thread.
    pub fn start(
        client: ClientBuilder,
        service: impl Into<String>,
        config: ShipperConfig,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(service.into(), config));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Threads of look-ups in DNS, too, record nothing for as long as they live.
            .on_thread_start(|| std::mem::forget(silence()))
            .build()?;

        let shared = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("rpc-log".into())
            .spawn(move || {
                let _silence = silence();
                runtime.block_on(async {
                    Worker::new(client.build(), shared).run().await;
                });
                // A look-up of names that hangs does not hold up the end.
                runtime.shutdown_background();
            })?;

        Ok(Self {
            handle: Arc::new(Handle::new(queue)),
        })
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
    pub fn flush(&self, timeout: Duration) -> Shipped {
        self.handle.flush_on_thread(timeout)
    }

    /// Sends what the queue holds, for `timeout` at most, and ends the thread. Entries that are pushed from now on are
    /// dropped, in clones too.
    ///
    /// Of [`Shipped::unsent`], those entries may be in the log whose batches were under way.
    pub fn close(&self, timeout: Duration) -> Shipped {
        self.handle.close_on_thread(timeout)
    }

    #[cfg(feature = "tracing")]
    pub(in super::super) fn queue(&self) -> Arc<Queue> {
        Arc::clone(self.handle.queue())
    }

    /// What was counted so far.
    pub fn stats(&self) -> ShipperStats {
        self.handle.queue().stats()
    }
}

fn silence() -> tracing::dispatcher::DefaultGuard {
    tracing::dispatcher::set_default(&Dispatch::none())
}

impl fmt::Debug for BlockingShipper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingShipper")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
