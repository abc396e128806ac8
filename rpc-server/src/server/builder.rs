//! `ServerBuilder`: from settings and addresses to a bound server.

use std::io;
use std::sync::Arc;

use super::Server;
use super::shared::{Parts, Shared};
use super::workers::WorkerListeners;
#[cfg(feature = "tokens")]
use crate::access::Tokens;
use crate::access::{Access, Grants, Policy};
#[cfg(feature = "admin")]
use crate::admin::{AdminConfig, AdminPage, OfServices, ServiceMetrics, check_pages};
use crate::blocking::BlockingPool;
use crate::config::Config;
use crate::dispatch::router::{Router, Routes};
use crate::listen::{BoundAddress, InheritedListener, ListenOptions, Listener, Port};

/// Puts a [`Server`] together.
#[derive(Default)]
pub struct ServerBuilder {
    listen: Vec<ListenOptions>,
    inherited: Vec<(InheritedListener, ListenOptions)>,
    workers: usize,
    config: Config,
    routes: Option<Routes>,
    blocking: Option<BlockingPool>,
    name: Option<(String, String)>,
    access: Access,
    #[cfg(feature = "admin")]
    admin: Option<AdminConfig>,
    #[cfg(feature = "admin")]
    of_services: OfServices,
}

impl ServerBuilder {
    /// Adds an address: `"127.0.0.1:8889"`, `"[::1]:0"` (port 0 lets the system choose),
    /// `"localhost:8889"`, or `"unix:/run/rpc.sock"`. May be called several times; a server without
    /// any serves what [`ServerHandle::serve_connection`](super::ServerHandle::serve_connection) is given.
    ///
    /// Every peer that reaches the address is served, without encryption: [`listen_with`](Self::listen_with) asks
    /// for more.
    #[must_use]
    pub fn listen(self, address: impl Into<String>) -> Self {
        self.listen_with(ListenOptions::new(address).allow_plaintext(true))
    }

    /// Adds an address with what is asked of those who connect to it. Binding fails where others than this
    /// machine reach it and it has neither TLS nor authentication, unless
    /// [`allow_plaintext`](ListenOptions::allow_plaintext) says that this is right.
    #[must_use]
    pub fn listen_with(mut self, options: ListenOptions) -> Self {
        self.listen.push(options);
        self
    }

    /// Serves a listener that was opened elsewhere, `std`'s of TCP or of a Unix socket, beside the addresses
    /// of [`listen`](Self::listen). Draining closes this process's hold on it only, and leaves the file of a
    /// Unix socket where it is.
    #[must_use]
    pub fn listener(self, listener: impl Into<InheritedListener>) -> Self {
        self.listener_with(listener, ListenOptions::new("").allow_plaintext(true))
    }

    /// As [`listener`](Self::listener), with what is asked of those who connect to it. The address of
    /// `options` is not looked at: the listener has one.
    #[must_use]
    pub fn listener_with(
        mut self,
        listener: impl Into<InheritedListener>,
        options: ListenOptions,
    ) -> Self {
        self.inherited.push((listener.into(), options));
        self
    }

    /// Serves TCP connections on this number of threads, each with a single-threaded runtime and a listener of
    /// its own for every address; the kernel spreads new connections over them (`SO_REUSEPORT`), and
    /// each stays on its thread. 0, the default, serves on the runtime that [`Server::serve`] is called
    /// on, which is where Unix sockets stay.
    ///
    /// With any, another process of the same user that does likewise may bind the same port and take its
    /// share of the connections, instead of being refused.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Lets each identity call only what is granted to it.
    #[must_use]
    pub fn grants(self, grants: Grants) -> Self {
        self.access.set_grants(Some(grants));
        self
    }

    /// Sets the tokens that connections may show with command 6, `authenticate`.
    #[cfg(feature = "tokens")]
    #[must_use]
    pub fn tokens(self, tokens: Tokens) -> Self {
        self.access.set_tokens(Some(tokens));
        self
    }

