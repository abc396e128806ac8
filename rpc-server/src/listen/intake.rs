//! The intake of connections: each one is served, or is told why it is not.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use super::accept::Accepted;
use super::refusal::Refusal;
use super::watched::Watched;
use crate::config::Config;
use crate::limit::{Addresses, Changeable, LogThrottle, Place};
use crate::metrics::{Metrics, add};

/// Serves connections that were accepted, under what their listener asks of them.
pub(crate) trait Serve: Clone + Send + Sync + 'static {
    /// Connections that are open.
    fn connections(&self) -> usize;

    /// Serves a connection in a task of its own. `place` is kept for as long.
    fn serve<IO>(&self, io: IO, peer: &str, place: Option<Place>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Says one line and closes, within the time; under TLS where the listener has it, for its peers can read
    /// nothing else. While many who may come in are at their handshakes, no other connection has one.
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
    addresses: Arc<Addresses>,
    /// The turns of those who are told that there is no place for them.
    refusals: Arc<Semaphore>,
    refusals_logged: LogThrottle,
}

impl Intake {
    pub(crate) fn new(
        config: &Arc<Config>,
        changeable: &Arc<Changeable>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        // A setting may say more than a semaphore counts.
        let refusals_max = config.refusals_max.min(Semaphore::MAX_PERMITS);

        Self {
            config: Arc::clone(config),
            changeable: Arc::clone(changeable),
            metrics: Arc::clone(metrics),
            addresses: Arc::default(),
            refusals: Arc::new(Semaphore::new(refusals_max)),
            refusals_logged: LogThrottle::new(),
        }
    }

    /// Serves a connection, or says why not.
    pub(super) fn admit(&self, accepted: Accepted, server: &impl Serve) {
        add(&self.metrics.connections_accepted, 1);

        match accepted {
            Accepted::Tcp(stream, peer) => {
                let limit = self.changeable.connections_per_address();
                let place = match self.room(server) {
                    Ok(()) if limit == 0 => Ok(None),
                    Ok(()) => {
                        let place = self.addresses.enter(peer.ip(), limit);
                        place.map(Some).ok_or(Refusal::TooManyOfAddress { limit })
                    }
                    Err(refusal) => Err(refusal),
                };

                let stream = Watched::new(stream, &self.config);
                self.serve(stream, &peer.to_string(), place, server);
            }
            Accepted::Unix(stream) => {
                let place = self.room(server).map(|()| None);
                self.serve(stream, "unix", place, server);
            }
        }
    }

    fn room(&self, server: &impl Serve) -> Result<(), Refusal> {
        let limit = self.changeable.connections_max();
        if server.connections() < limit {
            Ok(())
        } else {
            Err(Refusal::TooMany { limit })
        }
    }

    fn serve<IO>(
        &self,
        io: IO,
        peer: &str,
        place: Result<Option<Place>, Refusal>,
        server: &impl Serve,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let refusal = match place {
            Ok(place) => return server.serve(io, peer, place),
            Err(refusal) => refusal,
        };

        let limits = &self.metrics.limits;
        add(&self.metrics.connections_refused, 1);
        match refusal {
            Refusal::TooMany { .. } => add(&limits.connections_over_max, 1),
            Refusal::TooManyOfAddress { .. } => add(&limits.connections_over_address_max, 1),
            Refusal::NoDescriptor => add(&limits.connections_without_descriptor, 1),
        }

        if self.refusals_logged.is_due() {
            tracing::warn!(%peer, "a connection is refused: {refusal}");
        }

        // Whoever is told takes time and a descriptor as well: so many at one time, and no more.
        let Ok(turn) = Arc::clone(&self.refusals).try_acquire_owned() else {
            add(&limits.refusals_unsaid, 1);
            return;
        };

        let (server, peer) = (server.clone(), peer.to_owned());
        let linger = self.config.linger_timeout();
        tokio::spawn(async move {
            server.turn_away(io, &peer, &refusal.line(), linger).await;
            drop(turn);
        });
    }
}
