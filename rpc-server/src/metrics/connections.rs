//! The connections that are open, each with what it has carried, for `stats` and the pages.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use rpc_core::Peer;

use super::get;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard};

/// The open connections, in slots that are used again: about a hundred bytes for each.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Option<Arc<OpenConnection>>>,
    free: Vec<u32>,
}

/// What a connection tells of itself. Only its own task writes here, once a turn, so its cache line stays with its
/// thread until a report reads it.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    peer: Arc<Peer>,
    opened: Instant,
    slot: u32,
    pub(super) in_flight: AtomicU32,
    pub(super) requests: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    /// Bytes that the connection holds.
    pub(super) held_bytes: AtomicU64,
    /// Whether it has to end its calls, for want of memory.
    pub(super) is_to_shed: AtomicBool,
    /// Since when it may be asked to make room for another connection, as [`moment`] has it; 0 where it may not.
    pub(super) rests_since: AtomicU64,
    /// Whether it is asked to.
    pub(super) is_to_make_room: AtomicBool,
    /// Wakes the connection, which then looks at what has changed around it.
    bell: AtomicWaker,
}

/// Wakes an open connection when something changes around it: what it may call, its limits, the end of the server.
pub(crate) struct Bell(pub(super) Arc<OpenConnection>);

impl Bell {
    /// Has the task woken that polled last.
    #[inline]
    pub(crate) fn register(&self, waker: &Waker) {
        self.0.bell.register(waker);
    }
}

/// One open connection, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ConnectionReport {
    /// Its number, unique in this process; the log has it too.
    pub connection: u64,
    /// The peer's address.
    pub peer: String,
    /// How long it has been open, in milliseconds.
    pub age_ms: u64,
    /// Requests that it has carried.
    pub requests: u64,
    /// Calls under way, those that wait for their turn among them.
    pub in_flight: u32,
    /// Bytes that it holds: the line being read, its calls in flight, and replies that wait.
    pub held_bytes: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}

impl OpenConnections {
    pub(super) fn add(&self, peer: &Arc<Peer>) -> Arc<OpenConnection> {
        let mut slots = self.lock();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.slots.push(None);
            u32::try_from(slots.slots.len() - 1).expect("descriptors are far fewer")
        });

        let connection = Arc::new(OpenConnection {
            peer: Arc::clone(peer),
            opened: Instant::now(),
            slot,
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
            is_to_shed: AtomicBool::new(false),
            rests_since: AtomicU64::new(0),
            is_to_make_room: AtomicBool::new(false),
            bell: AtomicWaker::new(),
        });

        slots.slots[slot as usize] = Some(Arc::clone(&connection));
        connection
    }

    pub(super) fn remove(&self, connection: &OpenConnection) {
        let mut slots = self.lock();
        slots.slots[connection.slot as usize] = None;
        slots.free.push(connection.slot);
    }

    /// The connections that have carried the most requests, at most `most`.
    pub(crate) fn busiest(&self, most: usize) -> Vec<ConnectionReport> {
        let mut busiest = BinaryHeap::with_capacity(most + 1);
        let found: Vec<_> = {
            let slots = self.lock();
            for (slot, connection) in slots.slots.iter().enumerate() {
                let Some(connection) = connection else {
                    continue;
                };

                // A tie goes to the one that is in front, so that the list stands still.
                busiest.push(Reverse((get(&connection.requests), Reverse(slot))));
                if busiest.len() > most {
                    busiest.pop();
                }
            }

            let slots = &slots.slots;
            let sorted = busiest.into_sorted_vec().into_iter();
            sorted
                .filter_map(|Reverse((_, Reverse(slot)))| slots[slot].clone())
                .collect()
        };

        found.iter().map(|connection| connection.report()).collect()
    }

    /// Wakes all of them.
    pub(crate) fn wake_all(&self) {
        for connection in self.lock().slots.iter().flatten() {
            connection.bell.wake();
        }
    }

    /// Has the connection give something back that holds the most bytes, if that is at least `share`; one that is asked
    /// already is left out.
    pub(crate) fn shed_largest(&self, share: usize) {
        let slots = self.lock();
        let open = slots.slots.iter().flatten();
        let largest = open
            .filter(|open| !open.is_to_shed.load(Ordering::Relaxed))
            .filter(|open| get(&open.held_bytes) >= share as u64)
            .max_by_key(|open| get(&open.held_bytes));

        if let Some(largest) = largest {
            largest.is_to_shed.store(true, Ordering::Relaxed);
            largest.bell.wake();
        }
    }

    /// Asks the connection to make room that has rested longest, if that is since before `rested`. Whether there is one;
    /// one that is asked already is not asked again.
    pub(crate) fn ask_for_room(&self, rested: Instant) -> bool {
        let slots = self.lock();
        // Relaxed, here and below: what has changed since is looked at by the connection itself.
        let resting = slots.slots.iter().flatten().filter_map(|open| {
            let since = get(&open.rests_since);
            (1..=moment(rested))
                .contains(&since)
                .then_some((since, open))
        });

        let Some((_, longest)) = resting.min_by_key(|(since, _)| *since) else {
            return false;
        };
        longest.rests_since.store(0, Ordering::Relaxed);
        longest.is_to_make_room.store(true, Ordering::Relaxed);
        longest.bell.wake();
        true
    }

    /// The most bytes that one of them holds.
    pub(crate) fn most_held_bytes(&self) -> u64 {
        let slots = self.lock();
        let held = slots
            .slots
            .iter()
            .flatten()
            .map(|open| get(&open.held_bytes));
        held.max().unwrap_or(0)
    }

    /// The most calls that one of them has under way.
    pub(crate) fn most_in_flight(&self) -> u32 {
        let slots = self.lock();

        // Relaxed: it orders no other memory.
        let in_flight = slots
            .slots
            .iter()
            .flatten()
            .map(|open| open.in_flight.load(Ordering::Relaxed));
        in_flight.max().unwrap_or(0)
    }

    /// The lock is held for as long as it takes to open, to close or to look through the numbers, and
    /// never over an await; a panic in between would leave slots as they are, which is sound.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time as a number of microseconds, 1 at least.
