//! `ServerHandle`: reaches a server while it serves.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use rpc_core::Peer;
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;

use super::Shared;
#[cfg(feature = "tokens")]
use crate::access::Tokens;
use crate::access::{Grants, Policy};
use crate::config::{Config, ConfigError};
use crate::connection::{self, Ended};
use crate::limit::{AddressPermit, Seat};
use crate::linger;
use crate::listen::{Refusal, Reserved, Serve};
use crate::metrics::ServerStats;
use crate::metrics::add;
use crate::report::{ServiceHealth, UnknownService};
#[cfg(feature = "tls")]
use crate::tls::ServerTls;

/// Reaches a server while it serves: its counters, and connections from elsewhere.
#[derive(Clone)]
pub struct ServerHandle {
    pub(super) shared: Arc<Shared>,
    /// What is asked of the connections that are served through it.
    policy: Arc<Policy>,
}

impl ServerHandle {
    /// A handle whose connections are under `policy`.
    pub(super) fn new(shared: &Arc<Shared>, policy: &Arc<Policy>) -> Self {
        Self {
            shared: Arc::clone(shared),
            policy: Arc::clone(policy),
        }
    }

    /// What the server has counted since it started.
    pub fn stats(&self) -> ServerStats {
        self.shared.reporter.stats()
    }

    /// Grants commands from now on, to open connections too, instead of all that was granted before; `None` lets
    /// everybody call everything. A call in flight that is not granted any more is cancelled, and
    /// answered with code 7.
    pub fn set_grants(&self, grants: Option<Grants>) {
        self.shared.access.set_grants(grants);
        self.shared.metrics.connections.wake_all();
    }

    /// Puts some of these settings into effect, for open connections too: `limits.connections_max`,
    /// `limits.connections_per_address`, `access_log.per_million` and `access_log.failures`. All others stay those that the
    /// server was built with.
    ///
    /// A limit on connections that is lower than before closes none. Connections that came while
    /// `limits.connections_per_address` was 0 are not counted.
    ///
    /// # Errors
    /// Settings that cannot work: nothing changes then.
    pub fn set_limits(&self, config: &Config) -> Result<(), ConfigError> {
        config.check()?;
        self.shared.changeable.set(config);

        // A connection looks at them when it is polled.
        self.shared.metrics.connections.wake_all();
        Ok(())
    }

    /// Knows these tokens from now on, instead of all others. A connection whose token is not among
    /// them any more is answered with code 16, its calls in flight too, and closed after
    /// `accept.authentication_timeout_ms` unless it shows another one of the same identity. `None`
    /// wants no tokens: `authenticate` is answered with code 12. Returns whether they are others
    /// than before.
    #[cfg(feature = "tokens")]
    pub fn set_tokens(&self, tokens: Option<Tokens>) -> bool {
        let is_new = self.shared.access.set_tokens(tokens);
        self.shared.metrics.connections.wake_all();
        is_new
    }

    /// Sets the health of a service, the one that `Descriptor::new(service, method)` names, from now on.
    /// While a service is not serving, command 2 `health` answers `not_serving` for it and for the whole
    /// server, and `/readyz` is not ready; its calls are still answered. Every service begins as
    /// serving.
    ///
    /// ```
    /// # use rpc_server::{Server, ServiceHealth};
    /// # fn example(server: &Server) -> Result<(), rpc_server::UnknownService> {
    /// let handle = server.handle();
    /// handle.set_service_health("orders", ServiceHealth::NotServing)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A service that no command belongs to; the error names those of the server.
    pub fn set_service_health(
        &self,
        service: &str,
        health: ServiceHealth,
    ) -> Result<(), UnknownService> {
        self.shared.reporter.set_service_health(service, health)
    }

    /// The TLS of each listener that has it, to [reload](ServerTls::reload) its certificates.
    #[cfg(feature = "tls")]
    pub fn certificates(&self) -> Vec<ServerTls> {
        self.shared.access.certificates().to_vec()
    }

    /// Serves one connection over any byte stream: an in-memory pipe, a serial line, TLS of your
    /// own. It drains with the server. `peer` names it in logs and in
    /// [`Context::peer`](crate::Context::peer). Its connection has no IP address, as one on a Unix socket: it does not
    /// count for `limits.connections_per_address`, and for `admission.in_flight_per_peer` only if it has an identity.
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
        let (host, policy) = (Arc::clone(&self.shared.host), Arc::clone(&self.policy));

        self.shared
            .connections
            .counted
            .track_future(connection::run(io, peer, host, policy))
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
        let (host, policy) = (Arc::clone(&self.shared.host), Arc::clone(&self.policy));
        let (shared, of_peer) = (Arc::clone(&self.shared), Arc::clone(&peer));
        let of_policy = Arc::clone(&policy);

