//! Limits of how many messages go to one number or calling code, and of when they go.

mod quiet;

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use quiet::{QuietError, QuietHours};

/// At most this many messages in any span of this length, as `5/1h` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// Messages, 1 or more.
    pub count: u32,
    /// Length of the span in milliseconds.
    pub window_ms: u64,
}

const UNITS: [(&str, u64); 4] = [
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Longest span: what is older is not kept for counting.
const WINDOW_MAX_MS: u64 = 31 * 86_400_000;
/// Largest count: as many times are looked at for each message.
const COUNT_MAX: u32 = 10_000;

impl Rate {
    /// How long the next message has to wait, in milliseconds, after these times of earlier ones, the newest first. 0 if
    /// it may go now.
    pub fn wait_ms(self, newest_first: impl IntoIterator<Item = u64>, now: u64) -> u64 {
        // The message may go once the one that is `count` back has left the span.
        let back = self.count as usize - 1;
        let oldest = newest_first.into_iter().nth(back);

        oldest.map_or(0, |oldest| (oldest + self.window_ms).saturating_sub(now))
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let wrong = || RateError(text.to_owned());
        let (count, window) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.trim().parse().map_err(|_| wrong())?;

        let window = window.trim();
        let unit = UNITS.iter().find(|(unit, _)| window.ends_with(unit));
        let (unit, unit_ms) = unit.ok_or_else(wrong)?;
        let number: u64 = window.trim_end_matches(unit).parse().map_err(|_| wrong())?;
        let window_ms = number.checked_mul(*unit_ms).ok_or_else(wrong)?;

        if !(1..=COUNT_MAX).contains(&count) || !(1..=WINDOW_MAX_MS).contains(&window_ms) {
            return Err(wrong());
        }
        Ok(Self { count, window_ms })
    }
}

impl TryFrom<String> for Rate {
    type Error = RateError;

    fn try_from(text: String) -> Result<Self, RateError> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = UNITS
            .iter()
            .rev()
            .find(|(_, ms)| self.window_ms.is_multiple_of(*ms));
        let (unit, ms) = largest.unwrap_or(&UNITS[0]);
        write!(f, "{}/{}{unit}", self.count, self.window_ms / ms)
    }
}

/// A text that is not a rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateError(String);

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is not a rate; write a count of 1 to {COUNT_MAX} and a span of at most 31 days, for example \
             \"5/1h\" or \"1/60s\"",
            self.0
        )
    }
}

impl Error for RateError {}

/// Times of the last messages, as many as a rate looks back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(VecDeque<u64>);

impl Times {
    /// Adds the time of a message, and forgets what no rate that looks back `count_max` needs.
    pub(crate) fn push(&mut self, at: u64, count_max: usize) {
        self.0.push_front(at);
        self.0.truncate(count_max);
    }

    pub(crate) fn newest_first(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn a_rate_is_read_as_it_is_written_and_what_is_not_one_is_refused() {
        let check = |text: &str, count, window_ms| {
            assert_eq!(rate(text), Rate { count, window_ms });
            assert_eq!(rate(text).to_string().parse(), Ok(rate(text)));
        };
        check("1/60s", 1, 60_000);
        check("5/1h", 5, 3_600_000);
        check("10/1d", 10, 86_400_000);
        check("200/1m", 200, 60_000);
        assert_eq!(rate("1/90s").to_string(), "1/90s");
        assert_eq!(rate("1/60s").to_string(), "1/1m");

        for wrong in [
            "", "5", "5/", "/1h", "0/1h", "5/0s", "5/1w", "5/h", "x/1h", "5/32d", "10001/1h",
            "5/-1h",
        ] {
            let error = wrong.parse::<Rate>().unwrap_err();
            assert!(error.to_string().contains("5/1h"), "{error}");
        }
    }

    #[test]
    fn the_next_message_waits_until_the_oldest_that_counts_has_left_the_span() {
        let rate = rate("2/10s");
        assert_eq!(rate.wait_ms([], 100_000), 0);
        assert_eq!(rate.wait_ms([99_999], 100_000), 0);
        assert_eq!(rate.wait_ms([99_999, 95_000], 100_000), 5_000);
        assert_eq!(rate.wait_ms([99_999, 90_000, 1], 100_000), 0);
        // A clock that went back does not make it wait for less than it says.
        assert_eq!(rate.wait_ms([105_000, 104_000], 100_000), 14_000);
    }

    #[test]
    fn times_keep_no_more_than_a_rate_looks_at() {
        let mut times = Times::default();
        (0..100).for_each(|at| times.push(at, 3));
        assert_eq!(times.newest_first().collect::<Vec<_>>(), [99, 98, 97]);
    }
}
