//! The scope of a call: what a connection knows of it besides its line.

mod cancellation;
mod context;
mod peer;
mod series;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::descriptor::RetryCategory;
use crate::frame::Request;

pub use cancellation::{Cancellation, LazyCancellation};
pub use context::Context;
pub use peer::{HeldBytes, Peer};
pub use series::Series;

/// The local side of a [`Request`]: the peer that calls, the deadline, and how to learn that the caller
/// has gone. It never travels.
///
/// ```
/// use std::sync::Arc;
///
/// use rpc_core::scope::LazyCancellation;
/// use rpc_core::{Peer, RawJson, Request, Scope};
///
/// let (peer, canceller) = (Arc::new(Peer::new("10.1.2.3:40112", 1)), LazyCancellation::default());
/// let scope = Scope::new(&peer, None, &canceller);
/// let request = Request::new(100, RawJson::NULL).with_scope(scope);
/// assert_eq!(request.scope.peer().unwrap().address, "10.1.2.3:40112");
///
/// let cancellation = request.scope.cancellation();
/// drop(request);
/// drop(canceller); // as the connection does when the call is over
/// assert!(cancellation.is_cancelled());
/// ```
#[derive(Clone, Default)]
pub struct Scope<'a> {
    peer: PeerRef<'a>,
    /// When the result is of no use any more.
    pub deadline: Option<Instant>,
    /// Whether a client may send the call again where it may have run.
    pub retry: RetryCategory,
    /// What the call shares with those that follow it in its place, where it may be followed.
    pub series: Option<Arc<Series>>,
    cancellation: CancellationRef<'a>,
}

/// Shared only with a handler that asks.
#[derive(Clone, Default)]
enum PeerRef<'a> {
    #[default]
    None,
    Borrowed(&'a Arc<Peer>),
    Owned(Arc<Peer>),
}

/// Made only for a handler that asks: most calls end in their first poll and are never cancelled.
#[derive(Clone, Default)]
enum CancellationRef<'a> {
    #[default]
    None,
    Lazy(&'a LazyCancellation),
    Made(Cancellation),
}

impl<'a> Scope<'a> {
    /// The scope of a call that `canceller` may cancel.
    pub fn new(
        peer: &'a Arc<Peer>,
        deadline: Option<Instant>,
        canceller: &'a LazyCancellation,
    ) -> Self {
        Self {
            peer: PeerRef::Borrowed(peer),
            deadline,
            retry: RetryCategory::Neither,
            series: None,
            cancellation: CancellationRef::Lazy(canceller),
        }
    }

    /// The peer, where the call came over a connection.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        match &self.peer {
            PeerRef::None => None,
            PeerRef::Borrowed(peer) => Some(peer),
            PeerRef::Owned(peer) => Some(peer),
        }
    }

    /// Tells when the caller has gone; never, for a call without a connection.
    pub fn cancellation(&self) -> Cancellation {
        match &self.cancellation {
            CancellationRef::None => Cancellation::never(),
            CancellationRef::Lazy(lazy) => lazy.get(),
            CancellationRef::Made(cancellation) => cancellation.clone(),
        }
    }

    /// The same scope for a call that runs on though its caller is gone: it is never cancelled.
    #[must_use]
    pub fn uncancelled(self) -> Self {
        Self {
            cancellation: CancellationRef::None,
            ..self
        }
    }

    /// The same scope, free of the connection's borrowed state.
    pub fn into_owned(self) -> Scope<'static> {
        let cancellation = match self.cancellation {
            CancellationRef::None => CancellationRef::None,
            CancellationRef::Lazy(lazy) => CancellationRef::Made(lazy.get()),
            CancellationRef::Made(cancellation) => CancellationRef::Made(cancellation),
        };
        let peer = match self.peer {
            PeerRef::None => PeerRef::None,
            PeerRef::Borrowed(peer) => PeerRef::Owned(Arc::clone(peer)),
            PeerRef::Owned(peer) => PeerRef::Owned(peer),
        };

        Scope {
            peer,
            deadline: self.deadline,
            retry: self.retry,
            series: self.series,
            cancellation,
        }
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("peer", &self.peer())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// A call that other calls are made for, as a handler knows it: what those inherit. A client takes one with
/// its `within`.
pub trait Parent {
    /// The time after which the call's result is not needed.
    fn deadline(&self) -> Option<Instant>;

    /// The value of the call's metadata under this key.
    fn meta(&self, key: &str) -> Option<String>;
}

/// The deadline; a scope knows no metadata.
impl Parent for Scope<'_> {
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn meta(&self, _key: &str) -> Option<String> {
        None
    }
}

impl Parent for Request<'_> {
    fn deadline(&self) -> Option<Instant> {
        self.scope.deadline
    }

    fn meta(&self, key: &str) -> Option<String> {
        self.meta.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_connections_side_cancels_every_clone() {
        let peer = Arc::new(Peer::new("test", 1));
        let lazy = LazyCancellation::default();
        let scope = Scope::new(&peer, None, &lazy).into_owned();
        let (first, second) = (scope.cancellation(), scope.cancellation());

        assert!(!first.is_cancelled());

        drop(lazy);
        assert!(first.is_cancelled() && second.is_cancelled());
        assert!(!Scope::default().cancellation().is_cancelled());
    }
}
