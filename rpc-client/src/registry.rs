//! One shared connection per service in a process.

use std::sync::LazyLock;

use dashmap::DashMap;

use crate::client::Client;
use crate::config::Config;

/// Clients by address: whoever asks for the same address gets the same client, and with it the same
/// one connection.
///
/// Most programs use the process's own through [`shared`].
#[derive(Debug, Default)]
pub struct Registry {
    clients: DashMap<String, Client>,
    config: Config,
}

impl Registry {
    /// An empty registry whose clients have these settings.
    pub fn new(config: Config) -> Self {
        Self { clients: DashMap::new(), config }
    }

    /// The client of this address; made, but not connected, by whoever asks first.
    pub fn client(&self, address: &str) -> Client {
        // Asked for often and made once: the shared lock of a read is enough, as a rule.
        if let Some(client) = self.clients.get(address) {
            return client.clone();
        }
        let make = || Client::with_config(address, self.config.clone());
        self.clients.entry(address.to_owned()).or_insert_with(make).clone()
    }

    /// Forgets the client of this address. Its connection closes when the last clone is gone.
    pub fn forget(&self, address: &str) {
        self.clients.remove(address);
    }
}

/// The process's client of this address, with default settings: a hundred tasks that ask at the same
/// moment share one connection.
///
/// The connection is driven on the runtime of the call that opened it. Where that runtime ends, the
/// next call opens another one.
///
/// ```no_run
/// # async fn example() -> Result<(), rpc_client::Error> {
/// let seq: u64 = rpc_client::shared("log.internal:8889").call(1001, &"params").await?;
/// # let _ = seq;
/// # Ok(())
/// # }
/// ```
pub fn shared(address: &str) -> Client {
    static SHARED: LazyLock<Registry> = LazyLock::new(Registry::default);
    SHARED.client(address)
}
