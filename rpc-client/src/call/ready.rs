//! Waiting for a service at start: until one of its endpoints can be called and says that it is serving.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::backoff::half_jitter;
use rpc_core::{Code, RawJson, Request, Status};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::Command;
use crate::balance::{Lease, RouteHint};
use crate::config::ConfigError;
use crate::connection::{CallKind, decode};
use crate::discover::InvalidTarget;
use crate::error::{Cause, Error, Kind};
use crate::time::after;

/// Often enough that a service is found soon, and seldom enough that thousands of clients may wait for it.
const PAUSE_MS_MAX: u64 = 500;

/// The data of command 2, `health`.
#[derive(Deserialize)]
struct Health {
    status: String,
}

impl Command<'_> {
    /// As [`Client::ready`](crate::Client::ready), of a command that asks for the health.
    pub(crate) async fn ready(&self, timeout: Duration) -> Result<(), Error> {
        let deadline = after(Instant::now(), timeout);
        let mut last: Option<Error> = None;

        loop {
            match self.look_for_a_ready_one(deadline).await {
                Ok(()) => return Ok(()),
                Err(error) if is_final(&error) || !self.caller().route.can_try_again() => {
                    return Err(error);
                }
                // That the time is up says less than what has failed before.
                Err(error) if error.is_deadline() && last.is_some() => {}
                Err(error) => last = Some(error),
            }

            let again = Instant::now() + self.pause();
            sleep_until(again.min(deadline)).await;
            if again >= deadline {
                return Err(self.not_ready(timeout, last));
            }
        }
    }

    /// Asks one endpoint after another for its health, those that can be reached.
    ///
    /// # Errors
    /// What was wrong with the last one that was asked, or why none could be.
    async fn look_for_a_ready_one(&self, deadline: Instant) -> Result<(), Error> {
        let route = &self.caller().route;
        let mut asked = Vec::new();
        let mut last = None;

        loop {
            let hint = RouteHint {
                key: None,
                avoid: &asked,
            };
            let lease = match route.lease(hint, Some(deadline)).await {
                Ok(lease) => lease,
                Err(error) => return Err(last.unwrap_or(error)),
            };

            let address = Arc::clone(lease.connection.address());
            let is_again = asked.contains(&address);
            if let Some(error) = last.take_if(|_| is_again) {
                return Err(error);
            }

            match self.ask(lease, deadline).await {
                Ok(()) => return Ok(()),
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => last = Some(error),
            }
            asked.push(address);
        }
    }

    /// Asks an endpoint for its health, for no longer than connecting to one may take.
    async fn ask(&self, lease: Lease, deadline: Instant) -> Result<(), Error> {
        // A server that knows no ids may not know the command either; it takes connections, which is all that it tells.
        if self.options().kind.is_ordered() {
            return Ok(());
        }

        let address = Arc::clone(lease.connection.address());
        let limit = self.caller().config.timeouts.connect_timeout();
        let until = after(Instant::now(), limit).min(deadline);
        let params = RawJson::parse("{}").expect("it is JSON");
        let mut request = Request::new(self.cmdid(), params);

        let kind = CallKind::Multiplexed;
        let started = self
            .start_on(lease, &mut request, kind, Some(until))
            .await?;
        let Some(attempt) = started else {
            let cause = Cause::new("its connection took no call; another one is opened");
            return Err(Error::new(Kind::NotSent(cause), &address, None));
        };

        match attempt.answer().await {
            // Of a server that does not know the command, it is known that it answers.
            Err(error) if error.code() == Code::UNIMPLEMENTED => Ok(()),
            Err(error) => Err(error),
            Ok(answer) => {
                let health: Health = decode(answer.data.as_ref(), &address)?;
                if health.status == "serving" {
                    return Ok(());
                }

                let status = format!("its `health` is `{}`, not `serving`", health.status);
                let status = Status::unavailable(status).with_rejected();
                Err(Error::new(Kind::Status(status), &address, None))
            }
        }
    }

    /// How long to wait before the endpoints are looked at again; spread, so that clients that start together do not
    /// ask together.
    fn pause(&self) -> Duration {
        let reconnect = &self.caller().config.reconnect;
        let wanted = match reconnect.wanted_ms {
            0 => reconnect.base_ms,
            wanted => wanted.min(PAUSE_MS_MAX),
        };
        half_jitter(Duration::from_millis(wanted.max(1)))
    }

    fn not_ready(&self, timeout: Duration, last: Option<Error>) -> Error {
        let message = match &last {
            Some(last) => format!("not ready within {timeout:?}; the last failure: {last}"),
            None => format!("not ready within {timeout:?}, which was too short to connect"),
        };
        let code = last.as_ref().map_or(Code::DEADLINE_EXCEEDED, Error::code);
        let cause = Cause {
            message,
            source: last.map(|last| Arc::new(last) as _),
            code: Some(code),
        };

        Error::new(Kind::NotSent(cause), &self.caller().target, None)
    }
}

/// Whether waiting changes nothing: the settings cannot work, or the server has refused this client.
fn is_final(error: &Error) -> bool {
    if matches!(
        error.code(),
        Code::UNAUTHENTICATED | Code::PERMISSION_DENIED
    ) {
        return true;
    }

    cannot_work(error)
}

/// Whether the client has an address that is not one, or settings that cannot work: each of its calls fails.
pub(crate) fn cannot_work(error: &Error) -> bool {
    let source = error.source();
    source.is_some_and(|source| source.is::<ConfigError>() || source.is::<InvalidTarget>())
}
