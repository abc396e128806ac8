//! The guard of a layer: who holds it decides when the last entries are sent.

use std::sync::Arc;
use std::time::Duration;

use super::super::shipper::{BlockingShipper, Queue, Shipped, ShipperStats};

/// Keeps a [`LogLayer`](super::LogLayer) sending.
///
/// Dropping it sends what the queue holds and waits for the answers, for
/// [`close_timeout_ms`](super::super::ShipperConfig::close_timeout_ms) (2 s) at most; [`close`](Self::close) takes a time of the
/// caller's choice. Events that come after that are dropped. Both hold up their thread: an async program closes it at its end,
/// or in `spawn_blocking`.
#[must_use = "the layer stops when its guard is dropped; bind it to a name, not to `_`"]
#[derive(Debug)]
pub struct LogGuard {
    shipper: BlockingShipper,
    close_timeout: Duration,
}

impl LogGuard {
    pub(super) fn new(shipper: BlockingShipper, close_timeout: Duration) -> Self {
        Self {
            shipper,
            close_timeout,
        }
    }

    pub(super) fn queue(&self) -> Arc<Queue> {
        self.shipper.queue()
    }

    /// Waits until the events of before are in the log or dropped, for `timeout` at most.
    pub fn flush(&self, timeout: Duration) -> Shipped {
        self.shipper.flush(timeout)
    }

    /// Sends what the queue holds, for `timeout` at most, and ends the layer's thread. Of
    /// [`Shipped::unsent`], those entries may be in the log whose batches were under way.
    pub fn close(self, timeout: Duration) -> Shipped {
        self.shipper.close(timeout)
    }

    /// What was counted so far.
    pub fn stats(&self) -> ShipperStats {
        self.shipper.stats()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.shipper.close(self.close_timeout);
    }
}
