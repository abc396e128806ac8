//! Putting a client together.

use std::fmt;
use std::sync::Arc;

use crate::client::Client;
use crate::config::Config;
use crate::connect::{Connect, Connector};

/// Puts a client together; see [`Client::builder`].
#[derive(Clone)]
pub struct ClientBuilder {
    address: Arc<str>,
    config: Config,
    connector: Connector,
}

impl ClientBuilder {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: Arc::from(address), config: Config::default(), connector: Connector::default() }
    }

    /// The settings; those of [`Config::default`] without it.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Opens the byte streams, in the place of TCP and Unix sockets.
    #[must_use]
    pub fn connector(mut self, connect: impl Connect) -> Self {
        self.connector = Connector::Own(Arc::new(connect));
        self
    }

    /// The client. Nothing is opened before its first call.
    pub fn build(self) -> Client {
        Client::build(self.address, self.config, self.connector)
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("address", &self.address).finish_non_exhaustive()
    }
}
