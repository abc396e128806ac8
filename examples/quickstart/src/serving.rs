//! A server in a task of its own, and how it ends.

use std::future::Future;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Error;

/// The task of a server. Dropped, it tells the server to stop; [`stop`](Self::stop) also waits.
pub(crate) struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Serving {
    /// Starts `serve`, which is to return soon after what it is given is ready.
    pub(crate) fn start<F>(serve: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        Self {
            stop,
            task: tokio::spawn(serve(stopped)),
        }
    }

    /// Tells the server to stop, and waits until it has.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        drop(self.stop);
        self.task.await?
    }
}
