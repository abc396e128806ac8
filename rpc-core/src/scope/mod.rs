//! What a connection knows of a call besides its line.

mod context;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;

use crate::descriptor::RetryCategory;
use crate::frame::Request;

pub use context::Context;

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
    /// When nobody waits for the call's result any more.
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

/// The other end of a connection.
///
/// ```
/// use rpc_core::Peer;
///
/// let peer = Peer::new("10.1.2.3:40112", 1);
/// assert_eq!(peer.identity(), None);
/// peer.set_identity("orders");
/// assert_eq!(peer.identity(), Some("orders"));
/// ```
#[derive(Debug)]
pub struct Peer {
    /// Its address as text: `"10.1.2.3:40112"`, or `"unix"`, or what a custom transport says.
    pub address: String,
    /// A number for the connection, unique in this process.
    pub connection: u64,
    identity: OnceLock<Arc<str>>,
    held: AtomicUsize,
}

/// Bytes that a call of a peer holds. They count until this is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    peer: Arc<Peer>,
    bytes: usize,
}

impl HeldBytes {
    /// So many bytes more, of the same peer.
    #[must_use]
    pub fn another(&self, bytes: usize) -> Self {
        self.peer.hold(bytes)
    }

    /// Changes the number of bytes.
    pub fn set(&mut self, bytes: usize) {
        // Relaxed, here and below: the sum orders nothing else.
        self.peer.held.fetch_add(bytes, Ordering::Relaxed);
        self.peer.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.peer.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Peer {
    /// The other end of a connection, not known by name.
    pub fn new(address: impl Into<String>, connection: u64) -> Self {
        Self {
            address: address.into(),
            connection,
            identity: OnceLock::new(),
            held: AtomicUsize::new(0),
        }
    }

    /// Counts bytes that a call of this peer holds until what is returned is dropped. A server counts the requests
    /// of calls in flight like this, and bounds the sum with the rest that its connection holds; a handler that
    /// gathers much for its caller may count that as well.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use rpc_core::Peer;
    ///
    /// let peer = Arc::new(Peer::new("10.1.2.3:40112", 1));
    /// let rows = peer.hold(4_096);
    /// assert_eq!(peer.held_bytes(), 4_096);
    /// drop(rows);
    /// assert_eq!(peer.held_bytes(), 0);
    /// ```
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: usize) -> HeldBytes {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        HeldBytes {
            peer: Arc::clone(self),
            bytes,
        }
    }

    /// The bytes that its calls hold now.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Who it has shown to be, by its certificate or a token; none where it has shown nothing.
    pub fn identity(&self) -> Option<&str> {
        self.identity.get().map(|identity| &**identity)
    }

    /// Notes who it is. The first time counts: a connection's identity does not change. Returns the one
    /// that holds.
    pub fn set_identity(&self, identity: impl Into<Arc<str>>) -> &str {
        self.identity.get_or_init(|| identity.into())
    }
}

/// The copy is another connection's: nothing is held for it.
impl Clone for Peer {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            connection: self.connection,
            identity: self.identity.clone(),
            held: AtomicUsize::new(0),
        }
    }
}

/// Peers are equal where their addresses, connections and identities are.
impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        (&self.address, self.connection, self.identity())
            == (&other.address, other.connection, other.identity())
    }
}

impl Eq for Peer {}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// Tells a handler that its caller has gone: cancelled, past its deadline, or disconnected.
///
/// A handler that is simply dropped needs none of this; it is for those that run on (`detached`),
/// or that hand work to other tasks and threads.
#[derive(Clone)]
pub struct Cancellation(Option<Shared<oneshot::Receiver<()>>>);

impl Cancellation {
    fn never() -> Self {
        Self(None)
    }

    /// Resolves when the caller no longer waits for the result. For a call without a connection it never
    /// does.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: another one resolves at the same time.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let receiver = self.0.clone();
        async move {
            match receiver {
                // That the sender is gone is the news; it never sends.
                Some(receiver) => drop(receiver.await),
                None => std::future::pending().await,
            }
        }
    }

    /// Whether nobody waits for the result any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled().now_or_never().is_some()
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancellation")
            .field(&self.is_cancelled())
            .finish()
    }
}

/// The connection's side of a [`Cancellation`], made on first use. Dropping it cancels.
#[derive(Default)]
pub struct LazyCancellation(OnceLock<(oneshot::Sender<()>, Cancellation)>);

impl LazyCancellation {
    fn get(&self) -> Cancellation {
        let make = || {
            let (sender, receiver) = oneshot::channel();
            (sender, Cancellation(Some(receiver.shared())))
        };
        self.0.get_or_init(make).1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_set_once() {
        let peer = Peer::new("test", 1);
        assert_eq!(peer.identity(), None);
        assert_eq!(peer.set_identity("orders"), "orders");
        assert_eq!(peer.set_identity("billing"), "orders");
        assert_eq!(peer.identity(), Some("orders"));
    }

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
