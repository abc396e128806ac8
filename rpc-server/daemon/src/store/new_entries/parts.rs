//! Buffers of entries on their way to the queue, which a thread uses again and again.

use std::cell::Cell;
use std::ops::Range;

use super::NewEntry;

/// Number of services that are looked through for that of an entry. A service beyond them may have several places,
/// which are added up later: callers choose the names, and may send thousands.
pub(super) const SERVICES_SEEN: usize = 16;

/// The largest buffers that a thread keeps, in bytes: those of a few hundred entries.
const KEPT_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static KEPT: Cell<Option<Parts>> = const { Cell::new(None) };
}

/// The content of entries. Its buffers belong to the thread: when a call was polled once,
/// its entries are in the queue, and those of the next call use the same buffers.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// The bodies one behind the other: the members `level` to `fields` of each entry.
    pub(super) bodies: Vec<u8>,
    pub(super) entries: Vec<NewEntry>,
    pub(super) services: Vec<OfService>,
    /// The names of the services one behind the other.
    names: String,
    /// Members that the first line has beside those of its entry, each behind a comma.
    pub(super) origin: Vec<u8>,
    /// The member with the time of receipt, behind a comma.
    pub(super) receipt: Vec<u8>,
}

/// The entries of one service.
#[derive(Debug, Clone)]
pub(super) struct OfService {
    /// Where its name is among the names.
    name: Range<usize>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Parts {
    /// Empty parts, with room if the thread has kept some.
    pub(super) fn take() -> Self {
        let kept = KEPT.try_with(Cell::take).ok().flatten();
        kept.unwrap_or_default()
    }

    /// Leaves the buffers to the thread, unless they are large.
    pub(super) fn give_back(mut self) {
        if !(1..=KEPT_BYTES_MAX).contains(&self.held_bytes()) {
            return;
        }

        self.clear();
        // A thread that ends does not keep them.
        let _ = KEPT.try_with(|kept| kept.set(Some(self)));
    }

    /// Bytes that its buffers take.
    fn held_bytes(&self) -> usize {
        let lists = self.entries.capacity() * size_of::<NewEntry>()
            + self.services.capacity() * size_of::<OfService>();
        let texts = self.bodies.capacity() + self.names.capacity();
        lists + texts + self.origin.capacity() + self.receipt.capacity()
    }

    /// Forgets all of it, and keeps the room.
    fn clear(&mut self) {
        self.bodies.clear();
        self.entries.clear();
        self.services.clear();
        self.names.clear();
        self.origin.clear();
        self.receipt.clear();
    }

    /// The name of a service.
    pub(super) fn name_of(&self, service: &OfService) -> &str {
        &self.names[service.name.clone()]
    }

    /// The place of a service, which is added if need be.
    pub(super) fn place_of(&mut self, service: &str) -> usize {
        let mut last = self.services.iter().enumerate().rev().take(SERVICES_SEEN);
        if let Some((place, _)) = last.find(|(_, known)| self.name_of(known) == service) {
            return place;
        }

        let begin = self.names.len();
        self.names.push_str(service);
        self.services.push(OfService {
            name: begin..self.names.len(),
            entries: 0,
            bytes: 0,
        });
        self.services.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_bodies(bytes: usize) -> Parts {
        Parts {
            bodies: vec![b'x'; bytes],
            names: "name".into(),
            ..Parts::default()
        }
    }

    #[test]
    fn buffers_are_used_again_without_their_content_and_large_ones_are_not_kept() {
        with_bodies(1000).give_back();
        let parts = Parts::take();
        assert!(parts.bodies.is_empty() && parts.names.is_empty());
        assert!(parts.bodies.capacity() >= 1000);
        assert_eq!(Parts::take().held_bytes(), 0, "each is given out once");

        parts.give_back();
        with_bodies(KEPT_BYTES_MAX + 1).give_back();
        assert!(Parts::take().bodies.capacity() < KEPT_BYTES_MAX);
    }
}
