//! Putting a client together.

use std::fmt;
use std::sync::Arc;

use crate::balance::Route;
use crate::client::Client;
use crate::config::Config;
use crate::connection::Common;
use crate::discover::Target;
use crate::endpoint::authenticate::Token;
use crate::endpoint::connect::{Connect, Connector, Way};
use crate::endpoint::pool::Dialer;

/// Puts a client together; see [`Client::builder`].
///
/// ```
/// use rpc_client::{Client, Config, Mode};
///
/// let settings = Config::default().with(|config| config.pool.mode = Mode::Pooled(4));
/// let client = Client::builder("10.0.0.1:8889,10.0.0.2:8889")
///     .config(settings)
///     .token("the-token-of-this-service")
///     .build();
/// assert!(!client.is_connected(), "nothing is opened before the first call");
/// ```
#[derive(Clone)]
pub struct ClientBuilder {
    target: Target,
    config: Config,
    connector: Connector,
}

impl ClientBuilder {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            config: Config::default(),
            connector: Connector::default(),
        }
    }

    /// The settings; those of [`Config::default`] without it.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Opens the byte streams, instead of TCP and Unix sockets.
    #[must_use]
    pub fn connector(mut self, connect: impl Connect) -> Self {
        self.connector.way = Way::Own(Arc::new(connect));
        self
    }

    /// The token by which each new connection authenticates before it takes calls (command 6, `authenticate`), instead
    /// of `pool.token_file`. It is kept in memory as it is, and appears in no log.
    ///
    /// A server that knows no tokens is called without. One that refuses the token fails the calls with its
    /// code, 16 as a rule, and is asked again after `reconnect.cap_ms` at the earliest.
    #[must_use]
    pub fn token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.connector.token = Some(Token(token.into()));
        self
    }

    /// The client. Nothing is opened before its first call. With settings that [`Config::check`] refuses, every call
    /// fails, as not sent, with what is wrong with them.
    pub fn build(self) -> Client {
        let Self {
            mut target,
            mut config,
            connector,
        } = self;

        // A connector of the user's own may call an endpoint whatever it likes.
        if let Way::Own(_) = connector.way {
            target = target.or_as_it_is();
        }

        // Settings that cannot work must not hide what is wrong with them.
        if let Err(error) = config.check() {
            target = target.misconfigured(error);
            config = Config::default();
        }

        let dialer = Dialer {
            common: Common::new(Arc::new(config)),
            connector,
        };

        let common = dialer.common.clone();
        let route = Route::new(&target, dialer);
        Client::from_parts(Arc::clone(target.name()), common, route)
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
