//! The room for emitted entries that wait for the disk, and how services share it.

use super::super::StoreError;
use super::super::queue::{EMIT_BYTES, SEQ_BYTES_MAX};
use super::services::{SERVICES_MAX, Share};

/// The bytes that wait, by the places of their services.
///
/// Three quarters of the room are for every service. The last quarter is divided evenly among all services that may be told
/// apart: what some send beyond what the disk takes does not cost another one its few entries.
#[derive(Debug)]
pub(super) struct Room {
    /// What is for every service.
    open: u64,
    /// What each service may have waiting in any case.
    reserved: u64,
    /// Bytes of all services together.
    held: u64,
    by_place: Vec<u64>,
}

impl Room {
    pub(super) fn new(bytes_max: usize) -> Self {
        let quarter = bytes_max as u64 / 4;
        Self {
            open: bytes_max as u64 - quarter,
            reserved: quarter / (SERVICES_MAX as u64 + 1),
            held: 0,
            by_place: Vec::new(),
        }
    }

    /// Takes room for bytes of a service, if there is room for them. What nothing waits before always has room: what is
    /// larger than all of it would otherwise never be written.
    pub(super) fn take(&mut self, place: usize, bytes: u64) -> bool {
        let own = self.by_place.get(place).copied().unwrap_or_default();
        let has_room =
            self.held == 0 || self.held + bytes <= self.open || own + bytes <= self.reserved;
        if has_room {
            self.add(place, bytes);
        }
        has_room
    }

    /// Takes room for entries of services that came with one call, for all of them or none.
    ///
    /// # Errors
    /// [`EmitTooLarge`](StoreError::EmitTooLarge) if there would be none although no others waited, otherwise
    /// [`Overloaded`](StoreError::Overloaded).
    pub(super) fn take_all(&mut self, shares: &[Share]) -> Result<(), StoreError> {
        for (count, share) in shares.iter().enumerate() {
            if self.take(share.place, bytes_of(*share)) {
                continue;
            }

            for share in &shares[..count] {
                self.give_back(*share);
            }
            return Err(self.why_not(shares));
        }
        Ok(())
    }

    /// Why entries have no room: because of others that wait, or because of their own number.
    fn why_not(&self, shares: &[Share]) -> StoreError {
        let bytes: u64 = shares.iter().map(|share| bytes_of(*share)).sum();
        let mut empty = Self {
            held: 0,
            by_place: Vec::new(),
            ..*self
        };
        let fits_alone = |share: &Share| empty.take(share.place, bytes_of(*share));
        if shares.iter().all(fits_alone) {
            return StoreError::Overloaded;
        }

        StoreError::EmitTooLarge {
            bytes,
            bytes_max: self.open,
        }
    }

    /// Takes room for entries of services in what is for every service, if there is room for all of them.
    pub(super) fn take_open(&mut self, shares: &[Share]) -> bool {
        let bytes: u64 = shares.iter().map(|share| bytes_of(*share)).sum();
        if self.held + bytes > self.open {
            return false;
        }

        for share in shares {
            self.add(share.place, bytes_of(*share));
        }
        true
    }

    fn add(&mut self, place: usize, bytes: u64) {
        if self.by_place.len() <= place {
            self.by_place.resize(place + 1, 0);
        }
        self.by_place[place] += bytes;
        self.held += bytes;
    }

    pub(super) fn give_back(&mut self, share: Share) {
        let bytes = bytes_of(share);
        self.by_place[share.place] -= bytes;
        self.held -= bytes;
    }
}

/// The bytes of an entry that waits: of the first one of its call and service, with what the call takes beside it.
pub(super) fn bytes_of_entry(share: Option<&Share>, bytes: usize) -> u64 {
    let beside = match share {
        Some(_) => 0,
        None => EMIT_BYTES,
    };
    (bytes + SEQ_BYTES_MAX + beside) as u64
}

/// The bytes of entries of a service that wait, and came with one call.
pub(super) fn bytes_of(share: Share) -> u64 {
    share.bytes + share.entries * SEQ_BYTES_MAX as u64 + EMIT_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(place: usize, bytes: u64) -> Share {
        let beside = (SEQ_BYTES_MAX + EMIT_BYTES) as u64;
        Share {
            place,
            entries: 1,
            bytes: bytes - beside,
        }
    }

    #[test]
    fn a_quarter_is_divided_evenly_among_all_services() {
        // Three megabytes for every service, and a thousand bytes for each.
        let mut room = Room::new(4 * 1_001_000);
        assert!(room.take(1, 3_003_000));
        assert!(!room.take(1, 1), "what is for every service is full");
        for place in (2..=1_001).chain([0]) {
            assert!(room.take(place, 600) && room.take(place, 400));
            assert!(!room.take(place, 1));
        }

        room.give_back(share(1, 3_003_000));
        assert!(room.take(2, 2_000_000));
    }

    #[test]
    fn what_can_never_have_room_is_told_from_what_has_none_for_now() {
        // Three thousand bytes for every service, and nearly none for each.
        let mut room = Room::new(4000);
        let shares = [share(1, 2000), share(2, 1500)];
        for _ in 0..2 {
            let refused = room.take_all(&shares);
            assert!(
                matches!(
                    refused,
                    Err(StoreError::EmitTooLarge {
                        bytes: 3500,
                        bytes_max: 3000
                    })
                ),
                "{refused:?}"
            );
            assert_eq!(room.held, 0);
        }

        // The same by itself, and what fits together, has to wait only for what is before it.
        room.take_all(&[share(3, 5000)]).unwrap();
        for shares in [&shares[..1], &[share(1, 2000), share(2, 1000)]] {
            let refused = room.take_all(shares);
            assert!(matches!(refused, Err(StoreError::Overloaded)));
        }
        room.give_back(share(3, 5000));
        room.take_all(&[share(1, 2000), share(2, 1000)]).unwrap();
    }

    #[test]
    fn what_nothing_waits_before_has_room_whatever_its_size() {
        let mut room = Room::new(1);
        assert!(room.take(0, 1_000));
        assert!(!room.take(0, 1) && !room.take(1, 1));
        room.give_back(share(0, 1_000));
        assert!(room.take(1, 1_000));
    }
}
