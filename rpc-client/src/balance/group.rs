//! The endpoints of a service in groups of one priority, and how a group is drawn from.

use std::sync::Arc;

use super::member::Member;
use crate::discover::Address;
use crate::endpoint::pool::Dialer;

/// All endpoints that are known, the most wanted group first.
#[derive(Default)]
pub(crate) struct Members(Box<[Group]>);

/// Endpoints of one priority.
pub(crate) struct Group {
    pub(crate) members: Box<[Arc<Member>]>,
    /// Of each address: for rendezvous hashing.
    hashes: Box<[u64]>,
    /// None where all have the same one.
    weights: Option<Weights>,
}

struct Weights {
    each: Box<[u16]>,
    total: usize,
}

impl Members {
    /// The members at these addresses; those that `before` has are taken over.
    pub(crate) fn new(addresses: &[Address], before: &Self, dialer: &Dialer) -> Self {
        let mut addresses: Vec<&Address> = addresses.iter().collect();
        addresses.sort_by_key(|address| address.priority);

        let count = addresses.len();
        let member = |address: &&Address| {
            let same = before
                .iter()
                .find(|member| *member.address() == address.text);
            same.cloned().unwrap_or_else(|| {
                let dialer = dialer.for_one_of(count);
                Arc::new(Member::new(Arc::clone(&address.text), dialer))
            })
        };

        let group = |group: &[&Address]| Group::new(group, group.iter().map(member).collect());
        Self(
            addresses
                .chunk_by(|a, b| a.priority == b.priority)
                .map(group)
                .collect(),
        )
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.0.iter().flat_map(|group| &group.members)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Group {
    fn new(addresses: &[&Address], members: Box<[Arc<Member>]>) -> Self {
        let each: Box<[u16]> = addresses.iter().map(|address| address.weight).collect();
        let total = each.iter().map(|weight| usize::from(*weight)).sum();
        let is_weighted = total > 0 && each.iter().any(|weight| *weight != each[0]);

        Self {
            hashes: members
                .iter()
                .map(|member| mix(hash(member.address().as_bytes())))
                .collect(),
            weights: is_weighted.then_some(Weights { each, total }),
            members,
        }
    }

    /// Whose turn it is, each as often as its weight says.
    pub(crate) fn at_turn(&self, turn: usize) -> usize {
        match &self.weights {
            None => turn % self.members.len(),
            Some(weights) => weights.at(turn % weights.total),
        }
    }

    /// Two different ones where all weigh the same, and otherwise each drawn by its weight.
    pub(crate) fn two_at_random(&self) -> (usize, usize) {
        match &self.weights {
            None if self.members.len() == 1 => (0, 0),
            None => two_of(self.members.len()),
            Some(weights) => {
                let draw = || weights.at(fastrand::usize(..weights.total));
                (draw(), draw())
            }
        }
    }

    /// Rendezvous hashing: a key belongs to the member with the highest number that is made of both.
    /// When members come or go, only the keys move that they gain or lose; there is no ring to keep, and
    /// the next best for a key is known as well.
    pub(crate) fn home_of(&self, key: u64, is_there: impl Fn(usize) -> bool) -> Option<usize> {
        let number = |at: usize| {
            let bits = mix(key ^ self.hashes[at]);
            // The upper 53 bits as a number between 0 and 1, neither of them included.
            #[allow(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
            let unit = ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;

            let weight = self.weights.as_ref().map_or(1, |weights| weights.each[at]);
            // Wang and Ravishankar's logarithm: shares in proportion to the weights.
            f64::from(weight) / -unit.ln()
        };

        (0..self.members.len())
            .filter(|at| is_there(*at))
            .max_by(|a, b| number(*a).total_cmp(&number(*b)))
    }
}

impl Weights {
    fn at(&self, mut ticket: usize) -> usize {
        for (at, weight) in self.each.iter().enumerate() {
            match ticket.checked_sub(usize::from(*weight)) {
                Some(rest) => ticket = rest,
                None => return at,
            }
        }
        unreachable!("a ticket is below the sum of the weights")
    }
}

/// Two different numbers below `count`, which is at least 2, in any order.
pub(crate) fn two_of(count: usize) -> (usize, usize) {
    let first = fastrand::usize(..count);
    let second = fastrand::usize(..count - 1);
    (first, if second >= first { second + 1 } else { second })
}

/// A key as a number that is the same in every process, whatever it was built with, so that all clients
/// send a key to the same endpoint: FNV-1a.
pub(crate) fn hash(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Spreads every bit over all others (the finalizer of SplitMix64): FNV alone leaves the high bits of
/// short keys alike.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
