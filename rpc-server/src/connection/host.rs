//! The parts of the server that a connection needs.

use std::sync::Arc;

#[cfg(feature = "admin")]
use rpc_core::Peer;

use crate::access::Access;
#[cfg(feature = "admin")]
use crate::access::Policy;
#[cfg(feature = "admin")]
use crate::admin::Pages;
use crate::config::Config;
use crate::dispatch::router::Routes;
use crate::limit::{Admission, Changeable, Memory};
use crate::metrics::Metrics;
use crate::report::Reporter;
use crate::shutdown::Stop;

/// The parts of the server that all of its connections use.
pub(crate) struct Host {
    pub(crate) config: Arc<Config>,
    pub(crate) changeable: Arc<Changeable>,
    pub(crate) routes: Routes,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Arc<Access>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) stop: Arc<Stop>,
    /// What the built-in commands tell of the server.
    pub(crate) reporter: Arc<Reporter>,
    /// The pages, where there are any.
    #[cfg(feature = "admin")]
    pub(crate) pages: Option<Arc<Pages>>,
}

#[cfg(feature = "admin")]
impl Host {
    /// The pages that this peer is shown on an address of the service.
    pub(super) fn pages_for(&self, policy: &Policy, peer: &Peer) -> Option<&Arc<Pages>> {
        self.pages
            .as_ref()
            .filter(|pages| pages.are_shown(policy, peer))
    }
}
