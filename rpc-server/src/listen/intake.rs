//! The intake of connections: each one is served, or is told why it is not.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::keepalive::Keepalive;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::accept::Accepted;
use super::refusal::{Refusal, Refusals};
use super::reserve::Reserved;
use super::watched::Watched;
use crate::config::Config;
use crate::limit::{AddressPermit, Addresses, Changeable, Seat, Seats};
use crate::metrics::{Metrics, add};
use crate::peer_log::PeerLog;

/// Seats for connections over a limit, which may ask for pages and call built-in commands.
const RESERVE: usize = 16;
const RESERVE_PER_ADDRESS: usize = 4;

/// Time to ask, and to hear the answer, where there is a descriptor for one connection after another.
const MOMENT: Duration = Duration::from_millis(50);
const MOMENT_LINGER: Duration = Duration::from_millis(100);

/// Connections to the address that serves nothing but pages. Those who ask may well have one address.
const PAGE_CONNECTIONS_MAX: usize = 64;

/// Serves connections that were accepted, under what their listener asks of them.
pub(crate) trait Serve: Clone + Send + Sync + 'static {
    /// Connections that count towards `limits.connections_max`.
    fn connections(&self) -> usize;

    /// Whether its listener serves nothing but pages.
    fn is_for_pages(&self) -> bool;

    /// Serves a connection in a task of its own. `place` is kept for as long.
    fn serve<IO>(&self, io: IO, peer: &str, place: Option<AddressPermit>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Serves a connection to the listener for pages in a task of its own, until it has lost its seat.
    fn serve_page<IO>(&self, io: IO, peer: &str, seat: Seat)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Serves a connection over a limit: what may be asked at the reserve, or the refusal.
    fn serve_reserved<IO>(
        &self,
        io: IO,
        peer: &str,
        reserved: Reserved,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Says one line and closes, within the time; under TLS where the listener has it, for its peers can read only
    /// that. While many who may come in are at their handshakes, no other connection has one.
    fn turn_away<IO>(
        &self,
        io: IO,
        peer: &str,
        line: &[u8],
        linger: Duration,
    ) -> impl Future<Output = ()> + Send
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send;
}

/// The limits that a connection meets when it is accepted.
pub(crate) struct Intake {
    pub(super) config: Arc<Config>,
    changeable: Arc<Changeable>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: Arc<PeerLog>,
    addresses: Arc<Addresses>,
    keepalive: Arc<Keepalive>,
    refusals: Arc<Refusals>,
    reserve: Arc<Seats>,
    /// The seats of the listener for pages, which no other limit counts.
    pages: Arc<Seats>,
}

impl Intake {
    pub(crate) fn new(
        config: &Arc<Config>,
        changeable: &Arc<Changeable>,
        metrics: &Arc<Metrics>,
        log: &Arc<PeerLog>,
    ) -> Self {
        Self {
            config: Arc::clone(config),
            changeable: Arc::clone(changeable),
            metrics: Arc::clone(metrics),
            log: Arc::clone(log),
            addresses: Arc::default(),
            keepalive: Arc::new(config.tcp.keepalive()),
            refusals: Arc::new(Refusals::new(config, metrics, log)),
            reserve: Arc::new(Seats::new(RESERVE, RESERVE_PER_ADDRESS)),
            pages: Arc::new(Seats::new(PAGE_CONNECTIONS_MAX, PAGE_CONNECTIONS_MAX)),
        }
    }

    /// Serves a connection, or refuses it with a reason.
    pub(super) fn take_in(&self, accepted: Accepted, server: &impl Serve) {
        add(&self.metrics.connections_accepted, 1);

        match accepted {
            Accepted::Tcp(stream, peer) => {
                let stream = Watched::new(stream, &self.keepalive);
                self.serve(stream, Some(peer.ip()), &peer.to_string(), server);
            }
            Accepted::Unix(stream) => self.serve(stream, None, "unix", server),
        }
    }

    fn serve<IO>(&self, io: IO, address: Option<IpAddr>, peer: &str, server: &impl Serve)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if server.is_for_pages() {
            // None of these seats is ever settled, so that there always is one.
            if let Some(seat) = self.pages.take(address) {
                server.serve_page(io, peer, seat);
            }
            return;
        }

        match self.place(address, server) {
            Ok(place) => server.serve(io, peer, place),
            Err(refusal) => self.refuse(io, address, peer, refusal, server),
        }
    }

    /// The place of a connection within all limits; none where its address does not count.
    fn place(
        &self,
        address: Option<IpAddr>,
        server: &impl Serve,
    ) -> Result<Option<AddressPermit>, Refusal> {
        // First, so that no other connection makes room for one that is refused.
        let limit = self.changeable.connections_per_address();
        let place = match address {
            Some(address) if limit > 0 => {
                let place = self.addresses.enter(address, limit);
                Some(place.ok_or(Refusal::TooManyOfAddress { limit })?)
            }
            _ => None,
        };

        let limit = self.changeable.connections_max();
        let connections = server.connections();
        if connections >= limit && !self.makes_room(connections, limit) {
            return Err(Refusal::TooMany { limit });
        }

        Ok(place)
    }

    /// Whether a connection over the limit takes the place of one that rests. That one needs time to leave, so that there
    /// may be some more for a while.
    fn makes_room(&self, connections: usize, limit: usize) -> bool {
        let most = limit.saturating_add(limit.div_ceil(8));
        let rested = self
            .config
            .limits
            .make_room_after()
            .and_then(|rest| Instant::now().checked_sub(rest))
            .map(Instant::into_std);
        connections < most
            && rested.is_some_and(|rested| self.metrics.connections.ask_for_room(rested))
    }

    /// Serves a connection that has a descriptor for a moment only: what may be asked at the reserve, or the refusal.
    pub(super) async fn serve_for_a_moment(&self, accepted: Accepted, server: &impl Serve) {
        add(&self.metrics.connections_accepted, 1);

        match accepted {
            Accepted::Tcp(stream, peer) => {
                let (address, peer) = (Some(peer.ip()), peer.to_string());
                self.ask_for_a_moment(stream, address, &peer, server).await;
            }
            Accepted::Unix(stream) => self.ask_for_a_moment(stream, None, "unix", server).await,
        }
    }

    async fn ask_for_a_moment<IO>(
        &self,
        io: IO,
        address: Option<IpAddr>,
        peer: &str,
        server: &impl Serve,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let refusal = Refusal::NoDescriptor;
        if let Some(seat) = self.reserve.take(address) {
            let reserved = Reserved::new(seat, refusal, Arc::clone(&self.refusals));
            let reserved = reserved.within(MOMENT, MOMENT_LINGER);
            return server.serve_reserved(io, peer, reserved).await;
        }

        if let Some(turn) = self.refusals.refuse(peer, refusal) {
            let line = refusal.line();
            server.turn_away(io, peer, &line, MOMENT_LINGER).await;
            drop(turn);
        }
    }

    /// Lets a connection over a limit ask what may be asked at the reserve, where a seat is free, or refuses it.
    fn refuse<IO>(
        &self,
        io: IO,
        address: Option<IpAddr>,
        peer: &str,
        refusal: Refusal,
        server: &impl Serve,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(seat) = self.reserve.take(address) {
            let refusals = Arc::clone(&self.refusals);
            let reserved = Reserved::new(seat, refusal, refusals);
            tokio::spawn(server.serve_reserved(io, peer, reserved));
            return;
        }

        if let Some(turn) = self.refusals.refuse(peer, refusal) {
            let (server, peer) = (server.clone(), peer.to_owned());
            let linger = self.config.timeouts.linger_timeout();
            tokio::spawn(async move {
                server.turn_away(io, &peer, &refusal.line(), linger).await;
                drop(turn);
            });
        }
    }
}
