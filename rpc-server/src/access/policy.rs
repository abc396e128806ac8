//! The policy of a listener: its requirements for the connections that it accepts.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "tls")]
use crate::tls::ServerTls;

/// What a connection's listener asks of it; each connection has its listener's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    pub(crate) requires_authentication: bool,
    pub(crate) hides_admin_pages: bool,
    /// Whether HTTP requests make calls.
    pub(crate) http_calls: bool,
    /// Names by which HTTP requests may call, beside addresses and `localhost`.
    pub(crate) http_hosts: Vec<String>,
    /// Origins whose pages may call.
    pub(crate) http_origins: Vec<String>,
    /// Replaces the server's own.
    pub(crate) first_frame_timeout_ms: Option<u64>,
    pub(crate) allows_plaintext: bool,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<ServerTls>,
    /// Nothing is served here but the pages.
    pub(crate) is_for_pages: bool,
    /// Whether a connection says of a stream without an item that it has begun. Only one in memory does.
    pub(crate) beginnings: Beginnings,
}

/// What a connection says of a stream that has begun and has no item yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Beginnings {
    /// Nothing, as the protocol has no line for it.
    #[default]
    Silent,
    /// A line of its own, for the head of an HTTP response.
    Told,
}

impl Policy {
    /// That of an address without options: every peer that reaches it is welcome.
    pub(crate) fn unrestricted() -> Arc<Self> {
        Arc::new(Self {
            allows_plaintext: true,
            ..Self::default()
        })
    }

    /// The same without calls over HTTP.
    pub(crate) fn without_http_calls(&self) -> Self {
        Self {
            http_calls: false,
            ..self.clone()
        }
    }

    /// Whether a `GET` is answered with the pages about the server.
    #[cfg(feature = "admin")]
    pub(crate) fn has_admin_pages(&self) -> bool {
        !self.hides_admin_pages
    }

    /// Whether a connection may speak HTTP.
    #[cfg(feature = "tls")]
    pub(crate) fn takes_http(&self) -> bool {
        self.http_calls || !self.hides_admin_pages
    }

    /// That of the address that serves nothing but the pages.
    #[cfg(feature = "admin")]
    pub(crate) fn of_pages() -> Self {
        Self {
            is_for_pages: true,
            ..Self::default()
        }
    }

    /// How long a connection may stay silent at first; `otherwise` is the server's own limit. None for ever.
    pub(crate) fn first_frame_timeout(&self, otherwise: Duration) -> Option<Duration> {
        let timeout = self
            .first_frame_timeout_ms
            .map_or(otherwise, Duration::from_millis);
        (!timeout.is_zero()).then_some(timeout)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "as the one with TLS")]
    pub(crate) fn has_tls(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_s_own_first_frame_timeout_goes_before_the_server_s() {
        let own = |timeout_ms| Policy {
            first_frame_timeout_ms: timeout_ms,
            ..Policy::default()
        };
        let (second, none) = (Duration::from_secs(1), Duration::ZERO);

        assert_eq!(own(None).first_frame_timeout(second), Some(second));
        assert_eq!(own(None).first_frame_timeout(none), None);
        assert_eq!(
            own(Some(5)).first_frame_timeout(none),
            Some(Duration::from_millis(5))
        );
        assert_eq!(own(Some(0)).first_frame_timeout(second), None);
    }
}
