//! A value that one task changes and others wait for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// As tokio's `watch::channel`, with its names, and who began to wait first is woken first: calls that waited for a
/// connection then leave in the order in which they were made.
pub(crate) fn channel<T: Clone>(value: T) -> (Sender<T>, Receiver<T>) {
    let state = State {
        value,
        version: 0,
        is_closed: false,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        changed: Notify::new(),
    });

    (Sender(Arc::clone(&shared)), Receiver { shared, seen: 0 })
}

/// Changes the value.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// Waits for changes. A clone has seen what the original has.
#[derive(Clone)]
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The sender is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    value: T,
    version: u64,
    is_closed: bool,
}

impl<T> Shared<T> {
    /// Each change is one step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    pub(crate) fn send_replace(&self, value: T) {
        let mut state = self.0.lock();
        // The old value is dropped without the lock: nobody knows what that leads to.
        let old = std::mem::replace(&mut state.value, value);
        state.version += 1;
        drop(state);
        drop(old);
        self.0.changed.notify_waiters();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_waiters();
    }
}

impl<T: Clone> Receiver<T> {
    /// The value, which counts as seen.
    pub(crate) fn borrow_and_update(&mut self) -> T {
        let state = self.shared.lock();
        self.seen = state.version;
        state.value.clone()
    }

    /// Whether it is another one than was seen; an error where the sender is gone.
    pub(crate) fn has_changed(&self) -> Result<bool, Closed> {
        let state = self.shared.lock();
        if state.is_closed {
            Err(Closed)
        } else {
            Ok(state.version != self.seen)
        }
    }

    /// Resolves when the value is one that was not seen. Cancel-safe.
    pub(crate) async fn changed(&self) -> Result<(), Closed> {
        let changed = self.shared.changed.notified();
        tokio::pin!(changed);
        // Registered before the look, so that no change in between is missed.
        changed.as_mut().enable();

        {
            let state = self.shared.lock();
            if state.version != self.seen {
                return Ok(());
            }
            if state.is_closed {
                return Err(Closed);
            }
        }

        changed.await;
        let state = self.shared.lock();
        if state.version == self.seen {
            Err(Closed)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        let (sender, receiver) = channel(0);
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        for n in 0..32 {
            let (mut receiver, told) = (receiver.clone(), told.clone());
            tokio::spawn(async move {
                receiver.changed().await.unwrap();
                told.send((n, receiver.borrow_and_update())).unwrap();
            });
        }

        tokio::task::yield_now().await;
        sender.send_replace(7);

        for n in 0..32 {
            assert_eq!(order.recv().await, Some((n, 7)));
        }
    }

    #[tokio::test]
    async fn a_change_that_was_not_seen_is_told_at_once_and_so_is_the_end() {
        let (sender, mut receiver) = channel(0);
        sender.send_replace(1);
        assert_eq!(
            (receiver.changed().await, receiver.borrow_and_update()),
            (Ok(()), 1)
        );

        let waiting = tokio::spawn({
            let receiver = receiver.clone();
            async move { receiver.changed().await }
        });

        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(waiting.await.unwrap(), Err(Closed));
        assert_eq!(
            (
                receiver.changed().await,
                receiver.has_changed(),
                receiver.borrow_and_update()
            ),
            (Err(Closed), Err(Closed), 1)
        );
    }
}
