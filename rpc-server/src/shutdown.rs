//! Shutdown of a server's connections: gracefully, then by force.

#[cfg(any(feature = "http", feature = "tls"))]
use std::future::Future;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

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

/// What all connections of a server are told. They look at the stage whenever they are woken, which costs one load;
/// the server wakes all that are open. Handshakes and pages wait for the tokens.
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

    /// The stage first, so that what the token wakes sees it.
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