        // Apart from the connection, so that its state is given back when it is over.
        let handshake = Box::pin(async move {
            let too_late = async {
                shared.stop.draining().await;
                tokio::time::sleep(shared.config.drain.goaway_grace()).await;
            };

            tokio::select! {
                // In this order, and not in a random one.
                biased;
                () = shared.stop.aborted() => None,
                accepted = shared.handshakes.accept(&tls, io, &of_peer, &of_policy) => accepted,
                () = too_late => None,
            }
        });

        // No `async`: that would hold the stream twice.
        let served = handshake.then(move |accepted| match accepted {
            Some(stream) => connection::run(stream, peer, host, policy).left_future(),
            None => std::future::ready(()).right_future(),
        });
        self.shared.connections.counted.track_future(served)
    }

    /// The handshake of a connection over a limit, within a time. While many that may come in are at theirs, it has
    /// none.
    #[cfg(feature = "tls")]
    async fn shake_hands_beside<IO>(
        &self,
        tls: &ServerTls,
        io: IO,
        peer: &Peer,
        within: Duration,
    ) -> Option<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let handshakes = &self.shared.handshakes;
        if !handshakes.have_time() {
            return None;
        }

        let shaken = handshakes.accept(tls, io, peer, &self.policy);
        tokio::time::timeout(within, shaken).await.ok()?
    }

    /// Answers what a connection over a limit may ask, and refuses anything else.
    async fn run_at_reserve<IO>(&self, mut io: IO, peer: Arc<Peer>, mut reserved: Reserved)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (host, policy) = (Arc::clone(&self.shared.host), Arc::clone(&self.policy));
        let asking = Arc::clone(&peer);

        let (seat, time) = (&mut reserved.seat, reserved.time);
        let ended = connection::run_at_reserve(&mut io, asking, host, policy, seat, time);
        match ended.await {
            Ended::Served => reserved.close(io).await,
            Ended::Refused => reserved.refuse(io, &peer.address, Refusal::line).await,
            Ended::RefusedHttp => {
                reserved
                    .refuse(io, &peer.address, Refusal::http_response)
                    .await;
            }
        }
    }

    fn peer(&self, address: &str) -> Arc<Peer> {
        // Relaxed: only uniqueness matters.
        let connection = self.shared.next_connection.fetch_add(1, Ordering::Relaxed);
        Arc::new(Peer::new(address, connection))
    }

    /// How long the slowest of the server's runtimes has been stuck: it should give a sign of life every quarter of a
    /// second, and has not for so long. For a watchdog.
    pub fn stalled_for(&self) -> Duration {
        self.shared.metrics.runtime_lag.overdue()
    }
}

impl Serve for ServerHandle {
    fn connections(&self) -> usize {
        self.shared.connections.counted.len()
    }

    fn is_for_pages(&self) -> bool {
        self.policy.is_for_pages
    }

    fn serve<IO>(&self, io: IO, peer: &str, place: Option<AddressPermit>)
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

    fn serve_page<IO>(&self, io: IO, peer: &str, mut seat: Seat)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = self.peer(peer);
        let (host, policy) = (Arc::clone(&self.shared.host), Arc::clone(&self.policy));

        let shown = async move {
            let limits = &Arc::clone(&host).metrics.limits;
            tokio::select! {
                biased;
                () = connection::run(io, peer, host, policy) => {}
                () = seat.lost() => add(&limits.page_connections_over_max, 1),
            }
        };
        self.shared.connections.uncounted.spawn(shown);
    }

    fn serve_reserved<IO>(
        &self,
        io: IO,
        peer: &str,
        reserved: Reserved,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (server, peer) = (self.clone(), self.peer(peer));

        self.shared.connections.uncounted.track_future(async move {
            #[cfg(feature = "tls")]
            if let Some(tls) = &server.policy.tls {
                let shaken = server.shake_hands_beside(tls, io, &peer, reserved.time);
                return match shaken.await {
                    Some(stream) => server.run_at_reserve(stream, peer, reserved).await,
                    None => reserved.refuse_unsaid(&peer.address),
                };
            }

            server.run_at_reserve(io, peer, reserved).await;
        })
    }

    async fn turn_away<IO>(&self, io: IO, peer: &str, line: &[u8], linger: Duration)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.policy.tls {
            let peer = self.peer(peer);
            match self.shake_hands_beside(tls, io, &peer, linger).await {
                Some(stream) => linger::send_last_line(stream, line, linger).await,
                None => add(&self.shared.metrics.limits.refusals_unsaid, 1),
            }
            return;
        }

        #[cfg(not(feature = "tls"))]
        let _ = peer;
        linger::send_last_line(io, line, linger).await;
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
