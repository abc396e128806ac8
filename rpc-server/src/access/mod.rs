//! Access control: identities, shown by a certificate or a token, and what is granted to them.

pub(crate) mod audit;
#[cfg(feature = "tokens")]
mod failures;
mod grants;
#[cfg(feature = "http")]
pub(crate) mod hosts;
pub(crate) mod policy;
#[cfg(feature = "tokens")]
mod tokens;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rpc_core::builtins::{Builtin, Callers};
use rpc_core::{CmdId, Peer, Status};

use crate::config::Config;
use crate::metrics::{AccessCounters, AccessStats, add};
use crate::peer_log::PeerLog;
use crate::sync::{AtomicU64, Mutex, RwLock};
#[cfg(feature = "tls")]
use crate::tls::ServerTls;

#[cfg(feature = "tokens")]
use failures::Failures;
pub(crate) use grants::CommandSet;
pub use grants::{GrantError, Grants};
pub(crate) use policy::{Beginnings, Policy};
#[cfg(feature = "tokens")]
pub use tokens::{Tokens, TokensError};

/// What a server knows of its callers. All of it may change while it serves.
#[derive(Default)]
pub(crate) struct Access {
    /// Raised with each change, so that a connection sees with one load whether it must look again.
    generation: AtomicU64,
    /// None where nothing is granted to anybody in particular: then all may call all.
    grants: RwLock<Option<Arc<Grants>>>,
    #[cfg(feature = "tokens")]
    tokens: RwLock<Option<Arc<Tokens>>>,
    #[cfg(feature = "tokens")]
    failures: Mutex<Failures>,
    pub(crate) counters: AccessCounters,
    pub(crate) log: Arc<PeerLog>,
    /// Those of the listeners.
    #[cfg(feature = "tls")]
    certificates: Vec<ServerTls>,
}

/// What a connection may call now.
#[derive(Clone, Default)]
pub(crate) enum Authorization {
    /// Everything: the way of a server without grants.
    #[default]
    Open,
    /// Nothing, before it has authenticated.
    Closed,
    /// What was granted to it.
    Granted(Arc<CommandSet>),
}

/// A token that was taken, to be told apart once tokens change.
#[cfg(feature = "tokens")]
pub(crate) type TokenHash = [u8; 32];
#[cfg(not(feature = "tokens"))]
pub(crate) type TokenHash = std::convert::Infallible;

/// How a token was received.
pub(crate) enum TokenCheck {
    /// It is this identity's.
    Known(Arc<str>, TokenHash),
    /// Answered, after a while.
    Refused(Status, Duration),
    /// This server has no tokens.
    NotWanted,
}

impl Authorization {
    /// Whether the command passes without a look at its params.
    pub(crate) fn allows(&self, cmdid: CmdId) -> bool {
        match self {
            Self::Open => true,
            Self::Closed => {
                Builtin::of(cmdid).is_some_and(|builtin| builtin.callers == Callers::Anyone)
            }
            // They tell of the server and of the caller's own connection.
            Self::Granted(commands) => cmdid.is_built_in() || commands.has(cmdid.number()),
        }
    }

    /// Whether `stats` lists the connections of others: where there are grants, to who has one for it.
    pub(crate) fn shows_others(&self) -> bool {
        match self {
            Self::Open => true,
            Self::Closed => false,
            Self::Granted(commands) => commands.has(CmdId::STATS.number()),
        }
    }

    /// Why a command did not pass.
    pub(crate) fn refusal(&self, peer: &Peer, cmdid: CmdId) -> Status {
        match (self, peer.identity()) {
            (Self::Closed, _) => Status::unauthenticated(
                "this connection is not authenticated; call command 6 `authenticate` first, or use a \
                 client certificate",
            ),
            (_, Some(identity)) => {
                Status::permission_denied(format!("`{identity}` has no grant for command {cmdid}"))
            }
            (_, None) => Status::permission_denied(format!(
                "anonymous callers may not call command {cmdid}; authenticate first, with command 6 \
                 `authenticate` or a client certificate"
            )),
        }
    }
}

impl Access {
    /// What the gates of connections were made from; another number means that there is something new.
    pub(crate) fn generation(&self) -> u64 {
        // Relaxed: who changes something does not wait for others to see it.
        self.generation.load(Ordering::Relaxed)
    }

