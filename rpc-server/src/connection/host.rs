//! The parts of the server that a connection needs.

use std::sync::Arc;

use super::crowd::Crowd;
use crate::access::Access;
use crate::config::Config;
use crate::dispatch::router::Routes;
#[cfg(feature = "http")]
use crate::http::Http;
use crate::limit::{Admission, Changeable, Memory};
use crate::metrics::Metrics;
use crate::peer_log::PeerLog;
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
    pub(crate) log: Arc<PeerLog>,
    /// The connections that have more to do than others.
    pub(crate) crowd: Arc<Crowd>,
    /// What the built-in commands tell of the server.
    pub(crate) reporter: Arc<Reporter>,
    /// What answers connections that speak HTTP.
    #[cfg(feature = "http")]
    pub(crate) http: Arc<Http>,
}
