//! Calls with a key: the server recognises a repetition by its `idempotency-key`, where its command has `dedup`.
//!
//! Such a call is never hedged. Where it may have run, it is sent again only over a connection whose server keeps the keys in
//! the same store, and says then how long ago it was sent first (docs/protocol.md, "Repeated calls"). Where a server says
//! that the command is idempotent, its key does not matter.

use std::sync::Arc;

use rpc_core::typed::IDEMPOTENCY_AGE_MS;
use rpc_core::{Code, Meta, Request, Status};
use tokio::time::{Instant, timeout};

use super::retry::{FailedTry, RetryState};
use super::run::Answer;
use super::start::unsent;
use super::{Command, Idempotency};
use crate::connection::{CallKind, Connection, Repetition};
use crate::error::{Error, Kind};

/// What the tries of one call have come to so far.
struct Tries {
    /// The metadata of the caller.
    meta: Meta<'static>,
    /// The first try that may have run.
    first: Option<First>,
    /// Endpoints that tries which did not run have failed at.
    tried: Vec<Arc<str>>,
    /// Endpoints that keep keys in other stores than the first try's.
    other_stores: Vec<Arc<str>>,
}

/// A try that has failed and may have run.
struct First {
    sent: Sent,
    error: Error,
}

/// A try that has been sent.
struct Sent {
    at: Instant,
    /// What its server says of a repetition.
    repetition: Repetition,
}

/// How a try failed.
enum Failed {
    /// The try itself, which was sent where `sent` says so.
    Try { error: Error, sent: Option<Sent> },
    /// All endpoints that can be had keep their keys elsewhere. Nothing was sent, and the failure of the first try stays.
    OtherStores(Error),
}

impl Failed {
    /// Why nothing was sent, where that is so.
    fn unsent(&self) -> Option<&Error> {
        match self {
            Self::Try { sent: Some(_), .. } => None,
            Self::Try { error, sent: None } | Self::OtherStores(error) => Some(error),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Try { error, sent: None }
    }
}

impl Command<'_> {
    /// Sends a call that has a key, and again where that is allowed.
    pub(super) async fn send_keyed(&self, mut request: Request<'static>) -> Result<Answer, Error> {
        let context = self.caller();
        let deadline = self.deadline_from(Instant::now());
        context.budget.count_call();

        let mut retry = RetryState::new(&context.config, &context.budget, Some(deadline));
        let mut tries = Tries::new(&request);

        loop {
            let failed = match self.try_keyed(&mut request, &mut tries, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };

            if let Some(error) = failed.unsent() {
                context.metrics.ended(self.cmdid(), unsent(error));
            }

            let (error, failed) = match failed {
                Failed::Try { error, sent } => {
                    let idempotency = tries.note(&error, sent);
                    let failed = self.failed_keyed(&error, idempotency, &tries);
                    (error, failed)
                }
                // The endpoint that has seen the call may come back, where it is not among these.
                Failed::OtherStores(error) if context.route.has_other_than(&tries.other_stores) => {
                    let failed = FailedTry::of(&error, Idempotency::Idempotent).untried();
                    (error, failed)
                }
                Failed::OtherStores(error) => return Err(of_all(error, &retry)),
            };

            let can_try_again = context.route.can_try_again();
            let begin = retry.next(&failed, Instant::now());
            let Some(begin) = begin.filter(|_| can_try_again) else {
                return Err(of_all(error, &retry));
            };
            context.metrics.retried(self.cmdid());
            tracing::debug!(cmdid = %self.cmdid(), attempts = retry.attempts(), reason = %error, "trying again");
            tokio::time::sleep_until(begin).await;
        }
    }

    /// What a try that failed says about another one.
    fn failed_keyed(&self, error: &Error, idempotency: Idempotency, tries: &Tries) -> FailedTry {
        let failed = FailedTry::of(error, idempotency);
        let route = &self.caller().route;
        if tries.first.is_none() && route.has_other_than(&tries.tried) {
            return failed.elsewhere();
        }
        failed
    }

