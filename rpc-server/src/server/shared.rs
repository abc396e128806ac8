//! The state of a server, made of the parts that its rooms need.

use std::sync::Arc;

use rpc_core::builtins;

use super::connections::Connections;
#[cfg(feature = "tls")]
use super::handshake::Handshakes;
use crate::access::Access;
#[cfg(feature = "admin")]
use crate::admin::{AdminConfig, OfServices, Pages};
use crate::blocking::BlockingPool;
use crate::config::Config;
use crate::connection::Host;
use crate::dispatch::router::Routes;
#[cfg(feature = "http")]
use crate::http::Http;
use crate::limit::{Admission, Changeable, Memory};
use crate::listen::Intake;
use crate::metrics::Metrics;
use crate::report::{NotServing, Reporter};
use crate::shutdown::Stop;
use crate::sync::AtomicU64;

/// The state of a server: what each of its rooms shares among connections.
pub(crate) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) changeable: Arc<Changeable>,
    /// The threads of the routes that block.
    pub(super) blocking: BlockingPool,
    pub(super) metrics: Arc<Metrics>,
    pub(super) access: Arc<Access>,
    pub(super) stop: Arc<Stop>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) intake: Arc<Intake>,
    #[cfg(feature = "tls")]
    pub(super) handshakes: Handshakes,
    /// What each connection needs.
    pub(super) host: Arc<Host>,
    pub(super) next_connection: AtomicU64,
    pub(super) connections: Connections,
}

/// What a server is built of.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) access: Access,
    pub(super) routes: Routes,
    pub(super) blocking: BlockingPool,
    pub(super) name: String,
    pub(super) version: String,
    #[cfg(feature = "admin")]
    pub(super) admin: Option<(AdminConfig, OfServices)>,
}

/// The memory that connections share, with the threads and tasks whose results count.
fn memory_of(config: &Config, blocking: &BlockingPool, routes: &Routes) -> Arc<Memory> {
    let memory = Arc::new(Memory::new(config.limits.memory_bytes_max));
    blocking.bind(&memory);
    for threads in &routes.blocking {
        threads.bind(blocking);
    }
    for results in &routes.results {
        results.bind(&memory);
    }

    memory
}

impl Shared {
    /// The state of a server that has not accepted any connection.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            config,
            access,
            mut routes,
            blocking,
            name,
            version,
            ..
        } = parts;

        let memory = memory_of(&config, &blocking, &routes);
        let built_in = builtins::descriptors();
        // The first place is that of commands without one.
        routes.number_commands(1 + built_in.len());
        let metrics = Arc::new(Metrics::new(built_in.iter().chain(routes.descriptors())));

        let config = Arc::new(config);
        let changeable = Arc::new(Changeable::new(&config));
        let access = Arc::new(access);
        let log = Arc::clone(&access.log);
        let admission = Arc::new(Admission::new(&config));
        let stop = Arc::new(Stop::new());
        let connections = Connections::default();

        let descriptors = routes.descriptors().into_iter();
        let services = descriptors.map(|command| command.service.to_string());
        let reporter = Arc::new(Reporter {
            name,
            version,
            config: Arc::clone(&config),
            changeable: Arc::clone(&changeable),
            metrics: Arc::clone(&metrics),
            access: Arc::clone(&access),
            admission: Arc::clone(&admission),
            memory: Arc::clone(&memory),
            blocking: blocking.clone(),
            stop: Arc::clone(&stop),
            log: Arc::clone(&log),
            connections: connections.counted.clone(),
            services: services.collect(),
            not_serving: NotServing::default(),
        });

        #[cfg(feature = "http")]
        let http = Http::new(
            &reporter,
            built_in.iter().chain(routes.descriptors()),
            #[cfg(feature = "admin")]
            parts
                .admin
                .filter(|(admin, _)| admin.enabled)
                .map(|(admin, of_services)| Pages::new(admin, of_services, &reporter)),
        );

        let host = Host {
            config: Arc::clone(&config),
            changeable: Arc::clone(&changeable),
            routes,
            metrics: Arc::clone(&metrics),
            access: Arc::clone(&access),
            admission,
            memory,
            stop: Arc::clone(&stop),
            log: Arc::clone(&log),
            crowd: Arc::default(),
            reporter: Arc::clone(&reporter),
            #[cfg(feature = "http")]
            http: Arc::new(http),
        };

        Self {
            blocking,
            stop,
            reporter,
            intake: Arc::new(Intake::new(&config, &changeable, &metrics, &log)),
            #[cfg(feature = "tls")]
            handshakes: Handshakes::new(&config, &access),
            access,
            host: Arc::new(host),
            config,
            changeable,
            metrics,
            next_connection: AtomicU64::new(1),
            connections,
        }
    }

    /// Has all connections finish what they have accepted.
    pub(super) fn drain(&self) {
        self.stop.drain();
        self.metrics.connections.wake_all();
    }

    /// Cuts all connections that are left.
    pub(super) fn abort(&self) {
        self.stop.abort();
        self.metrics.connections.wake_all();
    }
}
