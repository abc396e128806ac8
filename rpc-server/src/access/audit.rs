//! Audit events, with the target `rpc_server::audit`. Never a token, never params.

use rpc_core::printable::Printable;
use rpc_core::{CmdId, Peer};

use crate::peer_log::{AUDIT, PeerLog};

/// How a peer came by its identity.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By {
    #[cfg(feature = "tls")]
    Certificate,
    Token,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "tls")]
            Self::Certificate => "certificate",
            Self::Token => "token",
        }
    }
}

pub(crate) fn identified(log: &PeerLog, peer: &Peer, by: By) {
    log.identified.write(|| {
        let identity = Printable(peer.identity().unwrap_or_default());
        tracing::info!(target: AUDIT, peer = %Printable(&peer.address), connection = peer.connection, %identity, by = by.name(), "identified");
    });
}

#[cfg(feature = "tls")]
pub(crate) fn handshake_refused(log: &PeerLog, peer: &str, reason: &str) {
    log.handshakes_refused.write(|| {
        tracing::warn!(target: AUDIT, peer = %Printable(peer), reason = %Printable(reason), "TLS handshake refused");
    });
}

#[cfg(feature = "tokens")]
pub(crate) fn token_refused(log: &PeerLog, peer: &Peer) {
    log.tokens_refused.write(|| {
        tracing::warn!(target: AUDIT, peer = %Printable(&peer.address), connection = peer.connection, "wrong token");
    });
}

#[cfg(feature = "tokens")]
pub(crate) fn tokens_limited(log: &PeerLog, peer: &Peer, limit: u32) {
    log.tokens_limited.write(|| {
        tracing::warn!(
            target: AUDIT,
            peer = %Printable(&peer.address),
            connection = peer.connection,
            limit,
            "token not checked: this address has sent `token_failures.per_address` wrong tokens"
        );
    });
}

pub(crate) fn command_refused(log: &PeerLog, peer: &Peer, cmdid: CmdId) {
    log.commands_refused.write(|| {
        let identity = peer.identity().map(Printable).map(tracing::field::display);
        tracing::warn!(
            target: AUDIT,
            peer = %Printable(&peer.address),
            connection = peer.connection,
            identity,
            cmdid = cmdid.number(),
            "command refused; further refusals on this connection are only counted"
        );
    });
}

pub(crate) fn not_authenticated_in_time(log: &PeerLog, peer: &Peer, limit_ms: u64) {
    log.unauthenticated.write(|| {
        tracing::warn!(
            target: AUDIT,
            peer = %Printable(&peer.address),
            connection = peer.connection,
            limit_ms,
            "closed: not authenticated within `accept.authentication_timeout_ms`"
        );
    });
}
