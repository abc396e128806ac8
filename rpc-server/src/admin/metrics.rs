//! Metrics of a service, beside those of the server.

use std::fmt;
use std::sync::Arc;

/// Writes the metrics of a service.
type Write = dyn Fn() -> String + Send + Sync;

/// Metrics of a service, written when `/metrics` is read.
#[derive(Clone)]
pub(crate) struct ServiceMetrics(Arc<Write>);

impl ServiceMetrics {
    pub(crate) fn new(write: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    pub(super) fn text(&self) -> String {
        (self.0)()
    }
}

impl fmt::Debug for ServiceMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceMetrics")
    }
}
