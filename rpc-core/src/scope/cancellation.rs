//! The news that a caller has gone.

use std::fmt;
use std::future::Future;
use std::sync::OnceLock;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;

/// Tells a handler that its caller has gone: cancelled, past its deadline, or disconnected.
///
/// A handler that is simply dropped needs none of this; it is for those that run on (`detached`),
/// or that hand work to other tasks and threads.
#[derive(Clone)]
pub struct Cancellation(Option<Shared<oneshot::Receiver<()>>>);

impl Cancellation {
    pub(super) fn never() -> Self {
        Self(None)
    }

    /// Resolves when the caller no longer waits for the result. For a call without a connection it never
    /// does.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: another one resolves at the same time.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let receiver = self.0.clone();
        async move {
            match receiver {
                // That the sender is gone is the news; it never sends.
                Some(receiver) => drop(receiver.await),
                None => std::future::pending().await,
            }
        }
    }

    /// Whether the call is over, so that its result is not needed.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled().now_or_never().is_some()
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancellation")
            .field(&self.is_cancelled())
            .finish()
    }
}

/// The connection's side of a [`Cancellation`], made on first use. Dropping it cancels.
#[derive(Default)]
pub struct LazyCancellation(OnceLock<(oneshot::Sender<()>, Cancellation)>);

impl LazyCancellation {
    pub(super) fn get(&self) -> Cancellation {
        let make = || {
            let (sender, receiver) = oneshot::channel();
            (sender, Cancellation(Some(receiver.shared())))
        };
        self.0.get_or_init(make).1.clone()
    }
}
