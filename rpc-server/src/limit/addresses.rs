//! Connections of each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, PoisonError};

use crate::sync::{Mutex, MutexGuard};

/// The addresses that have connections.
#[derive(Default)]
pub(crate) struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// A place among the connections of one address, until this is dropped.
pub(crate) struct AddressPermit {
    addresses: Arc<Addresses>,
    network: IpAddr,
}

impl Addresses {
    /// A place for a further connection; none where the address has `limit` of them.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<AddressPermit> {
        let network = network_of(address);
        let mut counts = self.lock();
        let count = counts.entry(network).or_default();
        if *count >= limit {
            return None;
        }

        *count += 1;
        Some(AddressPermit {
            addresses: Arc::clone(self),
            network,
        })
    }

    /// Held for an addition, when a connection begins and when it ends. A panic cannot happen within.
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// What one host is given: an IPv4 address, or a /64 of IPv6, of which it may have every address.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_limited_number_of_places_and_its_neighbours_have_theirs() {
        let addresses = Arc::<Addresses>::default();
        let enter = |address: &str| addresses.enter(address.parse().unwrap(), 2);

        let first = enter("192.0.2.1").unwrap();
        let second = enter("::ffff:192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none());
        let _neighbour = enter("192.0.2.2").unwrap();

        drop((first, second));
        assert!(enter("192.0.2.1").is_some());

        // One host may take any address of its network.
        let _of_one_host = (
            enter("2001:db8::1").unwrap(),
            enter("2001:db8::ffff:1").unwrap(),
        );
        assert!(enter("2001:db8::2").is_none());
        assert!(enter("2001:db8:0:1::2").is_some());
        assert_eq!(addresses.lock().len(), 2, "nothing is kept of who has left");
    }
}
