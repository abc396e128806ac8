//! The tasks of a server's connections.

use std::future::Future;

use tokio_util::task::TaskTracker;

/// The tasks of a server's connections, by whether `limits.connections_max` counts them.
#[derive(Clone, Default)]
pub(super) struct Connections {
    pub(super) counted: TaskTracker,
    /// Those to the listener for pages, and those over the limit that are still served pages and built-in commands.
    pub(super) uncounted: TaskTracker,
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        self.counted.len() + self.uncounted.len()
    }

    /// Waits for the end of all of them, from now on.
    pub(super) fn ended(&self) -> impl Future<Output = ()> {
        self.counted.close();
        self.uncounted.close();

        async {
            self.counted.wait().await;
            self.uncounted.wait().await;
        }
    }
}