    /// Sets the commands.
    #[must_use]
    pub fn router<S: Clone + Send + Sync + 'static>(mut self, router: Router<S>) -> Self {
        self.routes = Some(router.into_routes());
        self
    }

    /// Sets the threads for work that blocks, where the program's handlers use the same. Without this call the
    /// server has a pool of its own with the limits of its [`Config`]. Its figures are in `stats`, and a drain waits
    /// for the work that runs in it.
    ///
    /// Give each server of a process a pool of its own. The results of a pool count for the
    /// `limits.memory_bytes_max` of the first server that it was given to, also after that server has ended: those for
    /// the connections of another server do not count for the limit of that one.
    #[must_use]
    pub fn blocking(mut self, pool: BlockingPool) -> Self {
        self.blocking = Some(pool);
        self
    }

    /// Sets the name and version that `describe` gives.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.name = Some((name.into(), version.into()));
        self
    }

    /// Shows pages about the server over HTTP, on its own addresses or on one for them alone. Without this call there
    /// are no pages. A listener may be without them
    /// ([`ListenOptions::admin_pages`](crate::ListenOptions::admin_pages)), and one that wants authentication
    /// shows them only to a peer that has shown a certificate.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn admin(mut self, config: AdminConfig) -> Self {
        self.admin = Some(config);
        self
    }

    /// Adds a page of a service to the pages about the server; it is shown where they are.
    /// [`bind`](Self::bind) fails where two pages have a path in common.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn admin_page(mut self, page: AdminPage) -> Self {
        self.of_services.pages.push(page);
        self
    }

    /// Adds metrics of a service to `/metrics`: `write` gives them in Prometheus' text format (0.0.4), whenever
    /// they are read. It runs on the connection's thread, so it must not block. It gives its families names of its
    /// own, and its labels must not hold what peers say.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn admin_metrics(mut self, write: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.of_services.metrics.push(ServiceMetrics::new(write));
        self
    }

    /// Binds every address, and logs each.
    ///
    /// # Errors
    /// A config that cannot work, an invalid address, or one that cannot be bound; the message
    /// names it. A listener from elsewhere whose socket does not listen.
    ///
    /// # Cancel safety
    /// What was bound before the future is dropped is closed.
    pub async fn bind(self) -> io::Result<Server> {
        self.config
            .check()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;

        #[cfg(feature = "admin")]
        check_pages(&self.of_services.pages)?;

        let mut bound = Bound::new(self.access, self.workers);
        for options in self.listen {
            bound.bind(options, &self.config).await?;
        }
        for (listener, options) in self.inherited {
            bound.inherit(listener, options.policy, &self.config)?;
        }

        #[cfg(feature = "admin")]
        let pages = match &self.admin {
            Some(admin) => bind_pages(admin, &self.config).await?,
            None => Vec::new(),
        };
        #[cfg(not(feature = "admin"))]
        let pages = Vec::new();
        let pages_at = |(listener, _): &(Listener, Arc<Policy>)| listener.address();
        bound.addresses.extend(pages.iter().map(pages_at));

        let routes = self.routes.unwrap_or_else(|| Router::new().into_routes());
        let blocking = self
            .blocking
            .unwrap_or_else(|| BlockingPool::with(&self.config.blocking));
        let (name, version) = self.name.unwrap_or_else(|| {
            let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
            (name.to_owned(), version.to_owned())
        });

        let shared = Shared::new(Parts {
            config: self.config,
            access: bound.access,
            routes,
            blocking,
            name,
            version,
            #[cfg(feature = "admin")]
            admin: self.admin.map(|admin| (admin, self.of_services)),
        });

        for address in &bound.addresses {
            tracing::info!(%address, "listening on {address}");
        }

        Ok(Server {
            shared: Arc::new(shared),
            addresses: bound.addresses,
            listeners: bound.listeners,
            workers: bound.workers,
            pages,
        })
    }
}

/// The listeners of a server that is about to be, and what they bring into its [`Access`].
struct Bound {
    access: Access,
    addresses: Vec<BoundAddress>,
    /// Those that the runtime of [`Server::serve`] accepts from.
    listeners: Vec<(Listener, Arc<Policy>)>,
    workers: Vec<WorkerListeners>,
}

impl Bound {
    fn new(access: Access, workers: usize) -> Self {
        Self {
            access,
            addresses: Vec::new(),
            listeners: Vec::new(),
            workers: (0..workers).map(|_| Vec::new()).collect(),
        }
    }

    /// Binds an address; with workers, once for each of them.
    async fn bind(&mut self, options: ListenOptions, config: &Config) -> io::Result<()> {
        let ListenOptions { address, policy } = options;
        let port = match self.workers.is_empty() {
            true => Port::Exclusive,
            false => Port::Shared,
        };
        let listener = Listener::bind(&address, config, port).await?;
        let policy = self.add(policy, &listener)?;

        match listener {
            Listener::Tcp(first, address, origin) if port == Port::Shared => {
                self.workers[0].push((first.into_std()?, address, origin, Arc::clone(&policy)));

                for worker in &mut self.workers[1..] {
                    if let Listener::Tcp(next, ..) =
                        Listener::bind(&address.to_string(), config, port).await?
                    {
                        worker.push((next.into_std()?, address, origin, Arc::clone(&policy)));
                    }
                }
            }
            other => self.listeners.push((other, policy)),
        }

        Ok(())
    }

    /// Takes over a listener that was opened elsewhere; workers share it.
    fn inherit(
        &mut self,
        inherited: InheritedListener,
        policy: Policy,
        config: &Config,
    ) -> io::Result<()> {
        let listener = Listener::inherit(inherited, config)?;
        let policy = self.add(policy, &listener)?;

        match listener {
            Listener::Tcp(listener, address, origin) if !self.workers.is_empty() => {
                let listener = listener.into_std()?;
                // One queue for all of them: a free thread takes the next.
                for worker in &mut self.workers {
                    worker.push((listener.try_clone()?, address, origin, Arc::clone(&policy)));
                }
            }
            other => self.listeners.push((other, policy)),
        }

        Ok(())
    }

    /// Notes a listener's address and policy, unless the policy leaves it unprotected.
    fn add(&mut self, policy: Policy, listener: &Listener) -> io::Result<Arc<Policy>> {
        let address = listener.address();
        policy
            .check(&address)
            .map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))?;
        policy.warn_if_exposed(&address);

        self.access.add_listener(&policy);
        self.addresses.push(address);
        Ok(Arc::new(policy))
    }
}

/// The address that serves nothing but pages, where one is wanted.
#[cfg(feature = "admin")]
async fn bind_pages(
    admin: &AdminConfig,
    config: &Config,
) -> io::Result<Vec<(Listener, Arc<Policy>)>> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
    admin.check().map_err(|error| invalid(error.to_string()))?;

    if !admin.enabled || admin.listen.is_empty() {
        return Ok(Vec::new());
    }

    let listener = Listener::bind(&admin.listen, config, Port::Exclusive).await?;
    let policy = Policy {
        allows_plaintext: admin.allow_plaintext,
        ..Policy::of_pages()
    };
    policy
        .check(&listener.address())
        .map_err(|error| invalid(error.to_string()))?;
    Ok(vec![(listener, Arc::new(policy))])
}
