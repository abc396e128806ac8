//! Trying a call again: which failure allows it, when, and how often all calls together may.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rpc_core::backoff::Backoff;
use rpc_core::{Code, Request, RetryCategory, Status};
use tokio::time::Instant;

use super::run::Answer;
use super::{Attempt, Command, Idempotency};
use crate::config::Config;
use crate::error::{Error, Tries};

/// What a failed try says about another one.
pub(crate) struct FailedTry {
    /// How long to wait at least, where the call may be tried again at all.
    pause: Option<Duration>,
    may_have_run: bool,
    /// 0 without an endpoint to try it at.
    attempts: u32,
}

impl FailedTry {
    /// Of a call over a connection.
    pub(super) fn of(failure: &Error, idempotency: Idempotency) -> Self {
        let said = failure.status().and_then(Status::retry_after);
        let is_allowed = if failure.is_unreachable() {
            // Without a connection every endpoint has been tried, for as long as that makes sense.
            failure.connection().is_some()
        } else {
            let is_worth_it =
                failure.is_lost() || failure.code() == Code::UNAVAILABLE || said.is_some();
            failure.is_rejected() || idempotency == Idempotency::Idempotent && is_worth_it
        };

        Self {
            pause: is_allowed.then(|| said.unwrap_or_default()),
            may_have_run: failure.may_have_run(),
            attempts: failure.attempts(),
        }
    }

    /// Of a call of any service. The metadata `idempotency-key` does not make it idempotent: it is not known here
    /// whether the service inside reaches the same store of keys again.
    pub(crate) fn of_service(failure: &Status, request: &Request<'_>) -> Self {
        let said = failure.retry_after();
        let is_worth_it = failure.code() == Code::UNAVAILABLE || said.is_some();
        let is_idempotent = request.scope.retry == RetryCategory::Idempotent;
        let is_allowed = failure.is_rejected() || is_idempotent && is_worth_it;

        Self {
            pause: is_allowed.then(|| said.unwrap_or_default()),
            may_have_run: !failure.is_rejected(),
            attempts: 1,
        }
    }

    /// No endpoint was there to try it at.
    pub(super) fn untried(mut self) -> Self {
        self.attempts = 0;
        self
    }

    /// What the endpoint asked for does not concern the others.
    pub(super) fn elsewhere(mut self) -> Self {
        self.pause = self.pause.map(|_| Duration::ZERO);
        self
    }
}

/// The tries of one call: whether there is another one, and when.
pub(crate) struct RetryState<'a> {
    config: &'a Config,
    budget: &'a Budget,
    backoff: Backoff,
    deadline: Option<Instant>,
    attempts: u32,
    /// Attempts, and times that there was no endpoint to try it at.
    turns: u32,
    /// Whether a try before the last one may have run.
    may_have_run: bool,
}

impl<'a> RetryState<'a> {
    /// Of a call that must end by `deadline`, and has not failed yet.
    pub(crate) fn new(config: &'a Config, budget: &'a Budget, deadline: Option<Instant>) -> Self {
        let (base, cap) = (config.retry.base_ms, config.retry.cap_ms);
        Self {
            config,
            budget,
            backoff: Backoff::new(Duration::from_millis(base), Duration::from_millis(cap)),
            deadline,
            attempts: 0,
            turns: 0,
            may_have_run: false,
        }
    }

    /// When the next try begins after this failure; `None` where it must not be tried again, or there is no time, no
    /// try or no budget left.
    pub(crate) fn next(&mut self, failure: &FailedTry, now: Instant) -> Option<Instant> {
        self.attempts += failure.attempts;
        self.turns += failure.attempts.max(1);
        let pause = failure.pause?;
        let begin = now.checked_add(self.backoff.next_delay() + pause)?;

        let is_left = self.turns < self.config.retry.attempts_max
            && self.deadline.is_none_or(|deadline| begin < deadline)
            && self.budget.withdraw(self.config, now);
        if !is_left {
            return None;
        }

        self.may_have_run |= failure.may_have_run;
        Some(begin)
    }

    /// Tries so far.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The tries so far.
    pub(super) fn tries(&self) -> Tries {
        Tries {
            attempts: self.attempts,
            may_have_run_before: self.may_have_run,
        }
    }

    /// Whether a try before the last one may have run.
    pub(crate) fn may_have_run(&self) -> bool {
        self.may_have_run
    }
}

