//! The server: built, bound, served, drained.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use rpc_core::{CmdId, Peer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

#[cfg(feature = "tls")]
use crate::access::Tokens;
use crate::access::{Access, Grants};
use crate::addresses::{Addresses, Place};
#[cfg(feature = "admin")]
use crate::admin::AdminConfig;
use crate::admission::Admission;
use crate::builtin;
use crate::config::Config;
use crate::connection;
use crate::listener::{BoundAddress, InheritedListener, Listener};
#[cfg(feature = "tls")]
use crate::metrics::add;
use crate::metrics::{Command, Metrics, ServerStats};
use crate::pace::Pace;
use crate::policy::{ListenOptions, Policy};
use crate::refusal;
use crate::router::{Router, Routes};
use crate::stop::Stop;
use crate::sync::AtomicU64;
#[cfg(feature = "tls")]
use crate::tls::ServerTls;
use crate::workers::{WorkerListeners, Workers};

#[cfg(all(test, shuttle))]
mod models;

/// What all connections of a server share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) routes: Routes,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Access,
    /// The turns of TLS handshakes.
    #[cfg(feature = "tls")]
    pub(crate) handshakes: Semaphore,
    pub(crate) admission: Admission,
    pub(crate) addresses: Arc<Addresses>,
    /// The turns of those who are told that there is no place for them.
    pub(crate) refusals: Arc<Semaphore>,
    pub(crate) refusals_logged: Pace,
    pub(crate) stop: Stop,
    /// The pages, where there are any.
    #[cfg(feature = "admin")]
    pub(crate) admin: Option<AdminConfig>,
    next_connection: AtomicU64,
}

impl Shared {
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

/// A server that is bound to its addresses and not yet serving.
///
/// ```
/// use rpc_core::Status;
/// use rpc_server::{Params, Router, Server};
///
/// async fn hello(Params(name): Params<String>) -> Result<String, Status> {
///     Ok(format!("Hello {name}!"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder()
///     .listen("127.0.0.1:0")
///     .router(Router::new().route(100, hello)?)
///     .bind()
///     .await?;
/// println!("listening on {}", server.addresses()[0]);
/// server.serve(async { /* until it is time to stop, ctrl_c() for example */ }).await?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<BoundAddress>,
    /// Those that the runtime of `serve` accepts from.
    listeners: Vec<(Listener, Arc<Policy>)>,
    workers: Vec<WorkerListeners>,
    /// Those that serve nothing but pages, while the server drains too.
    pages: Vec<(Listener, Arc<Policy>)>,
    connections: TaskTracker,
}

impl Server {
    /// Begins to put a server together.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The addresses that it is bound to, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.addresses.clone()
    }

    /// A handle that stays usable while the server serves.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(&self.shared, &self.connections, &Policy::open())
    }

    /// Serves until `shutdown` is ready, then drains: no new connections, a `goaway` on each that
    /// has used an id, replies to all that was accepted, `rejected` for what still arrives. After
    /// `drain_timeout_ms` what is left is dropped.
    ///
    /// # Errors
    /// Where a listener fails for good. Failures to accept one connection are logged and survived.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<Drained> {
        let Self {
            shared,
            listeners,
            workers,
            pages,
            connections,
            ..
        } = self;

        let beating = Arc::clone(&shared);
        let _pulse =
            AbortOnDropHandle::new(tokio::spawn(
                async move { beating.metrics.pulse.beat().await },
            ));

        let handle = |policy: &Arc<Policy>| ServerHandle::new(&shared, &connections, policy);
        let workers = Workers::start(workers, &shared, handle).await?;
        let accepting = Accepting::start(listeners, &shared, handle);
        let showing = Accepting::start(pages, &shared, handle);

        shutdown.await;

        // Closed listeners refuse, so that a client goes elsewhere at once.
        accepting.stop().await;
        let workers = workers.stop_accepting().await;

        let drained = finish(connections, &shared).await;
        workers.end().await;
        showing.stop().await;

        Ok(drained)
    }
}

/// Listeners at work.
struct Accepting {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Accepting {
    fn start(
        listeners: Vec<(Listener, Arc<Policy>)>,
        shared: &Arc<Shared>,
        handle: impl Fn(&Arc<Policy>) -> ServerHandle,
    ) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for (listener, policy) in listeners {
            tasks.spawn(listener.accept_until(stop.clone(), Arc::clone(shared), handle(&policy)));
        }

