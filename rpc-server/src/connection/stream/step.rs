//! A step of a stream: the items that it gives at one time, and the time that this takes.

use std::time::Duration;

use rpc_core::{RawJson, Status};
use tokio::time::Instant;

/// Items that may be sent together.
pub(super) struct Taken {
    pub(super) items: Vec<RawJson<'static>>,
    pub(super) bytes: usize,
    pub(super) time: StepTime,
}

/// The time that a step takes.
#[derive(Debug, Clone, Copy)]
pub(in crate::connection) struct StepTime {
    pub(in crate::connection) begun: Instant,
    /// The time as of the last look.
    pub(in crate::connection) now: Instant,
}

/// Lines of a stream.
pub(in crate::connection) enum StreamStep {
    /// It has begun, and waits for its first item.
    Begun,
    /// No line: it has looked for an item without credit, which took this time.
    Looked(StepTime),
    /// One item or more, and the number of their bytes.
    Items {
        items: Vec<RawJson<'static>>,
        bytes: usize,
        time: StepTime,
    },
    End(Result<(), Status>),
}

impl Taken {
    pub(super) fn none() -> Self {
        let begun = Instant::now();
        Self {
            items: Vec::new(),
            bytes: 0,
            time: StepTime { begun, now: begun },
        }
    }
}

impl StepTime {
    /// How much has passed.
    pub(super) fn look(&mut self) -> Duration {
        self.now = Instant::now();
        self.now.saturating_duration_since(self.begun)
    }
}
