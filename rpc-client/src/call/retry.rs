//! Trying a call again: which failure allows it, when, and how often all calls together may.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rpc_core::backoff::Backoff;
use rpc_core::{Code, RawJson, Request};
use tokio::time::Instant;

use crate::call::Command;
use crate::config::Config;
use crate::error::Error;

/// What a try came to: the data, and the address that it came from.
pub(crate) type Answer = (Option<RawJson<'static>>, Arc<str>);

/// How long a retry waits at least at the endpoint that failed; `None` where the call must not be tried
/// again.
fn pause(failure: &Error, is_idempotent: bool) -> Option<Duration> {
    let said = failure.status().and_then(rpc_core::Status::retry_after);
    let is_allowed = if failure.is_unreachable() {
        // Without a connection every endpoint has been tried, for as long as that makes sense.
        failure.connection().is_some()
    } else {
        let is_worth_it =
            failure.is_lost() || failure.code() == Code::UNAVAILABLE || said.is_some();
        failure.is_rejected() || is_idempotent && is_worth_it
    };
    is_allowed.then(|| said.unwrap_or_default())
}

impl Command<'_> {
    /// Whether the failure of the first try leaves room for another one.
    pub(crate) fn may_retry(&self, failure: &Error, is_idempotent: bool) -> bool {
        // A call without an id has its place in an order, which a later try would not have.
        self.stack().config.attempts_max > 1
            && !self.is_ordered()
            && pause(failure, is_idempotent).is_some()
            && self.stack().route.can_try_again()
    }

    /// Tries again after a first failure, until a try succeeds or fails for good, or there is no time, no
    /// try or no budget left. `make` makes the request anew: none is kept while a first try is under way.
    pub(crate) async fn try_again<F>(
        &self,
        make: F,
        is_idempotent: bool,
        mut failure: Error,
        deadline: Instant,
    ) -> Result<Answer, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        let (config, route) = (&self.stack().config, &self.stack().route);
        let (base, cap) = (config.retry_base_ms, config.retry_cap_ms);
        let mut backoff = Backoff::new(Duration::from_millis(base), Duration::from_millis(cap));
        let mut attempts = failure.attempts();
        let mut may_have_run = false;
        let mut been_at = Vec::new();

        while let Some(pause) = pause(&failure, is_idempotent) {
            been_at.push(Arc::clone(failure.shared_address()));
            // What the endpoint asked for does not concern the others.
            let pause = if route.has_other_than(&been_at) {
                Duration::ZERO
            } else {
                pause
            };

            let now = Instant::now();
            let Some(begin) = now.checked_add(backoff.next_delay() + pause) else {
                break;
            };
            if attempts >= config.attempts_max
                || begin >= deadline
                || !self.stack().budget.withdraw(config, now)
            {
                break;
            }

            tracing::debug!(cmdid = %self.cmdid(), attempts, reason = %failure, "trying again");
            if begin > now {
                tokio::time::sleep_until(begin).await;
            }

            may_have_run |= failure.may_have_run();
            match self.one_try(&make, is_idempotent, deadline, &been_at).await {
                Ok(answer) => return Ok(answer),
                Err(next) => failure = next,
            }
            attempts += failure.attempts();
        }

        Err(failure.of_several(attempts, may_have_run))
    }

    /// One try; where the call is hedged, with a backup.
    pub(crate) async fn one_try<F>(
        &self,
        make: &F,
        is_idempotent: bool,
        deadline: Instant,
        been_at: &[Arc<str>],
    ) -> Result<Answer, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        match &self.stack().hedging {
            Some(hedging) if is_idempotent => self.hedged(hedging, make, deadline, been_at).await,
            _ => {
                let attempt = self
                    .begin(&mut make()?, Some(deadline), false, been_at)
                    .await?;
                let address = Arc::clone(attempt.address());
                attempt.await.map(|data| (data, address))
            }
        }
    }
}