    /// One try, at an endpoint with the right store of keys.
    async fn try_keyed(
        &self,
        request: &mut Request<'static>,
        tries: &mut Tries,
        deadline: Instant,
    ) -> Result<Answer, Failed> {
        let context = self.caller();

        loop {
            if deadline <= Instant::now() {
                let late = Kind::Deadline { was_sent: false };
                return Err(Error::new(late, &context.target, None).into());
            }

            let hint = self.hint(tries.avoided());
            let lease = context.route.lease(hint, Some(deadline)).await?;
            let repetition = self.repetition_at(&lease.connection, deadline).await?;
            if !tries.accept(&repetition, lease.connection.address())? {
                continue;
            }

            let sent = Sent {
                at: Instant::now(),
                repetition,
            };
            request.meta = tries.meta_at(sent.at);
            let kind = CallKind::Multiplexed;
            let started = self.start_on(lease, request, kind, Some(deadline)).await?;
            let Some(attempt) = started else {
                continue;
            };

            return attempt.answer().await.map_err(|error| Failed::Try {
                error,
                sent: Some(sent),
            });
        }
    }

    /// What the server of a connection says of repetitions. One that has not answered in half of the time that is left
    /// says nothing of them: the other half is for the call.
    async fn repetition_at(
        &self,
        connection: &Arc<Connection>,
        deadline: Instant,
    ) -> Result<Repetition, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        let asked = timeout(left / 2, connection.repetition(self.cmdid())).await;

        let told = asked.unwrap_or(Ok(Repetition::Unknown))?;
        Ok(match told {
            Repetition::Unknown if self.is_listed() => Repetition::Harmless,
            told => told,
        })
    }
}

impl Sent {
    /// Whether the next try may go anywhere: the command may run twice, or the store knows nothing of the call any
    /// more. Its server answers codes 8 and 14 only where it did not run.
    fn may_run_anywhere_after(&self, error: &Error) -> bool {
        let code = error.status().map(Status::code);
        match self.repetition {
            Repetition::Harmless => true,
            Repetition::KnownTo(_) => {
                matches!(code, Some(Code::RESOURCE_EXHAUSTED | Code::UNAVAILABLE))
            }
            Repetition::Unknown => false,
        }
    }
}

impl Tries {
    fn new(request: &Request<'static>) -> Self {
        Self {
            meta: request.meta.clone(),
            first: None,
            tried: Vec::new(),
            other_stores: Vec::new(),
        }
    }

    /// Whether the call may be sent to this endpoint, which says this of repetitions.
    ///
    /// # Errors
    /// The endpoint is chosen again though its store is another one: there is no other endpoint now.
    fn accept(&mut self, repetition: &Repetition, address: &Arc<str>) -> Result<bool, Failed> {
        let Some(first) = &self.first else {
            return Ok(true);
        };
        if first.sent.repetition == *repetition {
            return Ok(true);
        }

        if self.other_stores.contains(address) {
            return Err(Failed::OtherStores(first.error.clone()));
        }
        self.other_stores.push(Arc::clone(address));
        Ok(false)
    }

    /// Notes a failure, and says whether the call may be sent again where it may have run: where that does no harm, or it goes
    /// to the store that has seen it, which must be known for that.
    fn note(&mut self, error: &Error, sent: Option<Sent>) -> Idempotency {
        match sent {
            Some(sent) if self.first.is_none() && sent.may_run_anywhere_after(error) => {
                self.tried.push(Arc::clone(error.shared_address()));
                return Idempotency::Idempotent;
            }
            Some(sent) if error.may_have_run() => {
                let error = error.clone();
                self.first.get_or_insert(First { sent, error });
            }
            _ => self.tried.push(Arc::clone(error.shared_address())),
        }

        match &self.first {
            Some(First { sent, .. }) if sent.repetition != Repetition::Unknown => {
                Idempotency::Idempotent
            }
            _ => Idempotency::Unknown,
        }
    }

    /// What the next try avoids, where it can.
    fn avoided(&self) -> &[Arc<str>] {
        match &self.first {
            None => &self.tried,
            Some(_) => &self.other_stores,
        }
    }

    /// The metadata of a try that is sent now. A repetition says its age, counted from the caller's own first try where the
    /// caller repeats, too.
    fn meta_at(&self, now: Instant) -> Meta<'static> {
        let Some(first) = &self.first else {
            return self.meta.clone();
        };

        let before = self.meta.get(IDEMPOTENCY_AGE_MS);
        let before = before.and_then(|age| age.parse::<u64>().ok()).unwrap_or(0);
        // Rounded up: it is as old as that at least.
        let since = now.saturating_duration_since(first.sent.at).as_millis() + 1;
        let age = before.saturating_add(u64::try_from(since).unwrap_or(u64::MAX));
        self.meta
            .with([(IDEMPOTENCY_AGE_MS, age.to_string().as_str())])
    }
}

/// The failure of the last of several tries.
fn of_all(error: Error, retry: &RetryState<'_>) -> Error {
    error.of_several(retry.tries())
}