pub(super) fn moment(at: Instant) -> u64 {
    static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

    let since = at.saturating_duration_since(*BEGINNING).as_micros();
    u64::try_from(since).unwrap_or(u64::MAX).max(1)
}

impl OpenConnection {
    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    fn report(&self) -> ConnectionReport {
        let age: Duration = self.opened.elapsed();

        ConnectionReport {
            connection: self.peer.connection,
            peer: self.peer.address.clone(),
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            requests: get(&self.requests),
            // Relaxed: it orders no other memory.
            in_flight: self.in_flight.load(Ordering::Relaxed),
            held_bytes: get(&self.held_bytes),
            bytes_in: get(&self.bytes_in),
            bytes_out: get(&self.bytes_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    fn peer(connection: u64) -> Arc<Peer> {
        Arc::new(Peer::new(format!("10.0.0.{connection}:1"), connection))
    }

    #[test]
    fn the_busiest_come_first_and_closed_ones_are_gone() {
        let open = OpenConnections::default();
        let all: Vec<_> = (0..6).map(|n| open.add(&peer(n))).collect();
        for (connection, requests) in all.iter().zip([5, 9, 1, 9, 0, 7]) {
            connection.requests.store(requests, Ordering::Relaxed);
        }
        open.remove(&all[5]);

        let shown =
            |most| -> Vec<u64> { open.busiest(most).iter().map(|c| c.connection).collect() };
        assert_eq!(shown(3), [1, 3, 0]);
        assert_eq!(shown(100), [1, 3, 0, 2, 4]);
        assert_eq!(shown(0), [0; 0]);
    }

    #[test]
    fn a_connection_is_woken_where_it_was_polled_last() {
        #[derive(Default)]
        struct Wakes(AtomicUsize);
        impl Wake for Wakes {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let open = OpenConnections::default();
        let connection = open.add(&peer(1));
        let bell = Bell(Arc::clone(&connection));
        let tasks = [Arc::<Wakes>::default(), Arc::default()];

        // As where a connection's future moves to another task.
        for task in &tasks {
            bell.register(&Arc::clone(task).into());
        }
        open.wake_all();
        open.wake_all();
        let wakes = tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed));
        assert_eq!(wakes, [0, 1], "each wake takes a look to be set again");
    }

    #[test]
    fn slots_are_used_again() {
        let open = OpenConnections::default();
        for n in 0..1_000 {
            let connection = open.add(&peer(n));
            open.remove(&connection);
        }

        assert_eq!(open.lock().slots.len(), 1);
        assert_eq!(open.busiest(10), []);
        assert!(
            size_of::<OpenConnection>() <= 104,
            "{}",
            size_of::<OpenConnection>()
        );
    }
}
