//! Calls in flight: the table that finds the call of a reply.
//!
//! A slot table for the client's side of a connection. An id is an index and the slot's generation,
//! so that a late reply never finds a newer call in its slot. Ordered calls, whose replies carry no
//! id, are in a queue of the same ids: one that was given up stays in it as a tombstone, because
//! its reply is still to come and must not answer the next caller.

use std::collections::VecDeque;

use crate::frame::ID_MAX;

/// Bits of an id that index the slot: at most 2,097,152 calls in flight on one connection, and
/// 2^32 generations of each slot, within an id's 53 bits.
const INDEX_BITS: u32 = 21;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// The calls in flight on one connection, with a value of type `T` for each.
///
/// The values stay in their slots when a call ends, and are handed out again with the slot, so that
/// buffers inside them are reused.
///
/// ```
/// use rpc_core::in_flight::InFlight;
///
/// let mut calls: InFlight<String> = InFlight::new(16);
/// let (id, value) = calls.open().unwrap();
/// *value = "waiting".to_owned();
/// assert_eq!(calls.close(id).map(|value| value.as_str()), Some("waiting"));
/// assert!(calls.get_mut(id).is_none(), "a late reply finds no call");
/// ```
#[derive(Debug)]
pub struct InFlight<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    ordered: VecDeque<u64>,
    calls_max: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    live: bool,
    value: T,
}

/// Whom a reply without id is for.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum OrderedReply {
    /// The call with this id.
    For(u64),
    /// A call that was given up; the reply is dropped.
    GivenUp,
    /// No ordered call waits for a reply.
    Unexpected,
}

impl<T: Default> InFlight<T> {
    /// An empty table for up to `calls_max` calls (2^21 at most).
    pub fn new(calls_max: usize) -> Self {
        let calls_max = calls_max.min(1 << INDEX_BITS);
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            ordered: VecDeque::new(),
            calls_max,
        }
    }

    /// Takes a slot for a multiplexed call; `None` where the table is full. The value is what the
    /// slot's last call left in it.
    #[inline]
    pub fn open(&mut self) -> Option<(u64, &mut T)> {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.generation = slot.generation.wrapping_add(1);
            slot.live = true;
            return Some((id_of(slot.generation, index), &mut slot.value));
        }

        let index = self.slots.len();
        if index >= self.calls_max {
            return None;
        }

        self.slots.push(Slot {
            generation: 0,
            live: true,
            value: T::default(),
        });

        let index = u32::try_from(index).expect("calls_max is below 2^32");
        Some((id_of(0, index), &mut self.slots[index as usize].value))
    }

    /// Takes a slot and the next place in the order of replies without id; `None` where the table,
    /// or the queue with its tombstones, is full.
    pub fn open_ordered(&mut self) -> Option<(u64, &mut T)> {
        if self.ordered.len() >= self.calls_max {
            return None;
        }

        let (id, _) = self.open()?;
        self.ordered.push_back(id);
        Some((id, self.get_mut(id).expect("it was opened just now")))
    }

    /// The value of a call in flight.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(index_of(id))?;
        (slot.live && id_of(slot.generation, index32(id)) == id).then_some(&mut slot.value)
    }

    /// Ends a call and frees its slot, whose value is still there to be read. An ordered call that
    /// has had no reply leaves a tombstone.
    pub fn close(&mut self, id: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(index_of(id))?;
        if !slot.live || id_of(slot.generation, index32(id)) != id {
            return None;
        }

        self.free.push(index32(id));
        slot.live = false;
        Some(&mut slot.value)
    }

    /// Whom the next reply without id is for; call once for each such reply.
    pub fn next_ordered(&mut self) -> OrderedReply {
        match self.ordered.pop_front() {
            Some(id) if self.get_mut(id).is_some() => OrderedReply::For(id),
            Some(_) => OrderedReply::GivenUp,
            None => OrderedReply::Unexpected,
        }
    }

    /// Whom the next reply without id is for, left in its place: for one item of a stream.
    pub fn peek_ordered(&mut self) -> OrderedReply {
        match self.ordered.front().copied() {
            Some(id) if self.get_mut(id).is_some() => OrderedReply::For(id),
            Some(_) => OrderedReply::GivenUp,
            None => OrderedReply::Unexpected,
        }
    }

    /// The calls in flight, in no order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        (0u32..)
            .zip(&mut self.slots)
            .filter(|(_, slot)| slot.live)
            .map(|(index, slot)| {
                let id = id_of(slot.generation, index);
                (id, &mut slot.value)
            })
    }

    /// Whether [`open`](Self::open) has a slot.
    pub fn has_room(&self) -> bool {
        self.len() < self.calls_max
    }

    /// Whether [`open_ordered`](Self::open_ordered) has a slot, and a place in the queue.
    pub fn has_room_for_ordered(&self) -> bool {
        self.has_room() && self.ordered.len() < self.calls_max
    }

    /// How many calls are in flight; tombstones are not.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether no call is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn id_of(generation: u32, index: u32) -> u64 {
    let id = u64::from(generation) << INDEX_BITS | u64::from(index);
    debug_assert!(id <= ID_MAX);
    id
}

