//! Counts of what was asked and refused at the door.

use serde::Serialize;

use super::get;
use crate::sync::AtomicU64;

#[derive(Debug, Default)]
pub(crate) struct AccessCounters {
    pub(crate) handshakes_under_way: AtomicU64,
    pub(crate) handshakes_done: AtomicU64,
    pub(crate) handshakes_refused: AtomicU64,
    pub(crate) authentications: AtomicU64,
    pub(crate) token_failures: AtomicU64,
    pub(crate) token_failures_limited: AtomicU64,
    pub(crate) authentication_timeouts: AtomicU64,
    pub(crate) unauthenticated_calls: AtomicU64,
    pub(crate) calls_without_grant: AtomicU64,
}

/// What was asked and refused at the door: TLS, authentication, grants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccessStats {
    /// TLS handshakes in progress.
    pub tls_handshakes_under_way: u64,
    /// TLS handshakes that were done.
    pub tls_handshakes: u64,
    /// TLS handshakes that were refused, failed, or were not done within `accept.handshake_timeout_ms`.
    pub tls_handshakes_refused: u64,
    /// Connections that have shown a token of the server's.
    pub authentications: u64,
    /// Wrong tokens.
    pub token_failures: u64,
    /// Tokens that were not looked at, at `token_failures.per_address`.
    pub token_failures_limited: u64,
    /// Connections that were closed at `accept.authentication_timeout_ms`.
    pub authentication_timeouts: u64,
    /// Calls that were refused with code 16, before an authentication that is required.
    pub unauthenticated_calls: u64,
    /// Calls that were refused with code 7, for want of a grant.
    pub calls_without_grant: u64,
    /// When the first of the listeners' certificates expires, in Unix seconds; 0 without any.
    pub certificate_expires_unix_seconds: u64,
}

impl AccessCounters {
    pub(crate) fn snapshot(&self) -> AccessStats {
        AccessStats {
            tls_handshakes_under_way: get(&self.handshakes_under_way),
            tls_handshakes: get(&self.handshakes_done),
            tls_handshakes_refused: get(&self.handshakes_refused),
            authentications: get(&self.authentications),
            token_failures: get(&self.token_failures),
            token_failures_limited: get(&self.token_failures_limited),
            authentication_timeouts: get(&self.authentication_timeouts),
            unauthenticated_calls: get(&self.unauthenticated_calls),
            calls_without_grant: get(&self.calls_without_grant),
            // Known to the certificates.
            certificate_expires_unix_seconds: 0,
        }
    }
}
