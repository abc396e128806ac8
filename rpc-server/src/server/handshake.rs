//! TLS handshakes of accepted connections: bounded in time and number, and with a reason where one fails. Certificates
//! are in `tls/`; this is here because it counts in the state of the server.

use std::sync::Arc;
use std::time::Duration;

use rpc_core::Peer;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::Shared;
use crate::access::Policy;
use crate::access::audit;
use crate::linger;
use crate::metrics::{add, subtract};
use crate::tls::{ServerTls, certificate, refusal};

/// Makes TLS of a byte stream and notes who the peer is. None where that failed, which is logged.
pub(crate) async fn accept<IO>(
    tls: &ServerTls,
    io: IO,
    peer: &Peer,
    policy: &Policy,
    shared: &Arc<Shared>,
) -> Option<TlsStream<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let counters = &shared.access.counters;
    let _under_way = UnderWay::new(shared);

    let stream = match handshake(tls, io, policy, shared).await {
        Ok(stream) => stream,
        Err(reason) => {
            add(&counters.handshakes_refused, 1);
            audit::handshake_refused(&peer.address, &reason);
            return None;
        }
    };

    let (_, session) = stream.get_ref();
    if let Some(leaf) = session.peer_certificates().and_then(|chain| chain.first()) {
        match certificate::identity(leaf) {
            Some(identity) => {
                peer.set_identity(identity);
                audit::identified(peer, audit::By::Certificate);
            }
            None if tls.requires_certificate() => {
                add(&counters.handshakes_refused, 1);
                let reason =
                    "the client's certificate names nobody: no URI, no DNS name, no common name";
                audit::handshake_refused(&peer.address, reason);
                return None;
            }
            None => {}
        }
    }

    add(&counters.handshakes_done, 1);
    Some(stream)
}

async fn handshake<IO>(
    tls: &ServerTls,
    io: IO,
    policy: &Policy,
    shared: &Shared,
) -> Result<TlsStream<IO>, String>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let limit_ms = shared.config.handshake_timeout_ms;
    let deadline = Instant::now() + Duration::from_millis(limit_ms);
    let late = |_| format!("not done within `handshake_timeout_ms` of {limit_ms} ms");

    let turn = timeout_at(deadline, shared.handshakes.acquire()).await;
    let turn = turn.map_err(|_| {
        let at_once = shared.config.handshakes_max;
        format!("no turn within `handshake_timeout_ms`: `handshakes_max` ({at_once}) are under way")
    })?;

    let mut hello = LazyConfigAcceptor::new(Acceptor::default(), io);
    let hello = match timeout_at(deadline, &mut hello).await.map_err(late)? {
        Ok(hello) => hello,
        Err(error) => {
            drop(turn);
            if let Some(io) = hello.take_io() {
                linger::close(io, shared.config.linger_timeout()).await;
            }
            return Err(refusal::words(&error));
        }
    };

    let accept = hello
        .into_stream(tls.config(policy.has_admin_pages()))
        .into_fallible();
    match timeout_at(deadline, accept).await.map_err(late)? {
        Ok(stream) => Ok(stream),
        Err((error, io)) => {
            drop(turn);
            linger::close(io, shared.config.linger_timeout()).await;
            Err(refusal::words(&error))
        }
    }
}

/// Counts a handshake for as long as it goes on, however it ends.
struct UnderWay(Arc<Shared>);

impl UnderWay {
    fn new(shared: &Arc<Shared>) -> Self {
        add(&shared.access.counters.handshakes_under_way, 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        subtract(&self.0.access.counters.handshakes_under_way, 1);
    }
}