impl Command<'_> {
    /// Whether the failure of the first try leaves room for another one.
    pub(super) fn may_retry(&self, failure: &Error, idempotency: Idempotency) -> bool {
        // A call without an id has its place in an order, which a later try would not have.
        self.caller().config.retry.attempts_max > 1
            && !self.options().kind.is_ordered()
            && FailedTry::of(failure, idempotency).pause.is_some()
            && self.caller().route.can_try_again()
    }

    /// Tries again after a first failure, until a try succeeds or fails for good, or there is no time, no
    /// try or no budget left. `make` makes the request anew: none is kept while a first try is under way.
    pub(super) async fn try_again<F>(
        &self,
        make: F,
        idempotency: Idempotency,
        mut failure: Error,
        deadline: Instant,
    ) -> Result<Answer, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        let context = self.caller();
        let mut state = RetryState::new(&context.config, &context.budget, Some(deadline));
        let mut tried = Vec::new();

        loop {
            tried.push(Arc::clone(failure.shared_address()));
            let mut failed = FailedTry::of(&failure, idempotency);
            if context.route.has_other_than(&tried) {
                failed = failed.elsewhere();
            }

            let now = Instant::now();
            let Some(begin) = state.next(&failed, now) else {
                return Err(failure.of_several(state.tries()));
            };

            context.metrics.retried(self.cmdid());
            let attempts = state.attempts();
            tracing::debug!(cmdid = %self.cmdid(), attempts, reason = %failure, "trying again");
            if begin > now {
                tokio::time::sleep_until(begin).await;
            }

            match self.attempt(&make, idempotency, deadline, &tried).await {
                Ok(answer) => return Ok(answer),
                Err(next) => failure = next,
            }
        }
    }

    /// One try; where the call is hedged, with a backup.
    pub(super) async fn attempt<F>(
        &self,
        make: &F,
        idempotency: Idempotency,
        deadline: Instant,
        tried: &[Arc<str>],
    ) -> Result<Answer, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        match &self.caller().hedging {
            Some(hedging) if idempotency == Idempotency::Idempotent => {
                self.hedged(hedging, make, deadline, tried).await
            }
            _ => self.start_try(make, deadline, tried).await?.answer().await,
        }
    }

    /// Starts another try of a unary call.
    pub(super) async fn start_try<F>(
        &self,
        make: &F,
        deadline: Instant,
        tried: &[Arc<str>],
    ) -> Result<Attempt, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        let (mut request, kind) = (make()?, self.options().kind);
        self.start(&mut request, kind, Some(deadline), tried).await
    }
}

impl Attempt {
    /// What it comes to.
    pub(super) async fn answer(mut self) -> Result<Answer, Error> {
        let settled = poll_fn(|cx| self.poll_settled(cx)).await?;
        Ok(Answer {
            data: settled.data,
            address: Arc::clone(self.address()),
            timing: settled.timing,
        })
    }
}

/// What all calls of a client together may add to the load by trying again: a share of the first tries,
/// and a few a second, so that a client with few calls may at all.
pub(crate) struct Budget {
    calls: Calls,
    /// Taken only to try again.
    state: Mutex<State>,
}

/// First tries so far. Every call adds to it, so that it has a cache line of its own: readers of its neighbours are not
/// to wait for that.
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
        let tokens = f64::from(config.retry.budget_per_second);
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

    /// Takes the right to another try, if one is left.
    pub(crate) fn withdraw(&self, config: &Config, now: Instant) -> bool {
        let share = f64::from(config.retry.budget_percent) / 100.0;
        let per_second = f64::from(config.retry.budget_per_second);
        let window = Duration::from_millis(config.retry.budget_window_ms)
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

    /// The pauses before the tries that follow `failures`, each of which ends at once.
    fn pauses(config: &Config, deadline_ms: u64, failures: &[FailedTry]) -> Vec<Duration> {
        let start = Instant::now();
        let budget = Budget::new(config, start);
        let deadline = start + Duration::from_millis(deadline_ms);
        let mut tries = RetryState::new(config, &budget, Some(deadline));
        let next = |failure| tries.next(failure, start).map(|begin| begin - start);
        failures.iter().map_while(next).collect()
    }

    fn failed(pause_ms: Option<u64>) -> FailedTry {
        FailedTry {
            pause: pause_ms.map(Duration::from_millis),
            may_have_run: true,
            attempts: 1,
        }
    }

    #[test]
    fn a_call_is_tried_again_while_failures_allow_it_and_attempts_time_and_budget_are_left() {
        let config = Config::default().with(|config| {
            config.retry.attempts_max = 4;
            config.retry.base_ms = 10;
        });
        let many = [Some(0); 9].map(failed);
        assert_eq!(pauses(&config, 5_000, &many).len(), 3);

        let refused = [failed(Some(0)), failed(None), failed(Some(0))];
        assert_eq!(
            pauses(&config, 5_000, &refused).len(),
            1,
            "the second one is for good"
        );

        let later = [Some(200), Some(200)].map(failed);
        let taken = pauses(&config, 5_000, &later);
        assert!(taken.len() == 2 && taken.iter().all(|pause| pause.as_millis() >= 200));
        assert_eq!(
            pauses(&config, 200, &later).len(),
            0,
            "the deadline comes first"
        );

        let poor = config.with(|config| config.retry.budget_per_second = 2);
        assert_eq!(pauses(&poor, 5_000, &many).len(), 2);
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
        let config = Config::default().with(|config| {
            config.retry.budget_percent = 0;
            config.retry.budget_per_second = 0;
        });
        let (start, budget) = (Instant::now(), Budget::new(&config, Instant::now()));
        (0..1_000).for_each(|_| budget.count_call());

        assert_eq!(
            withdrawals(&budget, &config, start + Duration::from_secs(60)),
            0
        );
    }
}
