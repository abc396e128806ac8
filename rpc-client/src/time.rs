//! Deadlines, and what a call inherits from its parent.

use std::time::Duration;

use rpc_core::scope::Parent;
use rpc_core::trace::TraceContext;
use tokio::time::Instant;

/// What a handler's call hands on to the calls that the handler makes.
#[derive(Debug, Clone)]
pub(crate) struct Inherited {
    pub(crate) deadline: Option<std::time::Instant>,
    pub(crate) trace: Option<TraceContext>,
}

impl Inherited {
    pub(crate) fn from(parent: &impl Parent) -> Self {
        Self {
            deadline: parent.deadline(),
            trace: TraceContext::of(parent),
        }
    }

    /// The same below another one: the earlier deadline holds, and the nearer trace.
    pub(crate) fn under(self, above: Option<&Self>) -> Self {
        let Some(above) = above else { return self };
        Self {
            deadline: [self.deadline, above.deadline].into_iter().flatten().min(),
            trace: self.trace.or_else(|| above.trace.clone()),
        }
    }
}

/// The longest timeout, 30 years: longer ones are shortened to it. Instants never overflow with it, and every JSON
/// reader keeps its number of milliseconds exact.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The instant after this time; a time that no clock counts means as good as never.
pub(crate) fn after(now: Instant, time: Duration) -> Instant {
    now + time.min(MAX_TIMEOUT)
}

/// The earlier instant, where there are two.
pub(crate) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
