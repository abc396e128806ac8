//! TLS handshakes of accepted connections: bounded in time and number, and with a reason where one fails.

use std::sync::Arc;
use std::time::Duration;

use rpc_core::Peer;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::access::{Access, Policy, audit};
use crate::config::Config;
use crate::linger;
use crate::metrics::{add, subtract};
use crate::tls::{ServerTls, certificate, refusal};

/// The handshakes of a server.
pub(crate) struct Handshakes {
    config: Arc<Config>,
    access: Arc<Access>,
    turns: Semaphore,
}

impl Handshakes {
    pub(super) fn new(config: &Arc<Config>, access: &Arc<Access>) -> Self {
        Self {
            config: Arc::clone(config),
            access: Arc::clone(access),
            // A setting may say more than a semaphore counts.
            turns: Semaphore::new(config.accept.handshakes_max.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// Whether half of the turns are free: then those who are turned away may have one.
    pub(super) fn have_time(&self) -> bool {
        self.turns.available_permits() > self.config.accept.handshakes_max / 2
    }

    /// Makes TLS of a byte stream and notes who the peer is. None where that failed, which is logged.
    pub(super) async fn accept<IO>(
        &self,
        tls: &ServerTls,
        io: IO,
        peer: &Peer,
        policy: &Policy,
    ) -> Option<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (counters, log) = (&self.access.counters, &self.access.log);
        let _under_way = UnderWay::new(&self.access);

        let stream = match self.handshake(tls, io, policy).await {
            Ok(stream) => stream,
            Err(reason) => {
                add(&counters.handshakes_refused, 1);
                audit::handshake_refused(log, &peer.address, &reason);
                return None;
            }
        };

        let (_, session) = stream.get_ref();
        if let Some(leaf) = session.peer_certificates().and_then(|chain| chain.first()) {
            // It was verified when its session began, which may be long ago.
            if certificate::has_expired(leaf) {
                add(&counters.handshakes_refused, 1);
                audit::handshake_refused(
                    log,
                    &peer.address,
                    "the client's certificate has expired",
                );
                return None;
            }

            match certificate::identity(leaf) {
                Some(identity) => {
                    peer.set_identity(identity);
                    audit::identified(log, peer, audit::By::Certificate);
                }
                None if tls.requires_certificate() => {
                    add(&counters.handshakes_refused, 1);
                    let reason = "the client's certificate has no identity: no URI, no DNS name, no common name";
                    audit::handshake_refused(log, &peer.address, reason);
                    return None;
                }
                None => {}
            }
        }

        add(&counters.handshakes_done, 1);
        Some(stream)
    }

    async fn handshake<IO>(
        &self,
        tls: &ServerTls,
        io: IO,
        policy: &Policy,
    ) -> Result<TlsStream<IO>, String>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let limit_ms = self.config.accept.handshake_timeout_ms;
        let deadline = Instant::now() + Duration::from_millis(limit_ms);
        let late = |_| format!("not done within `accept.handshake_timeout_ms` of {limit_ms} ms");

        let turn = timeout_at(deadline, self.turns.acquire()).await;
        let turn = turn.map_err(|_| {
            let at_once = self.config.accept.handshakes_max;
            format!(
                "no handshake could begin within `accept.handshake_timeout_ms`: `accept.handshakes_max` ({at_once}) others were under way"
            )
        })?;

        let mut hello = LazyConfigAcceptor::new(Acceptor::default(), io);
        let hello = match timeout_at(deadline, &mut hello).await.map_err(late)? {
            Ok(hello) => hello,
            Err(error) => {
                drop(turn);
                if let Some(io) = hello.take_io() {
                    linger::close(io, self.config.timeouts.linger_timeout()).await;
                }
                return Err(refusal::words(&error));
            }
        };

        let config = match policy.takes_http() {
            true => tls.config_with_http(),
            false => tls.config(),
        };
        let accept = hello.into_stream(config).into_fallible();
        match timeout_at(deadline, accept).await.map_err(late)? {
            Ok(stream) => Ok(stream),
            Err((error, io)) => {
                drop(turn);
                linger::close(io, self.config.timeouts.linger_timeout()).await;
                Err(refusal::words(&error))
            }
        }
    }
}

/// Counts a handshake for as long as it goes on, however it ends.
struct UnderWay(Arc<Access>);

impl UnderWay {
    fn new(access: &Arc<Access>) -> Self {
        add(&access.counters.handshakes_under_way, 1);
        Self(Arc::clone(access))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        subtract(&self.0.counters.handshakes_under_way, 1);
    }
}
