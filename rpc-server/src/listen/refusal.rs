//! Refuses connections over a limit, with a message.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::Status;
use rpc_core::frame::encode_failure;
use tokio::io::{AsyncRead, AsyncWrite};

use super::accept::Accepted;
use crate::limit::Place;
use crate::metrics::add;
use crate::server::{ServerHandle, Shared};

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooMany { limit: usize },
    TooManyOfAddress { limit: usize },
    NoDescriptor,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { limit } => {
                write!(f, "the limit `connections_max` of {limit} is reached")
            }
            Self::TooManyOfAddress { limit } => {
                write!(
                    f,
                    "the limit `connections_per_address` of {limit} is reached for this address"
                )
            }
            Self::NoDescriptor => {
                f.write_str("the server has no file descriptor for another connection")
            }
        }
    }
}

impl Refusal {
    pub(crate) fn line(self) -> Vec<u8> {
        let status = Status::resource_exhausted(self.to_string());

        let mut line = Vec::new();
        encode_failure(
            &mut line,
            None,
            &status
                .with_rejected()
                .with_retry_after(Duration::from_secs(1)),
        );

        line
    }
}

/// Serves a connection, or says why not.
pub(crate) fn admit(accepted: Accepted, shared: &Shared, server: &ServerHandle) {
    add(&shared.metrics.connections_accepted, 1);

    match accepted {
        Accepted::Tcp(stream, peer) => {
            let limit = shared.config.connections_per_address;
            let place = match room(shared, server) {
                Ok(()) if limit == 0 => Ok(None),
                Ok(()) => {
                    let place = shared.addresses.enter(peer.ip(), limit);
                    place.map(Some).ok_or(Refusal::TooManyOfAddress { limit })
                }
                Err(refusal) => Err(refusal),
            };

            serve(stream, &peer.to_string(), place, shared, server);
        }
        Accepted::Unix(stream) => {
            let place = room(shared, server).map(|()| None);
            serve(stream, "unix", place, shared, server);
        }
    }
}

fn room(shared: &Shared, server: &ServerHandle) -> Result<(), Refusal> {
    let limit = shared.config.connections_max;
    if server.connections() < limit {
        Ok(())
    } else {
        Err(Refusal::TooMany { limit })
    }
}

fn serve<IO>(
    io: IO,
    peer: &str,
    place: Result<Option<Place>, Refusal>,
    shared: &Shared,
    server: &ServerHandle,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let refusal = match place {
        Ok(place) => return server.spawn_connection(io, peer, place),
        Err(refusal) => refusal,
    };

    let limits = &shared.metrics.limits;
    add(&shared.metrics.connections_refused, 1);
    match refusal {
        Refusal::TooMany { .. } => add(&limits.connections_over_max, 1),
        Refusal::TooManyOfAddress { .. } => add(&limits.connections_over_address_max, 1),
        Refusal::NoDescriptor => add(&limits.connections_without_descriptor, 1),
    }

    if shared.refusals_logged.is_due() {
        tracing::warn!(%peer, "a connection is refused: {refusal}");
    }

    // Whoever is told takes time and a descriptor as well: so many at one time, and no more.
    let Ok(turn) = Arc::clone(&shared.refusals).try_acquire_owned() else {
        add(&limits.refusals_unsaid, 1);
        return;
    };

    let (server, peer, linger) = (
        server.clone(),
        peer.to_owned(),
        shared.config.linger_timeout(),
    );
    tokio::spawn(async move {
        server.turn_away(io, &peer, &refusal.line(), linger).await;
        drop(turn);
    });
}
