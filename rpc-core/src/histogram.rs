//! Log-linear buckets: the arithmetic of latency histograms, for both sides.
//!
//! A bucket is an eighth as wide as its values are high, so a figure read from one is exact to an eighth of itself.

/// Buckets in each power of two.
pub const PARTS: usize = 8;

const PARTS_BITS: u32 = PARTS.trailing_zeros();

/// The bucket that counts this value. Values below [`PARTS`] have a bucket each.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both are below 16")]
pub fn bucket_of(value: u64) -> usize {
    let Some(shift) = value.max(1).ilog2().checked_sub(PARTS_BITS) else {
        return value as usize;
    };

    // Of the four highest bits the first one is always set: 8 to 15.
    let highest = (value >> shift) as usize;
    shift as usize * PARTS + highest
}

/// The least value that this bucket counts.
#[inline]
pub fn lower_bound(bucket: usize) -> u64 {
    let (octave, part) = (bucket / PARTS, (bucket % PARTS) as u64);
    match octave {
        0 => part,
        octave => (PARTS as u64 + part) << (octave - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_bucket_whose_bounds_enclose_it() {
        let powers = (0..63).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
        for value in (0..5_000)
            .chain((5_000..5_000_000).step_by(997))
            .chain(powers)
        {
            let bucket = bucket_of(value);
            let (least, next) = (lower_bound(bucket), lower_bound(bucket + 1));

            assert!((least..next).contains(&value), "{value}: {least} to {next}");
            assert!(
                next - least <= least / PARTS as u64 + 1,
                "{value}: {least} to {next}"
            );
        }
    }
}