fn index_of(id: u64) -> usize {
    index32(id) as usize
}

fn index32(id: u64) -> u32 {
    u32::try_from(id & INDEX_MASK).expect("the mask has 21 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_reply_never_finds_the_next_call_in_its_slot() {
        let mut calls: InFlight<u8> = InFlight::new(1);
        let mut ids = Vec::new();

        for _ in 0..1000 {
            let (id, _) = calls.open().unwrap();
            assert!(calls.open().is_none(), "one slot is the limit");
            assert!(
                ids.iter()
                    .all(|late| calls.get_mut(*late).is_none() && calls.close(*late).is_none())
            );
            assert!(calls.close(id).is_some() && calls.close(id).is_none());
            ids.push(id);
        }

        assert!(calls.is_empty());
    }

    #[test]
    fn ids_stay_within_53_bits_in_the_last_generation() {
        let mut calls: InFlight<u8> = InFlight::new(usize::MAX);
        let (first, _) = calls.open().unwrap();
        calls.close(first);
        calls.slots[0].generation = u32::MAX - 1;

        let (id, _) = calls.open().unwrap();
        assert!(id <= ID_MAX && calls.close(id).is_some());
        assert_eq!(calls.open().unwrap().0, first, "generations wrap");
    }

    #[test]
    fn an_ordered_call_given_up_leaves_a_tombstone_for_its_reply() {
        let mut calls: InFlight<u8> = InFlight::new(8);
        let first = calls.open_ordered().unwrap().0;
        let second = calls.open_ordered().unwrap().0;
        let multiplexed = calls.open().unwrap().0;
        let third = calls.open_ordered().unwrap().0;

        calls.close(first);
        calls.close(multiplexed);
        let reused = calls.open().unwrap().0;

        assert_eq!(calls.next_ordered(), OrderedReply::GivenUp);
        assert_eq!(calls.peek_ordered(), OrderedReply::For(second));
        assert_eq!(calls.next_ordered(), OrderedReply::For(second));
        assert_eq!(calls.next_ordered(), OrderedReply::For(third));
        assert_eq!(calls.next_ordered(), OrderedReply::Unexpected);
        assert!(calls.get_mut(reused).is_some());
    }

    #[test]
    fn tombstones_are_bounded_too() {
        let mut calls: InFlight<u8> = InFlight::new(4);
        for _ in 0..4 {
            let id = calls.open_ordered().unwrap().0;
            calls.close(id);
        }

        assert!(!calls.has_room_for_ordered() && calls.has_room());
        assert!(calls.open_ordered().is_none() && calls.open().is_some());
    }

    #[test]
    fn the_table_agrees_with_a_map_under_random_use() {
        let mut calls: InFlight<u64> = InFlight::new(64);
        let mut model = std::collections::HashMap::new();
        let mut random = fastrand::Rng::with_seed(5);

        for step in 0..100_000u64 {
            if random.bool() {
                if let Some((id, value)) = calls.open() {
                    *value = step;
                    assert!(model.insert(id, step).is_none(), "an id is used once");
                } else {
                    assert_eq!(model.len(), 64);
                }
            } else if let Some(id) = model
                .keys()
                .copied()
                .nth(random.usize(0..model.len().max(1)))
            {
                assert_eq!(calls.close(id).copied(), model.remove(&id));
            }

            assert_eq!(calls.len(), model.len());
        }

        let mut live: Vec<_> = calls.iter_mut().map(|(id, value)| (id, *value)).collect();
        let mut expected: Vec<_> = model.into_iter().collect();
        live.sort_unstable();
        expected.sort_unstable();
        assert_eq!(live, expected);
    }
}
