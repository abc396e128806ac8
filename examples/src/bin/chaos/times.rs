//! The times of all rounds together.

/// The good client's p99 in milliseconds, each the median of all rounds: a stall of the machine moves a few of them, and what
/// the peers do in most of them is seen, however good the best one is.
pub(crate) struct Times {
    pub(crate) alone: f64,
    pub(crate) under: f64,
    pub(crate) beside: Option<f64>,
}

impl Times {
    /// `pairs` are those alone and under the fault.
    pub(crate) fn of(pairs: &[(f64, f64)], besides: &[f64]) -> Self {
        Self {
            alone: median(pairs.iter().map(|pair| pair.0)),
            under: median(pairs.iter().map(|pair| pair.1)),
            beside: (!besides.is_empty()).then(|| median(besides.iter().copied())),
        }
    }

    /// How many times as long it is under the fault. One that is no longer than alone is not the peers' doing.
    pub(crate) fn ratio(&self) -> f64 {
        let otherwise = self.alone.max(self.beside.unwrap_or_default());
        self.under / otherwise.max(0.001)
    }
}

/// The value in the middle; of an even number of values, the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::INFINITY,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_in_most_of_the_rounds_is_seen_and_one_stall_of_the_machine_is_not() {
        let ratio = |under: &[f64], besides: &[f64]| {
            let pairs: Vec<(f64, f64)> = under.iter().map(|under| (0.5, *under)).collect();
            Times::of(&pairs, besides).ratio()
        };
        let is_near = |one: f64, other: f64| (one - other).abs() < 1e-9;

        assert!(is_near(ratio(&[0.5, 9.0, 9.0], &[]), 18.0));
        assert!(is_near(ratio(&[0.5, 0.6, 90.0], &[]), 1.2));
        assert!(is_near(ratio(&[3.0, 3.0, 3.0], &[3.0, 1.0, 2.0]), 1.5));
        // No longer than alone.
        assert!(is_near(ratio(&[0.5], &[0.1]), 1.0));
        // A round without an answer.
        assert!(ratio(&[0.5, f64::INFINITY, f64::INFINITY], &[]).is_infinite());
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let of = |values: &[f64]| median(values.iter().copied());
        assert!((of(&[4.0, 1.0, 2.0, 90.0]) - 3.0).abs() < 1e-9);
        assert!((of(&[7.0]) - 7.0).abs() < 1e-9);
        assert!(of(&[]).is_infinite());
    }
}
