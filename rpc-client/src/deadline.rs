//! What a call inherits from the one that it is made for.

use std::time::Instant;

use rpc_core::scope::Parent;

/// The metadata that carries a trace on, as W3C Trace Context names it.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// What a handler's call hands on to the calls that the handler makes.
#[derive(Debug, Clone)]
pub(crate) struct Inherited {
    pub(crate) deadline: Option<Instant>,
    pub(crate) traceparent: Option<String>,
}

impl Inherited {
    pub(crate) fn from(parent: &impl Parent) -> Self {
        Self { deadline: parent.deadline(), traceparent: parent.meta(TRACEPARENT) }
    }

    /// The same below another one: the earlier deadline holds, and the nearer trace.
    pub(crate) fn under(self, above: Option<&Self>) -> Self {
        let Some(above) = above else { return self };
        Self {
            deadline: [self.deadline, above.deadline].into_iter().flatten().min(),
            traceparent: self.traceparent.or_else(|| above.traceparent.clone()),
        }
    }
}
