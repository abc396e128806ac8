//! Room for the items that streams have ready before there is credit for them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rpc_core::{Peer, Status};

use super::credit::Credit;
use crate::sync::{AtomicBool, AtomicUsize, Mutex};

/// Length that a stream's first item is expected to have.
const FIRST_ITEM_BYTES: usize = 64 * 1024;

/// Length that any further item is expected to have at least: the items of a stream differ.
const ITEM_BYTES_LEAST: usize = 4 * 1024;

/// The room of a connection for items without credit.
///
/// Whether there is a next item decides whether a stream waits for credit or ends, so that each stream looks for its
/// next item before there is credit for it. It begins to do so only while its connection has room; the others wait for
/// their turn. A quarter of the room is kept for streams that have sent items: what is left of them may be their end. A
/// stream that has begun is not stopped, because what it waits for may be a result that takes the place of another
/// call's. Its item is kept if it is no longer than was expected, even where calls have taken all room meanwhile: so the
/// items have at most as much beside the calls. A longer one ends its stream if there is no room for it then.
///
/// Only the task of the connection uses it. The lock and the atomic operations let that task change its thread.
pub(super) struct Ahead {
    peer: Arc<Peer>,
    /// Bytes that calls and streams of the connection may hold, as of the last look.
    bytes_max: AtomicUsize,
    /// Bytes of the items that are being looked for, if each is as long as it is expected to be.
    expected: AtomicUsize,
    /// The streams that wait for their turn.
    queue: Mutex<Queue>,
    has_waiting: AtomicBool,
}

/// The streams that wait, in the order of their turns.
#[derive(Default)]
struct Queue {
    streams: BTreeMap<Turn, Arc<Credit>>,
    next: u64,
}

/// The turn of a stream: streams that have sent items come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    sought: Sought,
    number: u64,
}

/// The item that a stream looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sought {
    Next,
    First,
}

impl Sought {
    fn after(item_bytes_last: Option<usize>) -> Self {
        match item_bytes_last {
            Some(_) => Self::Next,
            None => Self::First,
        }
    }
}

// Relaxed, here and below: one task alone uses all this, and the lengths of others that it looks at may be older.
impl Ahead {
    pub(super) fn new(peer: &Arc<Peer>, bytes_max: usize) -> Self {
        Self {
            peer: Arc::clone(peer),
            bytes_max: AtomicUsize::new(bytes_max),
            expected: AtomicUsize::new(0),
            queue: Mutex::default(),
            has_waiting: AtomicBool::new(false),
        }
    }

    /// Notes how much calls and streams may hold now.
    #[inline]
    pub(super) fn set_bytes_max(&self, bytes: usize) {
        self.bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Lets a stream look for its next item, whose length is expected to be that of the item before, and
    /// [`ITEM_BYTES_LEAST`] at least; none if it has to wait for its turn.
    pub(super) fn begin(self: &Arc<Self>, item_bytes_last: Option<usize>) -> Option<Looking> {
        let sought = Sought::after(item_bytes_last);
        self.has_room_for(sought).then(|| {
            let bytes = match item_bytes_last {
                Some(last) => last.max(ITEM_BYTES_LEAST),
                None => FIRST_ITEM_BYTES,
            };
            self.expected.fetch_add(bytes, Ordering::Relaxed);
            Looking {
                ahead: Arc::clone(self),
                bytes,
            }
        })
    }

    /// Has a stream woken when its turn has come, unless what is returned is dropped before that.
    pub(super) fn wait(
        self: &Arc<Self>,
        item_bytes_last: Option<usize>,
        credit: &Arc<Credit>,
    ) -> Place {
        let turn = self.change_queue(|queue| {
            queue.next += 1;
            let turn = Turn {
                sought: Sought::after(item_bytes_last),
                number: queue.next,
            };
            queue.streams.insert(turn, Arc::clone(credit));
            turn
        });

        Place {
            ahead: Arc::clone(self),
            turn,
        }
    }

    /// Whether streams wait for their turn.
    #[inline]
    pub(super) fn has_waiting(&self) -> bool {
        self.has_waiting.load(Ordering::Relaxed)
    }

    /// Whether it is the turn of a stream that waits.
    pub(super) fn is_turn(&self) -> bool {
        self.has_waiting() && self.change_queue(|queue| self.next_turn(queue).is_some())
    }

    /// Wakes the stream whose turn is next, if there is room for its item. Returns whether it has woken one.
    #[cold]
    pub(super) fn wake_next(&self) -> bool {
        let next = self.change_queue(|queue| {
            let turn = self.next_turn(queue)?;
            queue.streams.remove(&turn)
        });

        let has_next = next.is_some();
        if let Some(credit) = next {
            credit.wake();
        }
        has_next
    }

    /// The turn that is next, if there is room for the item.
    fn next_turn(&self, queue: &Queue) -> Option<Turn> {
        let (turn, _) = queue.streams.first_key_value()?;
        self.has_room_for(turn.sought).then_some(*turn)
    }

    /// Whether there is room for an item that has been found, of which `expected` bytes were expected.
    ///
    /// # Errors
    /// The end of its stream, with code 8.
    pub(super) fn check_room(&self, item_bytes: usize, expected: usize) -> Result<(), Status> {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        if item_bytes <= expected || self.peer.held_bytes() < bytes_max {
            return Ok(());
        }

        Err(Status::resource_exhausted(format!(
            "the `credit` is used up, the next item has {item_bytes} bytes where {expected} were expected, and items \
             that wait for credit, and calls, hold all {bytes_max} bytes that the connection has for them (see \
             `limits.connection_bytes_max`): give credit, or have fewer streams at a time"
        )))
    }

    fn has_room_for(&self, sought: Sought) -> bool {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        let most = match sought {
            Sought::Next => bytes_max,
            Sought::First => bytes_max - bytes_max / 4,
        };
        self.peer.held_bytes() + self.expected.load(Ordering::Relaxed) < most
    }

    fn change_queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        // No step leaves the queue half changed.
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut queue);
        self.has_waiting
            .store(!queue.streams.is_empty(), Ordering::Relaxed);
        changed
    }
}

/// A stream that looks for its next item without credit, until this is dropped.
pub(super) struct Looking {
    ahead: Arc<Ahead>,
    bytes: usize,
}

impl Looking {
    /// Bytes that its item is expected to have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.ahead.expected.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The place of a stream among those that wait for their turn. It leaves the queue when this is dropped.
pub(super) struct Place {
    ahead: Arc<Ahead>,
    turn: Turn,
}

impl Drop for Place {
    fn drop(&mut self) {
        let turn = self.turn;
        self.ahead
            .change_queue(|queue| drop(queue.streams.remove(&turn)));
    }
}