    /// Notes what a listener has that is to be seen from outside.
    #[cfg(feature = "tls")]
    pub(crate) fn add_listener(&mut self, policy: &Policy) {
        // The listeners of one setting share theirs.
        if let Some(tls) = &policy.tls
            && !self.certificates.iter().any(|other| other.is_same(tls))
        {
            self.certificates.push(tls.clone());
        }
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "as the one with TLS")]
    pub(crate) fn add_listener(&mut self, _policy: &Policy) {}

    pub(crate) fn stats(&self) -> AccessStats {
        let certificate_expires_unix_seconds = self.certificate_expires();
        AccessStats {
            certificate_expires_unix_seconds,
            ..self.counters.snapshot()
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn certificates(&self) -> &[ServerTls] {
        &self.certificates
    }

    #[cfg(feature = "tls")]
    fn certificate_expires(&self) -> u64 {
        let first = self.certificates.iter().map(ServerTls::expires).min();
        let since_epoch = first.and_then(|first| first.duration_since(std::time::UNIX_EPOCH).ok());
        since_epoch.map_or(0, |since| since.as_secs())
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "as the one with TLS")]
    fn certificate_expires(&self) -> u64 {
        0
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_grants(&self, grants: Option<Grants>) {
        *self.grants.write().unwrap_or_else(PoisonError::into_inner) = grants.map(Arc::new);
        self.changed();
    }

    /// Whether a caller can authenticate by a token.
    #[cfg(all(feature = "admin", feature = "tokens"))]
    pub(crate) fn has_tokens(&self) -> bool {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.is_some()
    }

    #[cfg(all(feature = "admin", not(feature = "tokens")))]
    #[expect(clippy::unused_self, reason = "as where there are tokens")]
    pub(crate) fn has_tokens(&self) -> bool {
        false
    }

    #[cfg(feature = "tokens")]
    pub(crate) fn set_tokens(&self, tokens: Option<Tokens>) -> bool {
        let mut current = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = current.as_deref() != tokens.as_ref();
        *current = tokens.map(Arc::new);
        drop(current);

        if is_other {
            self.changed();
        }

        is_other
    }

    /// What a connection may call. `token` is the one that it has shown, which may be one no longer.
    pub(crate) fn authorization(
        &self,
        policy: &Policy,
        peer: &Peer,
        token: Option<&TokenHash>,
    ) -> Authorization {
        if policy.requires_authentication && peer.identity().is_none() || self.is_revoked(token) {
            return Authorization::Closed;
        }

        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        grants.as_ref().map_or(Authorization::Open, |grants| {
            Authorization::Granted(grants.of(peer.identity()))
        })
    }

    #[cfg(feature = "tokens")]
    fn is_revoked(&self, token: Option<&TokenHash>) -> bool {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        token.is_some_and(|token| !tokens.as_ref().is_some_and(|tokens| tokens.has(token)))
    }

    #[cfg(not(feature = "tokens"))]
    #[expect(clippy::unused_self, reason = "as the one with tokens")]
    fn is_revoked(&self, _token: Option<&TokenHash>) -> bool {
        false
    }

    #[cfg(not(feature = "tokens"))]
    #[expect(clippy::unused_self, reason = "as the one with tokens")]
    pub(crate) fn verify(&self, _token: &str, _peer: &Peer, _config: &Config) -> TokenCheck {
        TokenCheck::NotWanted
    }

    /// Looks a token up.
    #[cfg(feature = "tokens")]
    pub(crate) fn verify(&self, token: &str, peer: &Peer, config: &Config) -> TokenCheck {
        let tokens = self
            .tokens
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(tokens) = tokens else {
            return TokenCheck::NotWanted;
        };

        if let Some(status) = self.too_many_failures(peer, config) {
            return TokenCheck::Refused(status, Duration::ZERO);
        }

        if let Some((identity, hash)) = tokens.find(token) {
            return TokenCheck::Known(identity, hash);
        }

        add(&self.counters.token_failures, 1);
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(peer, config, Instant::now());
        audit::token_refused(&self.log, peer);

        let status = Status::unauthenticated("this token is not known to the server");
        TokenCheck::Refused(
            status,
            Duration::from_millis(config.token_failures.delay_ms),
        )
    }

    #[cfg(feature = "tokens")]
    fn too_many_failures(&self, peer: &Peer, config: &Config) -> Option<Status> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let again = failures.blocked_for(peer, config, Instant::now())?;

        add(&self.counters.token_failures_limited, 1);
        let limit = config.token_failures.per_address;
        audit::tokens_limited(&self.log, peer, limit);

        let message = format!(
            "the token was not checked: this address has sent `token_failures.per_address` ({limit}) wrong tokens \
             within `token_failures.window_ms`; try again later"
        );

        Some(
            Status::resource_exhausted(message)
                .with_rejected()
                .with_retry_after(again),
        )
    }
}
