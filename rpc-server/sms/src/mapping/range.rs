//! Ranges of addresses, as `203.0.113.0/24`.

use std::net::IpAddr;

/// Addresses that have their first bits in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    bits: u32,
}

impl AddressRange {
    /// Reads an address, or one with the number of bits that count. `None` if it is neither. IPv4 addresses that IPv6
    /// carries are those of IPv4, as in [`contains`](Self::contains): of such a range, the first 96 bits have to count.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let bits_max: u32 = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(bits_max);
        if bits > bits_max {
            return None;
        }

        let canonical = first.to_canonical();
        let bits = match (first, canonical) {
            (IpAddr::V6(_), IpAddr::V4(_)) => bits.checked_sub(96)?,
            _ => bits,
        };
        Some(Self {
            first: canonical,
            bits,
        })
    }

    /// Whether an address is one of these. An IPv4 address counts as such also where IPv6 carries it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let differs = first.to_bits() ^ address.to_bits();
                self.bits == 0 || differs >> (32 - self.bits) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differs = first.to_bits() ^ address.to_bits();
                self.bits == 0 || differs >> (128 - self.bits) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: &str, inside: &[&str], outside: &[&str]) {
        let range = AddressRange::parse(range).unwrap();
        for address in inside {
            assert!(range.contains(address.parse().unwrap()), "{address}");
        }
        for address in outside {
            assert!(!range.contains(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_range_has_the_addresses_that_begin_like_it() {
        check(
            "203.0.113.0/24",
            &["203.0.113.0", "203.0.113.255", "::ffff:203.0.113.7"],
            &["203.0.112.255", "203.0.114.0", "::1"],
        );
        check("203.0.113.7", &["203.0.113.7"], &["203.0.113.6"]);
        check("0.0.0.0/0", &["1.2.3.4"], &["::1"]);
        check(
            "2001:db8::/33",
            &["2001:db8:7fff::1"],
            &["2001:db8:8000::1", "1.2.3.4"],
        );
        check("::/0", &["::1"], &["1.2.3.4"]);
        check(
            "::ffff:203.0.113.0/120",
            &["203.0.113.7", "::ffff:203.0.113.255"],
            &["203.0.114.0", "::1"],
        );
        check("::ffff:203.0.113.7", &["203.0.113.7"], &["203.0.113.6"]);
        check("::ffff:0:0/96", &["1.2.3.4"], &["::1"]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "a",
            "203.0.113",
            "203.0.113.0/33",
            "::/129",
            "::ffff:203.0.113.0/24",
            "::ffff:203.0.113.0/129",
            "1.2.3.4/",
            "1.2.3.4/-1",
            "1.2.3.4/a",
        ] {
            assert_eq!(AddressRange::parse(text), None, "{text}");
        }
    }
}
