//! The hash by which the calls of a connection are found.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// Two numbers that peers do not know: they choose the ids of their calls, and could otherwise choose ids that collide.
static KEYS: LazyLock<[u64; 2]> = LazyLock::new(|| {
    let random = RandomState::new();
    // An even factor would lose bits.
    [random.hash_one(0), random.hash_one(1) | 1]
});

/// Hashes places by a multiplication each. `SipHash`, which std uses, costs ten times as much.
#[derive(Debug, Clone)]
pub(super) struct PlaceHash {
    keys: [u64; 2],
}

impl Default for PlaceHash {
    fn default() -> Self {
        Self { keys: *KEYS }
    }
}

impl BuildHasher for PlaceHash {
    type Hasher = PlaceHasher;

    fn build_hasher(&self) -> PlaceHasher {
        let [begin, factor] = self.keys;
        PlaceHasher {
            state: begin,
            factor,
        }
    }
}

/// A hash in the making.
pub(super) struct PlaceHasher {
    state: u64,
    factor: u64,
}

impl Hasher for PlaceHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut number = [0; 8];
            number[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(number));
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.state ^ number) * u128::from(self.factor);
        let bytes = product.to_le_bytes();
        let (halves, _) = bytes.as_chunks();
        // Both halves: the low bits of a product depend on low bits alone.
        self.state = u64::from_le_bytes(halves[0]) ^ u64::from_le_bytes(halves[1]);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.write_usize(number.cast_unsigned());
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::connection::call::ReplyOrder;

    #[test]
    fn places_that_peers_choose_are_spread_over_the_table() {
        let hash = PlaceHash::default();
        // The table takes its place from the low bits, and seven high ones to tell those in it apart.
        for step in [1, 2, 64, 1 << 16, 1 << 32, 1 << 53, u64::MAX / 1024] {
            let hashes = (0..1024).map(|n: u64| {
                let hash = hash.hash_one(ReplyOrder::Multiplexed(n.wrapping_mul(step)));
                (hash % 1024, hash >> 57)
            });
            let hashes: Vec<_> = hashes.collect();
            let places: HashSet<_> = hashes.iter().map(|(place, _)| place).collect();
            let marks: HashSet<_> = hashes.iter().map(|(_, mark)| mark).collect();

            // Random hashes have 647 places for 1024 numbers. Large steps make fewer numbers.
            let numbers = (0..1024_u64)
                .map(|n| n.wrapping_mul(step))
                .collect::<HashSet<_>>()
                .len();
            assert!(
                places.len() > numbers / 2,
                "step {step}: {} of {numbers}",
                places.len()
            );
            assert!(
                marks.len() > numbers.min(100) / 2,
                "step {step}: {}",
                marks.len()
            );
        }
    }

    #[test]
    fn the_kinds_of_places_have_hashes_of_their_own() {
        let hash = PlaceHash::default();
        let places = [
            ReplyOrder::Multiplexed(0),
            ReplyOrder::Multiplexed(1),
            ReplyOrder::Ordered,
            ReplyOrder::Unanswered(0),
            ReplyOrder::Unanswered(1),
        ];
        let hashes: HashSet<_> = places.iter().map(|place| hash.hash_one(place)).collect();
        assert_eq!(hashes.len(), places.len());

        let mut by_bytes = hash.build_hasher();
        by_bytes.write(b"more than eight");
        assert_ne!(by_bytes.finish(), hash.build_hasher().finish());
    }
}
