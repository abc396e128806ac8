//! The budgets of addresses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Number of addresses that are told apart. Further ones share a budget, until others were silent for a second.
const ADDRESSES_MAX: usize = 1024;

/// The budgets of addresses.
pub(super) struct Rates {
    /// Held for a look-up.
    state: Mutex<State>,
    /// What an address may send in a second; 0: no limit.
    bytes_per_second: u64,
}

#[derive(Default)]
struct State {
    budgets: HashMap<Option<IpAddr>, Budget>,
    /// That of all addresses that are not told apart.
    others: Option<Budget>,
    dropped: u64,
}

/// What an address may send now.
#[derive(Debug, Clone, Copy)]
struct Budget {
    /// In bytes. Below zero it waits: the last message was larger than what was left.
    left: i64,
    /// When `left` was right.
    at: Instant,
}

impl Rates {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self {
            state: Mutex::default(),
            bytes_per_second,
        }
    }

    /// Takes bytes from the budget of an address, or says how long it takes until there are some. Unix sockets have no
    /// address.
    pub(super) fn take(
        &self,
        address: Option<IpAddr>,
        bytes: usize,
        now: Instant,
    ) -> Result<(), Duration> {
        if self.bytes_per_second == 0 {
            return Ok(());
        }

        let rate = i64::try_from(self.bytes_per_second).unwrap_or(i64::MAX);
        let mut state = self.lock();
        let budget = state.budget(address, rate, now);
        budget.refill(rate, now);
        if budget.left <= 0 {
            return Err(budget.wait(rate));
        }

        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        budget.left = budget.left.saturating_sub(bytes);
        Ok(())
    }

    /// Counts a message that was dropped.
    pub(super) fn count_dropped(&self) {
        self.lock().dropped += 1;
    }

    /// The number of messages that were dropped since the last call.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Each step leaves the data whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn budget(&mut self, address: Option<IpAddr>, rate: i64, now: Instant) -> &mut Budget {
        let full = Budget {
            left: rate,
            at: now,
        };
        if self.budgets.len() >= ADDRESSES_MAX && !self.budgets.contains_key(&address) {
            self.budgets.retain(|_, budget| {
                budget.refill(rate, now);
                budget.left < rate
            });
            if self.budgets.len() >= ADDRESSES_MAX {
                return self.others.get_or_insert(full);
            }
        }

        self.budgets.entry(address).or_insert(full)
    }
}

impl Budget {
    fn refill(&mut self, rate: i64, now: Instant) {
        let past = now.saturating_duration_since(self.at).as_micros();
        let gained =
            i128::from(rate).saturating_mul(i128::try_from(past).unwrap_or(i128::MAX)) / 1_000_000;
        if gained > 0 {
            let left = i128::from(self.left).saturating_add(gained);
            self.left = i64::try_from(left).unwrap_or(i64::MAX).min(rate);
            self.at = now;
        }
    }

    /// How long it takes until something is left.
    fn wait(&self, rate: i64) -> Duration {
        let missing = 1 - self.left;
        let ms = missing.saturating_mul(1000) / rate + 1;
        Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(((10 << 24) | n).to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_has_a_second_s_worth_and_gets_it_again() {
        let rates = Rates::new(1000);
        let now = Instant::now();
        let (one, other) = (Some(ip(1)), Some(ip(2)));
        assert_eq!(rates.take(one, 600, now), Ok(()));
        assert_eq!(rates.take(one, 900, now), Ok(()));
        let wait = rates.take(one, 1, now).unwrap_err();
        assert!((500..510).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(rates.take(other, 1, now), Ok(()));
        assert_eq!(rates.take(None, 1, now), Ok(()));

        assert_eq!(rates.take(one, 1, now + wait), Ok(()));
        assert_eq!(Rates::new(0).take(one, usize::MAX, now), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_a_newcomer_gets_the_place_of_one_that_is_silent() {
        let rates = Rates::new(1000);
        let now = Instant::now();
        for n in 0..2000 {
            let _ = rates.take(Some(ip(n)), 700, now);
        }
        assert_eq!(rates.lock().budgets.len(), ADDRESSES_MAX);
        // Those that are not told apart are over their budget together.
        assert!(rates.take(Some(ip(5000)), 1, now).is_err());
        assert!(rates.take(Some(ip(1)), 1, now).is_ok());

        let later = now + Duration::from_secs(1);
        assert_eq!(rates.take(Some(ip(5000)), 1, later), Ok(()));
        assert_eq!(rates.lock().budgets.len(), 1);
    }

    #[test]
    fn drops_are_told_once() {
        let rates = Rates::new(1);
        rates.count_dropped();
        rates.count_dropped();
        assert_eq!((rates.take_dropped(), rates.take_dropped()), (2, 0));
    }
}
