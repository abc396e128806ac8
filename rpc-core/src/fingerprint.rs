//! Fingerprints of bytes.

/// FNV-1a of 128 bits. It tells bytes apart that are not made to collide, and finds each single byte that was changed.
///
/// ```
/// use rpc_core::Fingerprint;
///
/// let parts = Fingerprint::default().with(b"ab").with(b"c");
/// assert_eq!(parts, Fingerprint::of(b"abc"));
/// assert_ne!(parts.number(), Fingerprint::of(b"abd").number());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// The fingerprint of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::default().with(bytes)
    }

    /// The fingerprint with these bytes behind those that it has.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

        Self(bytes.iter().fold(self.0, |hash, byte| {
            (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
        }))
    }

    /// The fingerprint as a number.
    pub fn number(self) -> u128 {
        self.0
    }
}

impl Default for Fingerprint {
    /// The fingerprint of no bytes.
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_that_are_published() {
        let check = |bytes: &[u8], number| assert_eq!(Fingerprint::of(bytes).number(), number);
        check(b"", 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        check(b"a", 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        check(b"foobar", 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }
}
