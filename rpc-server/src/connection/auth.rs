//! Authentication of a connection: what its peer may call before and after it.

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use futures::FutureExt;
use rpc_core::scope::LazyCancellation;
use rpc_core::{Outcome, Reply, Request, Status};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::call::{Arrival, Terms};
use super::lifecycle::Phase;
use super::session::Session;
use super::timers::Timer;
use crate::access::{Authorization, TokenCheck, TokenHash, audit};
use crate::instance::instance;
use crate::metrics::add;

/// What the peer may call now, and how it came to that.
#[derive(Default)]
pub(super) struct Auth {
    authorization: Authorization,
    /// What the authorization was made from.
    generation: Option<u64>,
    /// The token that the peer has shown. Most show none.
    token: Option<Box<TokenHash>>,
    /// Whether a refusal was logged: one is enough to know.
    was_refused: bool,
}

impl Auth {
    #[inline]
    pub(super) fn authorization(&self) -> &Authorization {
        &self.authorization
    }
}

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Looks whether tokens or grants are others than when the authorization was made.
    #[inline]
    pub(super) fn look_after_auth(&mut self) {
        if self.auth.generation != Some(self.host.access.generation()) {
            self.set_gate();
            self.end_refused_calls();
        }
    }

    /// Ends the calls in flight that the authorization does not allow any more. One that is not answered goes on: it was
    /// allowed when it began, and tells the peer nothing.
    fn end_refused_calls(&mut self) {
        let authorization = self.auth.authorization.clone();
        let refused = self
            .in_flight
            .abort_all(|terms| !terms.oneway && !authorization.allows(terms.cmdid));
        for terms in refused {
            self.stats.unparked(terms.command);
            self.end(&terms, Err(authorization.refusal(&self.peer, terms.cmdid)));
        }
    }

    fn set_gate(&mut self) {
        // Read first: what changes in between is seen at the next look.
        self.auth.generation = Some(self.host.access.generation());
        self.auth.authorization =
            self.host
                .access
                .authorization(&self.policy, &self.peer, self.auth.token.as_deref());

        if matches!(self.auth.authorization, Authorization::Closed) {
            let limit = Duration::from_millis(self.host.config.accept.authentication_timeout_ms);
            self.timers
                .set_once(Timer::Authentication, || Instant::now() + limit);
        } else {
            self.timers.stop(Timer::Authentication);
        }
    }

    /// Answers a call that is not authorized; its params were not looked at.
    pub(super) fn refuse(&mut self, request: &Request<'_>, arrival: Arrival) {
        self.spend_throttle();
        let status = self.auth.authorization.refusal(&self.peer, request.cmdid);

        let counters = &self.host.access.counters;
        match self.auth.authorization {
            Authorization::Closed => add(&counters.unauthenticated_calls, 1),
            Authorization::Open | Authorization::Granted(_) => {
                add(&counters.calls_without_grant, 1);
            }
        }

        if !std::mem::replace(&mut self.auth.was_refused, true) {
            audit::command_refused(&self.host.log, &self.peer, request.cmdid);
        }

        self.turn_away(request, arrival, &status);
    }

    /// Takes a token. A wrong one is answered later, by a call that only waits.
    pub(super) fn authenticate(
        &mut self,
        cx: &mut Context<'_>,
        request: &Request<'_>,
        terms: Terms,
    ) {
        #[derive(Deserialize)]
        struct Authenticate {
            token: String,
        }

        let Ok(Authenticate { token }) = request.params.decode() else {
            // Without the reader's own words, which may hold a part of the token.
            let message =
                "`params` must be an object with the `token`, a string: {\"token\":\"…\"}";
            return self.end(&terms, Err(Status::invalid_argument(message)));
        };

        let outcome = match self
            .host
            .access
            .verify(&token, &self.peer, &self.host.config)
        {
            TokenCheck::NotWanted => Err(Status::unimplemented(
                "this server has no tokens; call without `authenticate`",
            )),
            TokenCheck::Known(identity, token) => self.identify(&identity, token),
            TokenCheck::Refused(status, after) => {
                let wait = async move {
                    tokio::time::sleep(after).await;
                    Err(status)
                };
                return self.poll_call(cx, &terms, wait.boxed(), LazyCancellation::default());
            }
        };

        self.end(&terms, outcome);
    }

    fn identify(&mut self, identity: &Arc<str>, token: TokenHash) -> Outcome {
        let holds = self.peer.set_identity(Arc::clone(identity));
        if *holds != **identity {
            let message = format!(
                "this connection has authenticated as `{holds}`, and cannot change its identity"
            );
            return Err(Status::failed_precondition(message));
        }

        self.call_count.identify(&self.peer);
        add(&self.host.access.counters.authentications, 1);
        audit::identified(&self.host.log, &self.peer, audit::By::Token);
        self.auth.token = Some(Box::new(token));
        self.set_gate();
        Reply::new(&json!({ "identity": **identity, "instance": instance() }))
    }

    pub(super) fn not_authenticated_in_time(&mut self) {
        // One that is on its way out already has limits of its own.
        if !self.lifecycle.phase().takes_requests() {
            return;
        }

        let limit = self.host.config.accept.authentication_timeout_ms;
        add(&self.host.access.counters.authentication_timeouts, 1);
        audit::not_authenticated_in_time(&self.host.log, &self.peer, limit);

        let message =
            format!("not authenticated within `accept.authentication_timeout_ms` of {limit} ms");
        self.verdict(None, &Status::unauthenticated(message));
        self.enter(Phase::Finishing, None);
    }
}
