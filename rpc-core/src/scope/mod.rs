//! The scope of a call: what a connection knows of it besides its line.

mod cancellation;
mod context;
mod last_timing;
mod peer;
mod raw_line;
mod series;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::descriptor::RetryCategory;
use crate::frame::Request;

pub use cancellation::{Cancellation, LazyCancellation};
pub use context::Context;
pub use last_timing::LastTiming;
pub use peer::{HeldBytes, Peer};
pub use raw_line::RawLine;
pub use series::Series;

/// The local side of a [`Request`]: the peer that calls, the line that the call came as, the deadline,
/// and how to learn that the caller has gone. It never travels.
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
    line: LineRef<'a>,
}

/// Shared only with a handler that asks.
#[derive(Clone, Default)]
enum PeerRef<'a> {
    #[default]
    None,
    Borrowed(&'a Arc<Peer>),
    Owned(Arc<Peer>),
}

/// Copied only for a handler that asks.
#[derive(Clone, Default)]
enum LineRef<'a> {
    #[default]
    None,
    /// Lost where the request becomes owned.
    Passing(&'a [u8]),
    /// Copied where the request becomes owned.
    Wanted(&'a [u8]),
    Owned(RawLine),
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
            line: LineRef::None,
        }
    }

    /// Says over which connection the call came.
    pub fn set_peer(&mut self, peer: &'a Arc<Peer>) {
        self.peer = PeerRef::Borrowed(peer);
    }

    /// Says what may cancel the call.
    pub fn set_canceller(&mut self, canceller: &'a LazyCancellation) {
        self.cancellation = CancellationRef::Lazy(canceller);
    }

    /// Says which line the call came as, without its line break.
    pub fn set_line(&mut self, line: &'a [u8]) {
        self.line = LineRef::Passing(line);
    }

    /// Has the line copied where the request becomes owned ([`into_owned`](Self::into_owned)).
    /// Otherwise it is lost there: most calls need no line, and pay for none.
    pub fn keep_line(&mut self) {
        if let LineRef::Passing(line) = self.line {
            self.line = LineRef::Wanted(line);
        }
    }

    /// The line that the call came as, without its line break. `None` for a call that came over no
    /// connection, and where the request has become owned and its line was not
    /// [kept](Self::keep_line).
    pub fn line(&self) -> Option<&[u8]> {
        match &self.line {
            LineRef::None => None,
            LineRef::Passing(line) | LineRef::Wanted(line) => Some(line),
            LineRef::Owned(line) => Some(line),
        }
    }

    /// The same as an owned value, for a call's future or for longer: a copy, which counts with the
    /// connection, unless the line was copied before.
    pub fn raw_line(&self) -> Option<RawLine> {
        match &self.line {
            LineRef::None => None,
            LineRef::Passing(line) | LineRef::Wanted(line) => Some(self.copy_of(line)),
            LineRef::Owned(line) => Some(line.clone()),
        }
    }

    fn copy_of(&self, line: &[u8]) -> RawLine {
        let held = self.peer().map(|peer| peer.hold(line.len()));
        RawLine::held(line, held)
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
        let line = match self.line {
            LineRef::None | LineRef::Passing(_) => LineRef::None,
            LineRef::Wanted(line) => LineRef::Owned(self.copy_of(line)),
            LineRef::Owned(line) => LineRef::Owned(line),
        };
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
            line,
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

    #[test]
    fn an_owned_scope_has_the_line_only_where_it_is_kept() {
        let peer = Arc::new(Peer::new("test", 1));
        let lazy = LazyCancellation::default();
        let mut scope = Scope::new(&peer, None, &lazy);
        scope.set_line(b"{}");
        assert_eq!(scope.clone().into_owned().line(), None);

        scope.keep_line();
        assert_eq!(scope.into_owned().line(), Some(&b"{}"[..]));
    }

    #[test]
    fn a_line_counts_with_its_peer_until_the_last_clone_is_dropped() {
        let peer = Arc::new(Peer::new("test", 1));
        let lazy = LazyCancellation::default();
        let mut scope = Scope::new(&peer, None, &lazy);
        scope.set_line(b"0123456789");
        scope.keep_line();
        assert_eq!(peer.held_bytes(), 0);

        let owned = scope.into_owned();
        let (first, second) = (owned.raw_line(), owned.raw_line());
        assert_eq!(peer.held_bytes(), 10, "the clones are one copy");

        drop((owned, first));
        assert_eq!(peer.held_bytes(), 10);
        drop(second);
        assert_eq!(peer.held_bytes(), 0);
    }
}
