//! The state that all connections of a server share.

use std::sync::Arc;

use rpc_core::{CmdId, Peer};
use tokio::sync::Semaphore;

use super::health::NotServing;
use crate::access::{Access, Policy};
#[cfg(feature = "admin")]
use crate::admin::AdminConfig;
use crate::blocking::BlockingPool;
use crate::config::Config;
use crate::dispatch::builtin;
use crate::dispatch::router::Routes;
use crate::limit::{Addresses, Admission, LogThrottle};
use crate::metrics::{Command, Metrics, ServerStats};
use crate::shutdown::Stop;
use crate::sync::AtomicU64;

/// What all connections of a server share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) routes: Routes,
    /// The threads of the routes that block.
    pub(crate) blocking: BlockingPool,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Access,
    /// The turns of TLS handshakes.
    #[cfg(feature = "tls")]
    pub(crate) handshakes: Semaphore,
    pub(crate) admission: Arc<Admission>,
    pub(crate) addresses: Arc<Addresses>,
    /// The turns of those who are told that there is no place for them.
    pub(crate) refusals: Arc<Semaphore>,
    pub(crate) refusals_logged: LogThrottle,
    pub(crate) stop: Stop,
    pub(super) not_serving: NotServing,
    /// The pages, where there are any.
    #[cfg(feature = "admin")]
    pub(crate) admin: Option<AdminConfig>,
    pub(super) next_connection: AtomicU64,
}

impl Shared {
    /// The state of a server that has not accepted any connection. It is named like this library, and has no
    /// pages.
    pub(super) fn new(
        config: Config,
        access: Access,
        mut routes: Routes,
        blocking: BlockingPool,
    ) -> Self {
        for threads in &routes.blocking {
            threads.bind(&blocking);
        }

        let built_in = builtin::descriptors();
        // The first place is that of commands without one.
        routes.number_commands(1 + built_in.len());
        let metrics = Metrics::new(built_in.iter().chain(routes.descriptors()));

        Self {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            #[cfg(feature = "tls")]
            handshakes: permits(config.handshakes_max),
            access,
            admission: Arc::new(Admission::new(&config)),
            addresses: Arc::default(),
            refusals: Arc::new(permits(config.refusals_max)),
            refusals_logged: LogThrottle::new(),
            config,
            routes,
            blocking,
            metrics: Arc::new(metrics),
            stop: Stop::new(),
            not_serving: NotServing::default(),
            #[cfg(feature = "admin")]
            admin: None,
            next_connection: AtomicU64::new(1),
        }
    }

    pub(crate) fn stats(&self) -> ServerStats {
        let mut stats = self.metrics.snapshot(self.access.stats());
        stats.limits.in_flight_limit = self.admission.limit();
        stats
    }

    /// What calls of this command are counted as.
    pub(crate) fn command(&self, cmdid: CmdId) -> Command {
        if cmdid.is_built_in() {
            builtin::command(cmdid)
        } else {
            self.routes.find(cmdid).1
        }
    }

    /// Whether a connection of this peer is answered with the pages when it asks for them.
    #[cfg(feature = "admin")]
    pub(crate) fn shows_pages(&self, policy: &Policy, peer: &Peer) -> bool {
        self.admin
            .as_ref()
            .is_some_and(AdminConfig::is_on_service_ports)
            && policy.shows_pages_to(peer)
    }

    /// Nobody, where there are none.
    #[cfg(not(feature = "admin"))]
    #[expect(clippy::unused_self, reason = "as where there are some")]
    pub(crate) fn shows_pages(&self, _: &Policy, _: &Peer) -> bool {
        false
    }
}

/// As many as a setting says, which may be more than a semaphore counts.
fn permits(max: usize) -> Semaphore {
    Semaphore::new(max.min(Semaphore::MAX_PERMITS))
}
