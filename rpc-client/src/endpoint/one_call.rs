//! A connection for one call alone, which the call's own task opens: no other call waits for it, and nothing opens
//! another one in its place.

use std::sync::Arc;
use std::time::Duration;

use rpc_core::backoff::half_jitter;
use tokio::time::{Instant, sleep_until};

use super::connect::Connector;
use super::dialing::{Course, Dialing, Outage};
use crate::connection::{Common, Connection, Loss, LostOneways};
use crate::error::{Error, Kind};
use crate::time::{after, earliest};

/// Opens a connection for one call.
///
/// # Errors
/// The last error of connecting, where that has failed for longer than `reconnect.fail_fast_after_ms`; the deadline,
/// where it comes first. Either way nothing was sent.
pub(super) async fn connect(
    address: &Arc<str>,
    common: &Common,
    connector: &Connector,
    deadline: Option<Instant>,
) -> Result<Arc<Connection>, Error> {
    // The call learns what becomes of it: no later flush has to tell.
    let common = Common {
        lost_oneways: LostOneways::default(),
        ..common.clone()
    };

    let call = OneCall {
        address,
        common: &common,
        deadline,
    };
    Dialing::new(address, &common, connector).run(&call).await
}

/// A call that waits for its connection.
struct OneCall<'c> {
    address: &'c Arc<str>,
    common: &'c Common,
    deadline: Option<Instant>,
}

impl OneCall<'_> {
    /// When failing has lasted for so long that the call need not wait.
    fn patience(&self, outage: &Outage) -> Instant {
        after(outage.since, self.common.config.reconnect.fail_fast_after())
    }

    fn error(&self, kind: Kind) -> Error {
        Error::new(kind, self.address, None)
    }
}

impl Course for OneCall<'_> {
    type End = Error;

    fn next_attempt(
        &self,
        failing: Option<&Outage>,
        now: Instant,
    ) -> Result<Option<Instant>, Error> {
        let until = earliest(self.deadline, failing.map(|outage| self.patience(outage)));
        if until.is_none_or(|until| until > now) {
            return Ok(until);
        }

        Err(self.error(match failing {
            Some(outage) if until != self.deadline => Kind::NotSent(outage.last.clone()),
            _ => Kind::Deadline { was_sent: false },
        }))
    }

    async fn pause(&self, outage: &Outage, delay: Duration) -> Result<(), Error> {
        if outage.is_final {
            return Err(self.error(Kind::NotSent(outage.last.clone())));
        }

        let wanted_within = Duration::from_millis(self.common.config.reconnect.wanted_ms);
        let delay = if wanted_within.is_zero() {
            delay
        } else {
            delay.min(half_jitter(wanted_within))
        };

        let (now, patience) = (Instant::now(), self.patience(outage));
        let until = self
            .deadline
            .map_or(patience, |deadline| deadline.min(patience));
        if now < until {
            sleep_until(until.min(now + delay)).await;
        }
        Ok(())
    }

    fn at_end(&self) -> impl FnOnce(Loss) + Send + 'static {
        drop
    }
}
