//! The server: built, bound, served, drained.

mod builder;
mod connections;
mod handle;
#[cfg(feature = "tls")]
mod handshake;
#[cfg(all(test, shuttle))]
mod models;
mod shared;
mod workers;

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::access::Policy;
use crate::listen::{BoundAddress, Listener};
use workers::{WorkerListeners, Workers};

pub use builder::ServerBuilder;
pub use handle::ServerHandle;
use shared::Shared;

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
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder()
///     .listen("127.0.0.1:8889")
///     .router(Router::new().route(100, hello)?)
///     .bind()
///     .await?;
/// println!("listening on {}", server.addresses()[0]);
/// server.serve(rpc_server::shutdown_signal()).await?;
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
        ServerHandle::new(&self.shared, &Policy::unrestricted())
    }

    /// Serves until `shutdown` is ready, then drains: no new connections, a `goaway` on each that
    /// has used an id, replies to all that was accepted, `rejected` for what still arrives. After
    /// `drain.timeout_ms` what is left is dropped, and its callers get code 14. A program gives it
    /// [`shutdown_signal`](crate::shutdown_signal), which is ready at SIGTERM or Ctrl-C.
    ///
    /// # Errors
    /// Where a listener fails for good. Failures to accept one connection are logged and survived.
    ///
    /// # Cancel safety
    /// None: where the future is dropped, the listeners close at once and nothing is drained. Make
    /// `shutdown` ready instead.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<Drained> {
        let Self {
            shared,
            listeners,
            workers,
            pages,
            ..
        } = self;

        let beating = Arc::clone(&shared.metrics);
        let _measuring = AbortOnDropHandle::new(tokio::spawn(async move { beating.beat().await }));

        let handle = |policy: &Arc<Policy>| ServerHandle::new(&shared, policy);
        let workers = Workers::start(workers, &shared, handle).await?;
        let accepting = AcceptTasks::start(listeners, &shared, handle);
        let showing = AcceptTasks::start(pages, &shared, handle);

        shutdown.await;

        // Closed listeners refuse, so that a client goes elsewhere at once.
        accepting.stop().await;
        let workers = workers.stop_accepting().await;

        let drained = finish(&shared).await;
        workers.end().await;
        showing.stop().await;

        Ok(drained)
    }
}

/// Listeners at work.
struct AcceptTasks {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl AcceptTasks {
    fn start(
        listeners: Vec<(Listener, Arc<Policy>)>,
        shared: &Arc<Shared>,
        handle: impl Fn(&Arc<Policy>) -> ServerHandle,
    ) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for (listener, policy) in listeners {
            tasks.spawn(listener.accept_until(
                stop.clone(),
                Arc::clone(&shared.intake),
                handle(&policy),
            ));
        }

        Self { tasks, stop }
    }

    /// Closes them.
    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Ends the connections, first gracefully, then by force.
async fn finish(shared: &Shared) -> Drained {
    let connections = &shared.connections;
    let open = connections.len();
    tracing::info!(connections = open, "draining");

    shared.drain();
    let all_ended = connections.ended();
    for detached in &shared.host.routes.detached {
        detached.close();
    }

    let all = async {
        all_ended.await;
        for detached in &shared.host.routes.detached {
            detached.wait().await;
        }

        // Work that waits has no call any more, and is not begun.
        shared.blocking.at_rest().await;
        for threads in &shared.host.routes.blocking {
            threads.at_rest().await;
        }
    };

    let is_clean = tokio::time::timeout(shared.config.drain.timeout(), all)
        .await
        .is_ok();
    let dropped = connections.len();
    if !is_clean {
        tracing::warn!(
            connections = dropped,
            "dropped the connections whose calls did not end within `drain.timeout_ms`"
        );
    }

    shared.abort();
    connections.ended().await;

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
