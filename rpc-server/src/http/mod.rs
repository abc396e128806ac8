//! Calls over HTTP on the port of the service, and the way to the pages about the server.
//!
//! A connection that begins with an HTTP request is handed to hyper with what was read of it. A call becomes a line
//! of the protocol, which a connection in memory executes: grants, limits, counters and logs are those of every
//! connection. This room only decides which requests may become a line.

mod answer;
mod body;
mod catalog;
mod desk;
mod exchange;
mod fields;
mod line;
mod openapi;
mod outcome;
mod pipe;
mod rules;
mod session;
mod watch;

use std::sync::Arc;

use futures::future::BoxFuture;
use rpc_core::{Descriptor, Peer};

use crate::access::Policy;
#[cfg(feature = "admin")]
use crate::admin::Pages;
use crate::metrics::ConnectionMetrics;
use crate::report::Reporter;

use catalog::Catalog;
pub(crate) use exchange::serve;
pub(crate) use pipe::Pipe;

/// What all connections that speak HTTP share.
pub(crate) struct Http {
    reporter: Arc<Reporter>,
    catalog: Catalog,
    /// The pages about the server, where there are any.
    #[cfg(feature = "admin")]
    pages: Option<Pages>,
}

/// Opens a connection in memory for this peer; it is over when the future is ready, and is cut when that is dropped.
pub(crate) type Open = Box<dyn Fn(Pipe, Arc<Peer>) -> BoxFuture<'static, ()> + Send>;

/// A connection that speaks HTTP, as it is handed over.
pub(crate) struct Handover<IO> {
    pub(crate) io: IO,
    /// What was read of it.
    pub(crate) read: Vec<u8>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) http: Arc<Http>,
    /// Counts the connection among those that are open.
    pub(crate) connection_metrics: ConnectionMetrics,
    pub(crate) open: Open,
}

impl Http {
    pub(crate) fn new<'a>(
        reporter: &Arc<Reporter>,
        commands: impl IntoIterator<Item = &'a Descriptor>,
        #[cfg(feature = "admin")] pages: Option<Pages>,
    ) -> Self {
        Self {
            reporter: Arc::clone(reporter),
            catalog: Catalog::new(commands),
            #[cfg(feature = "admin")]
            pages,
        }
    }

    /// Whether a `GET` of this peer is answered with the pages about the server.
    #[cfg(feature = "admin")]
    pub(crate) fn shows_pages(&self, policy: &Policy, peer: &Peer) -> bool {
        self.pages
            .as_ref()
            .is_some_and(|pages| pages.are_shown(policy, peer))
    }

    #[cfg(not(feature = "admin"))]
    #[expect(clippy::unused_self, reason = "as where there are pages")]
    pub(crate) fn shows_pages(&self, _policy: &Policy, _peer: &Peer) -> bool {
        false
    }
}
