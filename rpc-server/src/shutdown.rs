//! Shutdown of a server's connections: gracefully, then by force.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::sync::AtomicU8;

/// How far a server is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// Connections finish what they have accepted.
    Draining,
    /// What is left is cut.
    Aborted,
}

/// What all connections of a server are told.
pub(crate) struct Stop {
    stage: AtomicU8,
    draining: CancellationToken,
    aborted: CancellationToken,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self {
            stage: AtomicU8::new(Stage::Serving as u8),
            draining: CancellationToken::new(),
            aborted: CancellationToken::new(),
        }
    }

    pub(crate) fn drain(&self) {
        self.enter(Stage::Draining, &self.draining);
    }

    pub(crate) fn abort(&self) {
        self.enter(Stage::Aborted, &self.aborted);
    }

    /// The stage first, so that whoever is woken by the token sees it.
    fn enter(&self, stage: Stage, token: &CancellationToken) {
        self.stage.store(stage as u8, Ordering::Release);
        token.cancel();
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            stage if stage == Stage::Serving as u8 => Stage::Serving,
            stage if stage == Stage::Draining as u8 => Stage::Draining,
            _ => Stage::Aborted,
        }
    }

    /// Ready when the server drains.
    #[cfg(any(feature = "http", feature = "tls"))]
    pub(crate) fn draining(&self) -> impl Future<Output = ()> + Send {
        self.draining.cancelled()
    }

    /// Ready when what is left is cut.
    #[cfg(feature = "tls")]
    pub(crate) fn aborted(&self) -> impl Future<Output = ()> + Send {
        self.aborted.cancelled()
    }
}

/// A connection's look at the [`Stop`] of its server, with every wake. It costs one load; to poll the tokens'
/// futures would take locks that all connections share.
pub(crate) struct StopWatch {
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    aborted: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Whom these wake.
    waker: Option<Waker>,
}

impl StopWatch {
    pub(crate) fn new(stop: &Stop) -> Self {
        Self {
            draining: Box::pin(stop.draining.clone().cancelled_owned()),
            aborted: Box::pin(stop.aborted.clone().cancelled_owned()),
            waker: None,
        }
    }

    /// The stage now; `cx` is woken for the next one.
    pub(crate) fn poll(&mut self, stop: &Stop, cx: &mut Context<'_>) -> Stage {
        if !self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            // Registered before the stage is looked at: what comes in between wakes, or is seen.
            let _ = self.draining.as_mut().poll(cx);
            let _ = self.aborted.as_mut().poll(cx);
            self.waker = Some(cx.waker().clone());
        }

        stop.stage()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_polled_last_is_woken_for_each_stage() {
        let stop = Stop::new();
        let mut watch = StopWatch::new(&stop);
        let tasks = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
        let counts = || tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed));

        let mut poll = |task: usize| {
            let waker = Waker::from(Arc::clone(&tasks[task]));
            watch.poll(&stop, &mut Context::from_waker(&waker))
        };

        assert_eq!((poll(0), poll(0)), (Stage::Serving, Stage::Serving));

        // As where a connection's future moves to another task.
        assert_eq!(poll(1), Stage::Serving);

        stop.drain();
        assert_eq!(counts(), [0, 1]);
        assert_eq!(poll(1), Stage::Draining);

        stop.abort();
        assert_eq!(counts(), [0, 2]);
        assert_eq!(poll(1), Stage::Aborted);
    }

    #[test]
    fn one_that_comes_late_learns_at_once() {
        let stop = Stop::new();
        stop.drain();
        let stage = StopWatch::new(&stop).poll(&stop, &mut Context::from_waker(Waker::noop()));
        assert_eq!(stage, Stage::Draining);
    }
}
