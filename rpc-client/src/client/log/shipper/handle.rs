//! The part that the handles of a shipper share: when the last one is dropped, the worker ends soon.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::queue::Queue;
use super::state::Awaited;
use super::stats::Shipped;
use crate::time::after;

/// Closes the queue when it is dropped.
pub(in super::super) struct Handle {
    queue: Arc<Queue>,
}

impl Handle {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    pub(in super::super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    pub(super) async fn flush(&self, longest: Duration) -> Shipped {
        let awaited = self.queue.begin_flush();
        self.wait(awaited, longest).await
    }

    pub(super) async fn close(&self, longest: Duration) -> Shipped {
        self.begin_close(longest);
        // The worker ends by itself then; it may have ended with its runtime.
        self.wait(Awaited::Close, longest.saturating_add(GRACE))
            .await
    }

    async fn wait(&self, awaited: Awaited, longest: Duration) -> Shipped {
        // What has come by then is looked at in either case.
        let _ = timeout(longest, self.queue.wait(awaited)).await;
        self.queue.look(awaited).0
    }

    pub(in super::super) fn flush_on_thread(&self, longest: Duration) -> Shipped {
        let awaited = self.queue.begin_flush();
        self.queue.wait_on_thread(awaited, deadline(longest))
    }

    pub(in super::super) fn close_on_thread(&self, longest: Duration) -> Shipped {
        self.begin_close(longest);
        let deadline = deadline(longest.saturating_add(GRACE));
        self.queue.wait_on_thread(Awaited::Close, deadline)
    }

    fn begin_close(&self, longest: Duration) {
        self.queue.begin_close(after(Instant::now(), longest));
    }
}

/// Time for the worker to end behind its deadline.
const GRACE: Duration = Duration::from_millis(500);

fn deadline(longest: Duration) -> std::time::Instant {
    after(Instant::now(), longest).into_std()
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.begin_close(self.queue.config().close_timeout());
    }
}
