//! The other end of a connection.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use futures::task::AtomicWaker;

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
    /// Bytes of results, which a server counts among those of all connections by itself.
    results: AtomicUsize,
    /// Woken when bytes are given back.
    waiting: AtomicWaker,
}

/// Bytes that a call of a peer holds. They count until this is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    peer: Arc<Peer>,
    kind: Kind,
    bytes: usize,
}

/// The sum that bytes are a part of.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Call,
    Result,
}

impl HeldBytes {
    /// `bytes` more, of the same peer.
    #[must_use]
    pub fn another(&self, bytes: usize) -> Self {
        self.peer.hold_as(self.kind, bytes)
    }

    /// Changes the number of bytes.
    pub fn set(&mut self, bytes: usize) {
        // Relaxed, here and below: the sum orders no other memory, and the waker orders what its waiter sees.
        self.peer.sum(self.kind).fetch_add(bytes, Ordering::Relaxed);
        self.peer.give_back(self.kind, self.bytes);
        self.bytes = bytes;
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.peer.give_back(self.kind, self.bytes);
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
            results: AtomicUsize::new(0),
            waiting: AtomicWaker::new(),
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
        self.hold_as(Kind::Call, bytes)
    }

    /// Counts bytes of a result, as [`hold`](Self::hold) does, that a server counts among those of all connections by
    /// itself: [`held_beside_results`](Self::held_beside_results) leaves them out.
    #[must_use]
    pub fn hold_result(self: &Arc<Self>, bytes: usize) -> HeldBytes {
        self.hold_as(Kind::Result, bytes)
    }

    fn hold_as(self: &Arc<Self>, kind: Kind, bytes: usize) -> HeldBytes {
        self.sum(kind).fetch_add(bytes, Ordering::Relaxed);
        HeldBytes {
            peer: Arc::clone(self),
            kind,
            bytes,
        }
    }

    /// The bytes that its calls hold now, those of results among them.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.held_beside_results() + self.results.load(Ordering::Relaxed)
    }

    /// The bytes that its calls hold now beside those of [`hold_result`](Self::hold_result).
    #[inline]
    pub fn held_beside_results(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn sum(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Call => &self.held,
            Kind::Result => &self.results,
        }
    }

    fn give_back(&self, kind: Kind, bytes: usize) {
        self.sum(kind).fetch_sub(bytes, Ordering::Relaxed);
        self.waiting.wake();
    }

    /// Has `waker` woken once when some of the bytes are given back, on whatever thread: a connection that is full waits for
    /// that. Look at [`held_bytes`](Self::held_bytes) after this, as some may have been given back just before.
    pub fn wait_for_room(&self, waker: &Waker) {
        self.waiting.register(waker);
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
            results: AtomicUsize::new(0),
            waiting: AtomicWaker::new(),
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
}