        Self { tasks, stop }
    }

    /// Closes them.
    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Ends the connections, first with manners, then without.
async fn finish(connections: TaskTracker, shared: &Shared) -> Drained {
    let open = connections.len();
    tracing::info!(connections = open, "draining");

    shared.stop.drain();
    connections.close();
    for detached in &shared.routes.detached {
        detached.close();
    }

    let all = async {
        connections.wait().await;
        for detached in &shared.routes.detached {
            detached.wait().await;
        }
    };

    let is_clean = tokio::time::timeout(shared.config.drain_timeout(), all)
        .await
        .is_ok();
    let dropped = connections.len();
    if !is_clean {
        tracing::warn!(
            connections = dropped,
            "dropped what was not done within `drain_timeout_ms`"
        );
    }

    shared.stop.abort();
    connections.wait().await;

    Drained {
        is_clean,
        connections: open,
        dropped,
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Whether all that was accepted ended by itself.
    pub is_clean: bool,
    /// Connections that were open when it began.
    pub connections: usize,
    /// Connections that were dropped at the time limit.
    pub dropped: usize,
}

/// Reaches a server while it serves: its counters, and connections from elsewhere.
#[derive(Clone)]
pub struct ServerHandle {
    shared: Arc<Shared>,
    connections: TaskTracker,
    /// What is asked of the connections that are served through it.
    policy: Arc<Policy>,
}

impl ServerHandle {
    /// A handle whose connections are under `policy`.
    fn new(shared: &Arc<Shared>, connections: &TaskTracker, policy: &Arc<Policy>) -> Self {
        Self {
            shared: Arc::clone(shared),
            connections: connections.clone(),
            policy: Arc::clone(policy),
        }
    }

    /// What the server has counted since it started.
    pub fn stats(&self) -> ServerStats {
        self.shared.stats()
    }

    /// Grants commands from now on, to open connections too, in the place of all that was granted before;
    /// `None` lets everybody call everything. A call that has started goes on.
    pub fn set_grants(&self, grants: Option<Grants>) {
        self.shared.access.set_grants(grants);
    }

    /// Knows these tokens from now on, in the place of all others. A connection whose token is not among
    /// them any more is answered with code 16, and closed after `authentication_timeout_ms` unless it shows
    /// another one of the same identity. `None` wants no tokens: `authenticate` is answered with code 12.
    /// Returns whether they are others than before.
    #[cfg(feature = "tls")]
    pub fn set_tokens(&self, tokens: Option<Tokens>) -> bool {
        self.shared.access.set_tokens(tokens)
    }

    /// Serves one connection over any byte stream: an in-memory pipe, a serial line, TLS of your
    /// own. It drains with the server. `peer` names it in logs and in
    /// [`Context::peer`](crate::Context::peer).
    ///
    /// # Cancel safety
    /// Dropping the future cuts the connection and cancels its calls.
    pub fn serve_connection<IO>(
        &self,
        io: IO,
        peer: &str,
    ) -> impl Future<Output = ()> + Send + use<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let peer = self.peer(peer);
        let (shared, policy) = (Arc::clone(&self.shared), Arc::clone(&self.policy));

        self.connections
            .track_future(connection::run(io, peer, shared, policy))
    }

    /// `place`: what its address has of it.
    pub(crate) fn spawn_connection<IO>(&self, io: IO, peer: &str, place: Option<Place>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.policy.tls.clone() {
            tokio::spawn(self.serve_tls(tls, io, peer).map(move |()| drop(place)));
            return;
        }

        // No `async`: that would hold the connection twice.
        tokio::spawn(self.serve_connection(io, peer).map(move |()| drop(place)));
    }

    #[cfg(feature = "tls")]
    fn serve_tls<IO>(
        &self,
        tls: ServerTls,
        io: IO,
        peer: &str,
    ) -> impl Future<Output = ()> + Send + use<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let peer = self.peer(peer);
        let (shared, policy) = (Arc::clone(&self.shared), Arc::clone(&self.policy));

        self.connections.track_future(async move {
            let too_late = async {
                shared.stop.draining().await;
                tokio::time::sleep(shared.config.goaway_grace()).await;
            };

            let accepted = tokio::select! {
                // In this order, and not in a random one.
                biased;
                () = shared.stop.aborted() => None,
                accepted = crate::tls::accept(&tls, io, &peer, &policy, &shared) => accepted,
                () = too_late => None,
            };

            if let Some(stream) = accepted {
                connection::run(stream, peer, shared, policy).await;
            }
        })
    }

