//! Calls in flight of each peer: of an identity, or of an address where the peer has shown none.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rpc_core::Peer;

use super::addresses::network_of;
use crate::sync::{AtomicU64, Mutex};

/// The peers that have connections.
#[derive(Default)]
pub(crate) struct Peers(Mutex<HashMap<Key, Arc<PeerCalls>>>);

/// The calls in flight of a peer.
struct PeerCalls {
    peers: Arc<Peers>,
    key: Key,
    count: AtomicU64,
}

/// What connections of one peer have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Identity(Box<str>),
    /// An address, or a /64 of IPv6.
    Network(IpAddr),
}

impl Key {
    /// None for a peer that has neither: on a Unix socket, or on a stream of the program's own.
    fn of(peer: &Peer) -> Option<Self> {
        if let Some(identity) = peer.identity() {
            return Some(Self::Identity(identity.into()));
        }

        let address: SocketAddr = peer.address.parse().ok()?;
        Some(Self::Network(network_of(address.ip())))
    }
}

/// The calls of one connection among those of its peer, as of its last turn; none once this is dropped.
pub(super) struct PeerShare(Arc<PeerCalls>);

impl PeerShare {
    /// None for a peer that is not counted.
    pub(super) fn of(peers: &Arc<Peers>, peer: &Peer) -> Option<Self> {
        let key = Key::of(peer)?;
        let mut all = peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = all.entry(key).or_insert_with_key(|key| {
            Arc::new(PeerCalls {
                peers: Arc::clone(peers),
                key: key.clone(),
                count: AtomicU64::new(0),
            })
        });

        Some(Self(Arc::clone(calls)))
    }

    /// The calls of the peer, with those that the connection has not told.
    // Relaxed, here and below: a call too many or too few for a moment does no harm.
    pub(super) fn calls(&self, told: usize, now: usize) -> u64 {
        let own = (now as u64).wrapping_sub(told as u64);
        self.0.count.load(Ordering::Relaxed).wrapping_add(own)
    }

    pub(super) fn publish(&self, before: usize, now: usize) {
        if before != now {
            // What is added for fewer calls than before wraps around to what is taken away.
            let change = (now as u64).wrapping_sub(before as u64);
            self.0.count.fetch_add(change, Ordering::Relaxed);
        }
    }
}

impl Drop for PeerShare {
    fn drop(&mut self) {
        let Self(calls) = self;
        let mut all = calls.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        // This one's and the map's: the peer has no other connection.
        if Arc::strong_count(calls) == 2 {
            all.remove(&calls.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::new(address, 1)
    }

    #[test]
    fn connections_of_one_peer_have_one_count_and_leave_nothing_behind() {
        let peers = Arc::<Peers>::default();
        let share = |peer: &Peer| PeerShare::of(&peers, peer);

        let one = share(&peer("192.0.2.1:1000")).unwrap();
        let other = share(&peer("192.0.2.1:2000")).unwrap();
        let neighbour = share(&peer("192.0.2.2:1000")).unwrap();
        one.publish(0, 5);
        assert_eq!(
            (other.calls(0, 0), other.calls(0, 2), neighbour.calls(0, 0)),
            (5, 7, 0)
        );

        // An identity counts for itself, wherever it calls from.
        let named = peer("192.0.2.1:3000");
        named.set_identity("orders");
        assert_eq!(share(&named).unwrap().calls(0, 0), 0);

        assert!(share(&peer("unix")).is_none());
        one.publish(5, 0);
        drop((one, other, neighbour));
        assert!(peers.0.lock().unwrap().is_empty());
    }
}
