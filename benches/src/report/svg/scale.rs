//! Axes: from values to pixels, and the texts of their ticks.

use super::super::{number, time};

/// From values to pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    pixels_from: f64,
    pixels_to: f64,
    is_log: bool,
}

impl Scale {
    /// From 0.
    pub(super) fn linear(to: f64, pixels_from: f64, pixels_to: f64) -> Self {
        Self {
            from: 0.0,
            to,
            pixels_from,
            pixels_to,
            is_log: false,
        }
    }

    /// Equal factors are equally far apart. Covers all values, which are above 0, from tick to tick.
    pub(super) fn log(
        values: impl Iterator<Item = f64> + Clone,
        pixels_from: f64,
        pixels_to: f64,
    ) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(least, f64::max);
        let power = |value: f64| 10f64.powf(value.log10().floor());

        let from = [5.0, 2.0, 1.0]
            .map(|step| step * power(least))
            .into_iter()
            .find(|tick| *tick <= least);
        let to = [1.0, 2.0, 5.0, 10.0]
            .map(|step| step * power(most))
            .into_iter()
            .find(|tick| *tick >= most);
        let (from, to) = (from.unwrap_or(least), to.unwrap_or(most));

        // A single value is put in the middle.
        let (from, to) = if from < to {
            (from, to)
        } else {
            (from / 2.0, from * 2.0)
        };

        Self {
            from,
            to,
            pixels_from,
            pixels_to,
            is_log: true,
        }
    }

    /// Where a value lies.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };

        self.pixels_from + share * (self.pixels_to - self.pixels_from)
    }

    /// Round values within.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let decades = (self.to / self.from).log10();
            let steps: &[f64] = if decades > 3.0 {
                &[1.0]
            } else {
                &[1.0, 2.0, 5.0]
            };

            #[allow(clippy::cast_possible_truncation, reason = "an exponent of ten")]
            let exponents = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
            let all = exponents
                .flat_map(|exponent| steps.iter().map(move |step| step * 10f64.powi(exponent)));

            // Powers of ten are not exact.
            all.filter(|tick| (self.from * 0.999..=self.to * 1.001).contains(tick))
                .collect()
        } else {
            let rough = (self.to - self.from) / 4.0;
            let power = 10f64.powf(rough.log10().floor());
            let step = [1.0, 2.0, 5.0, 10.0]
                .map(|step| step * power)
                .into_iter()
                .find(|step| *step >= rough);
            let step = step.unwrap_or(rough);

            let mut ticks = Vec::new();
            let mut tick = self.from;
            while tick <= self.to * 1.001 {
                ticks.push(tick);
                tick += step;
            }

            ticks
        }
    }
}

/// How an axis writes its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Unit {
    Number,
    /// Microseconds are given.
    Time,
}

impl Unit {
    pub(super) fn tick(self, value: f64) -> String {
        let text = match self {
            Self::Number if value >= 1e6 => format!("{}M", value / 1e6),
            Self::Number if value >= 1e4 => format!("{}k", value / 1e3),
            Self::Number if value < 1e3 => format!("{value}"),
            Self::Number => number(value),
            Self::Time if value >= 1e6 => format!("{} s", value / 1e6),
            Self::Time if value >= 1e3 => format!("{} ms", value / 1e3),
            Self::Time => format!("{value} µs"),
        };

        // Ticks are sums and products of inexact numbers.
        if text.len() > 9 {
            format!("{value:.2}")
        } else {
            text
        }
    }

    pub(super) fn value(self, value: f64) -> String {
        match self {
            Self::Number => number(value),
            Self::Time => time(value),
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "round values, which are exact")]
mod tests {
    use super::*;

    #[test]
    fn a_linear_scale_begins_at_nought() {
        let scale = Scale::linear(200.0, 100.0, 300.0);
        assert_eq!(
            [0.0, 50.0, 200.0].map(|value| scale.at(value)),
            [100.0, 150.0, 300.0]
        );
        assert_eq!(scale.ticks(), [0.0, 50.0, 100.0, 150.0, 200.0]);
    }

    #[test]
    fn on_a_logarithmic_scale_equal_factors_are_equally_far_apart() {
        let scale = Scale::log([1.0, 100.0].into_iter(), 0.0, 200.0);
        let at = [1.0, 10.0, 100.0].map(|value| scale.at(value).round());
        assert_eq!(at, [0.0, 100.0, 200.0]);
        assert_eq!(scale.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn a_logarithmic_scale_goes_from_tick_to_tick() {
        let scale = Scale::log([3.0, 42.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.ticks(), [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(
            [2.0, 50.0].map(|value| scale.at(value).round()),
            [0.0, 100.0]
        );
    }

    #[test]
    fn a_single_value_on_a_logarithmic_scale_is_in_the_middle() {
        let scale = Scale::log([5.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.at(5.0).round(), 50.0);
    }
}