    /// Says one line and closes, within the time; under TLS where the listener has it, for its peers can read
    /// nothing else. While many who may come in are at their handshakes, nobody else has one.
    pub(crate) async fn turn_away<IO>(&self, io: IO, peer: &str, line: &[u8], linger: Duration)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.policy.tls {
            if self.shared.handshakes.available_permits() <= self.shared.config.handshakes_max / 2 {
                add(&self.shared.metrics.limits.refusals_unsaid, 1);
                return;
            }

            let peer = self.peer(peer);
            let told = async {
                if let Some(stream) =
                    crate::tls::accept(tls, io, &peer, &self.policy, &self.shared).await
                {
                    refusal::tell(stream, line, linger).await;
                }
            };

            // Whoever is slower is not told.
            let _ = tokio::time::timeout(linger, told).await;
            return;
        }

        #[cfg(not(feature = "tls"))]
        let _ = peer;
        refusal::tell(io, line, linger).await;
    }

    fn peer(&self, address: &str) -> Arc<Peer> {
        // Relaxed: only uniqueness matters.
        let connection = self.shared.next_connection.fetch_add(1, Ordering::Relaxed);
        Arc::new(Peer::new(address, connection))
    }

    /// How long a runtime of the server has been stuck.
    #[cfg(feature = "daemon")]
    pub(crate) fn silent_for(&self) -> Duration {
        self.shared.metrics.pulse.overdue()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// Puts a [`Server`] together.
#[derive(Default)]
pub struct ServerBuilder {
    listen: Vec<ListenOptions>,
    inherited: Vec<(InheritedListener, ListenOptions)>,
    workers: usize,
    config: Config,
    routes: Option<Routes>,
    name: Option<(String, String)>,
    access: Access,
    #[cfg(feature = "admin")]
    admin: Option<AdminConfig>,
}

impl ServerBuilder {
    /// Adds an address: `"127.0.0.1:8889"`, `"[::1]:0"` (port 0 lets the system choose),
    /// `"localhost:8889"`, or `"unix:/run/rpc.sock"`. May be called several times; a server without
    /// any serves what [`ServerHandle::serve_connection`] is given.
    ///
    /// Whoever reaches the address is served, without encryption: [`listen_with`](Self::listen_with) asks
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

    /// Serves TCP connections on so many threads, each with a single-threaded runtime and a listener of
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

    /// Lets each identity call what is granted to it, and nothing else.
    #[must_use]
    pub fn grants(self, grants: Grants) -> Self {
        self.access.set_grants(Some(grants));
        self
    }

    /// Sets the tokens that connections may show with command 6, `authenticate`.
    #[cfg(feature = "tls")]
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

    /// Sets the name and version that `describe` gives.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.name = Some((name.into(), version.into()));
        self
    }

    /// Shows pages about the server over HTTP, on its own addresses or on one for them alone. Without this
    /// call there are none. A listener may be without them
    /// ([`ListenOptions::admin_pages`](crate::ListenOptions::admin_pages)), and one that wants authentication
    /// shows them only to a peer that has shown a certificate.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn admin(mut self, config: AdminConfig) -> Self {
        self.admin = Some(config);
        self
    }

    /// Binds every address.
    ///
    /// # Errors
    /// A config that cannot work, an address that is none, or one that cannot be bound; the message
    /// names it.
    pub async fn bind(self) -> io::Result<Server> {
        self.config
            .check()
            .map_err(|message| io::Error::new(io::ErrorKind::InvalidInput, message))?;

        let (name, version) = self.name.unwrap_or_else(|| {
            (
                env!("CARGO_PKG_NAME").to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            )
        });

        let (mut addresses, mut listeners) = (Vec::new(), Vec::new());
        let mut workers: Vec<WorkerListeners> = (0..self.workers).map(|_| Vec::new()).collect();
        let mut access = self.access;

        let check = |policy: &Policy, listener: &Listener| {
            let refuse = |message| io::Error::new(io::ErrorKind::PermissionDenied, message);
            policy.check(&listener.address()).map_err(refuse)?;
            policy.warn_if_exposed(&listener.address());
            Ok::<(), io::Error>(())
        };

        for ListenOptions { address, policy } in self.listen {
            let is_shared = self.workers > 0;
            access.add_listener(&policy);
            let policy = Arc::new(policy);

            let listener = Listener::bind(&address, &self.config, is_shared).await?;
            check(&policy, &listener)?;
            addresses.push(listener.address());

            match listener {
                Listener::Tcp(first, address, origin) if is_shared => {
                    workers[0].push((first.into_std()?, address, origin, Arc::clone(&policy)));
                    for worker in &mut workers[1..] {
                        if let Listener::Tcp(next, ..) =
                            Listener::bind(&address.to_string(), &self.config, is_shared).await?
                        {
                            worker.push((next.into_std()?, address, origin, Arc::clone(&policy)));
                        }
                    }
                }
                other => listeners.push((other, policy)),
            }
        }

        for (inherited, ListenOptions { policy, .. }) in self.inherited {
            access.add_listener(&policy);
            let policy = Arc::new(policy);

            let listener = Listener::inherit(inherited, &self.config)?;
            check(&policy, &listener)?;
            addresses.push(listener.address());

            match listener {
                Listener::Tcp(listener, address, origin) if self.workers > 0 => {
                    let listener = listener.into_std()?;

                    // One queue for all of them: whoever is free takes the next.
                    for worker in &mut workers {
                        worker.push((listener.try_clone()?, address, origin, Arc::clone(&policy)));
                    }
                }
                other => listeners.push((other, policy)),
            }
        }

        #[cfg(feature = "admin")]
        let pages = match &self.admin {
            Some(admin) => bind_pages(admin, &self.config).await?,
            None => Vec::new(),
        };

        #[cfg(not(feature = "admin"))]
        let pages = Vec::new();

        addresses.extend(
            pages
                .iter()
                .map(|(listener, _): &(Listener, _)| listener.address()),
        );

        let mut routes = self.routes.unwrap_or_else(|| Router::new().into_routes());
        let built_in = builtin::descriptors();

        // The first place is that of commands without one.
        routes.number_commands(1 + built_in.len());
        let metrics = Metrics::new(built_in.iter().chain(routes.descriptors()));

        #[cfg(feature = "tls")]
        let handshakes = permits(self.config.handshakes_max);

        let shared = Shared {
            #[cfg(feature = "tls")]
            handshakes,
            access,
            admission: Admission::new(&self.config),
            addresses: Arc::default(),
            refusals: Arc::new(permits(self.config.refusals_max)),
            refusals_logged: Pace::new(),
            config: self.config,
            routes,
            name,
            version,
            metrics: Arc::new(metrics),
            stop: Stop::new(),
            #[cfg(feature = "admin")]
            admin: self.admin.filter(|admin| admin.enabled),
            next_connection: AtomicU64::new(1),
        };

        let connections = TaskTracker::new();
        Ok(Server {
            shared: Arc::new(shared),
            addresses,
            listeners,
            workers,
            pages,
            connections,
        })
    }
}

/// The address that serves nothing but pages, where one is wanted.
#[cfg(feature = "admin")]
async fn bind_pages(
    admin: &AdminConfig,
    config: &Config,
) -> io::Result<Vec<(Listener, Arc<Policy>)>> {
    let invalid =
        |message| io::Error::new(io::ErrorKind::InvalidInput, format!("[admin] {message}"));
    admin.check().map_err(invalid)?;

    if !admin.enabled || admin.listen.is_empty() {
        return Ok(Vec::new());
    }

    let listener = Listener::bind(&admin.listen, config, false).await?;
    let policy = Policy::of_pages(admin.allow_plaintext);
    policy.check(&listener.address()).map_err(invalid)?;
    Ok(vec![(listener, Arc::new(policy))])
}

/// As many as a setting says, which may be more than a semaphore counts.
fn permits(max: usize) -> Semaphore {
    Semaphore::new(max.min(Semaphore::MAX_PERMITS))
}