/// What all calls of a client together may add to the load by trying again: a share of the first tries,
/// and a few a second, so that a client with few calls may at all.
pub(crate) struct Budget {
    calls: Calls,
    /// Taken only to try again.
    state: Mutex<State>,
}

/// First tries so far. Every call adds to it, so that it has a cache line of its own: those that read
/// what stands beside it are not to wait for that.
#[repr(align(128))]
#[derive(Default)]
struct Calls(AtomicU64);

struct State {
    tokens: f64,
    at: Instant,
    calls: u64,
    /// Calls a second, averaged over the window.
    rate: f64,
}

impl Budget {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let tokens = f64::from(config.retry_budget_per_second);
        let state = State {
            tokens,
            at: now,
            calls: 0,
            rate: 0.0,
        };

        Self {
            calls: Calls::default(),
            state: Mutex::new(state),
        }
    }

    /// Counts a first try.
    pub(crate) fn count_call(&self) {
        // Relaxed: a count, which guards nothing.
        self.calls.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the right to one more try, where there is one left.
    pub(crate) fn withdraw(&self, config: &Config, now: Instant) -> bool {
        let share = f64::from(config.retry_budget_percent) / 100.0;
        let per_second = f64::from(config.retry_budget_per_second);
        let window = Duration::from_millis(config.retry_budget_window_ms)
            .as_secs_f64()
            .max(1e-3);

        let calls = self.calls.0.load(Ordering::Relaxed);
        // Numbers only, and each change is whole before the lock is gone.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now
            .saturating_duration_since(state.at)
            .as_secs_f64()
            .max(1e-9);
        #[allow(
            clippy::cast_precision_loss,
            reason = "exact up to 2^53 calls between two retries"
        )]
        let new_calls = calls.saturating_sub(state.calls) as f64;

        let weight = (-elapsed / window).exp();
        state.rate = state.rate * weight + new_calls / elapsed * (1.0 - weight);

        // What is not used within the window is lost: an hour of successes does not pay for a minute of
        // nothing but retries.
        let most = per_second + state.rate * share * window;
        state.tokens = (state.tokens + new_calls * share + elapsed * per_second).min(most);
        state.at = now;
        state.calls = calls;

        let is_left = state.tokens >= 1.0;
        if is_left {
            state.tokens -= 1.0;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawals(budget: &Budget, config: &Config, now: Instant) -> u32 {
        (0..100_000)
            .take_while(|_| budget.withdraw(config, now))
            .count()
            .try_into()
            .unwrap()
    }

    #[test]
    fn a_fifth_of_the_calls_and_ten_a_second_may_be_tried_again() {
        let (config, start) = (Config::default(), Instant::now());
        let budget = Budget::new(&config, start);
        assert_eq!(withdrawals(&budget, &config, start), 10);

        (0..1_000).for_each(|_| budget.count_call());
        assert!((199..=200).contains(&withdrawals(&budget, &config, start)));

        let later = start + Duration::from_millis(500);
        assert!((4..=5).contains(&withdrawals(&budget, &config, later)));
    }

    #[test]
    fn what_is_saved_is_no_more_than_the_windows_share() {
        let (config, start) = (Config::default(), Instant::now());
        let budget = Budget::new(&config, start);
        // An hour at 100 calls a second without a retry, then the worst.
        (0..360_000).for_each(|_| budget.count_call());
        let spent = withdrawals(&budget, &config, start + Duration::from_secs(3_600));

        assert!(
            (200..=212).contains(&spent),
            "20 % of ten seconds' calls, and ten: {spent}"
        );
    }

    #[test]
    fn a_budget_of_nothing_allows_nothing() {
        let config = Config {
            retry_budget_percent: 0,
            retry_budget_per_second: 0,
            ..Config::default()
        };
        let (start, budget) = (Instant::now(), Budget::new(&config, Instant::now()));
        (0..1_000).for_each(|_| budget.count_call());

        assert_eq!(
            withdrawals(&budget, &config, start + Duration::from_secs(60)),
            0
        );
    }
}
