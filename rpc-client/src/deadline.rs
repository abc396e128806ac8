//! What a call inherits from the one that it is made for.

use std::time::Instant;

use rpc_core::scope::Parent;
use rpc_core::trace::Trace;

/// What a handler's call hands on to the calls that the handler makes.
#[derive(Debug, Clone)]
pub(crate) struct Inherited {
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<Trace>,
}

impl Inherited {
    pub(crate) fn from(parent: &impl Parent) -> Self {
        Self { deadline: parent.deadline(), trace: Trace::of(parent) }
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
