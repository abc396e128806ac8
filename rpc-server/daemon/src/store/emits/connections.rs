//! Counts of the entries that each connection has emitted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use rpc_core::Peer;

use super::super::lock;

/// Number of connections that are kept without a look whether they are still there.
const KEPT_MIN: usize = 64;

/// The connections that have emitted something, each for as long as it is there.
#[derive(Default)]
pub(in crate::store) struct Emitters {
    /// Held for a look-up only.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: HashMap<u64, Connection>,
    /// Callers without a connection have one emitter together.
    others: Arc<Emitter>,
    /// At this number those that are gone are taken out.
    sweep_at: usize,
}

struct Connection {
    peer: Weak<Peer>,
    emitter: Arc<Emitter>,
}

/// What one connection has emitted since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Emitter {
    written: AtomicU64,
    dropped: AtomicU64,
}

/// The entries of a connection whose fate is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Emitted {
    /// Number of entries on the disk.
    pub(crate) written: u64,
    /// Number of entries that are not there.
    pub(crate) dropped: u64,
}

impl Emitters {
    pub(super) fn of(&self, peer: Option<&Arc<Peer>>) -> Arc<Emitter> {
        let mut state = lock(&self.state);
        let Some(peer) = peer else {
            return Arc::clone(&state.others);
        };
        if let Some(known) = state.connections.get(&peer.connection) {
            return Arc::clone(&known.emitter);
        }

        if state.connections.len() >= state.sweep_at {
            state
                .connections
                .retain(|_, known| known.peer.strong_count() > 0);
            state.sweep_at = KEPT_MIN.max(state.connections.len() * 2);
        }

        let emitter = Arc::<Emitter>::default();
        let connection = Connection {
            peer: Arc::downgrade(peer),
            emitter: Arc::clone(&emitter),
        };
        state.connections.insert(peer.connection, connection);
        emitter
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.state).connections.len()
    }
}

impl Emitter {
    pub(super) fn count_written(&self, entries: u64) {
        // Numbers that order nothing: a flush is told after them, through a channel.
        self.written.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, entries: u64) {
        self.dropped.fetch_add(entries, Ordering::Relaxed);
    }

    pub(crate) fn emitted(&self) -> Emitted {
        Emitted {
            written: self.written.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}
