//! A future that is polled only when it was woken, so that a wake-up that is lost shows.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// One future with a waker of its own.
pub struct Polled<T> {
    future: Option<Pin<Box<dyn Future<Output = T>>>>,
    woken: Arc<Flag>,
    waker: Waker,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Relaxed: all of it runs on one thread.
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls in a row after which a future that wakes itself is taken for one that never rests.
const POLLS_MAX: usize = 10_000;

impl<T> Polled<T> {
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));

        // A poll's budget of tokio's is the task's, and many polls are made in one.
        let future = tokio::task::coop::unconstrained(future);

        Self {
            future: Some(Box::pin(future)),
            woken,
            waker,
        }
    }

    /// Polls for as long as it is woken.
    pub fn turn(&mut self) -> Option<T> {
        let future = self.future.as_mut()?;
        for _ in 0..POLLS_MAX {
            if !self.woken.0.swap(false, Ordering::Relaxed) {
                return None;
            }

            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&self.waker))
            {
                self.future = None;
                return Some(output);
            }
        }

        panic!("it wakes itself for ever");
    }

    /// Whether it is over, or dropped.
    pub fn is_over(&self) -> bool {
        self.future.is_none()
    }
}
