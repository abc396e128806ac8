//! One shared connection per service in a process.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use dashmap::DashMap;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::config::{Config, Mode};

/// Clients by name or address: callers that ask for the same one get the same client, and with it the same
/// connections.
///
/// Most programs use the process's own through [`shared`]. A caller with options of its own gets a client of its
/// own from [`client_with`](Self::client_with), which shares nothing with these.
///
/// ```
/// use rpc_client::{Config, OwnOptions, Registry, ServiceConfig};
///
/// let registry = Registry::new(Config::default());
/// let settings = Config::default().with(|config| config.timeouts.call_timeout_ms = 500);
/// let target = "10.0.0.1:8889".into();
/// registry.define("log", ServiceConfig { target, settings, own_options: OwnOptions::Kept });
/// // One client, and one connection, for all that ask for it.
/// assert_eq!(registry.client("log").address(), registry.client("log").address());
/// ```
#[derive(Debug, Default)]
pub struct Registry {
    clients: DashMap<String, Client>,
    services: DashMap<String, ServiceConfig>,
    config: Config,
}

/// The target of a named service and how it is called, as written in a config file.
///
/// ```
/// use rpc_client::{Mode, Registry, ServiceConfig};
///
/// # fn main() -> Result<(), serde_json::Error> {
/// // The same as TOML: [log] target = "10.0.0.1:8889,10.0.0.2:8889" settings.pool.mode = { pooled = 2 }
/// let file = r#"{"log": {"target": "10.0.0.1:8889,10.0.0.2:8889", "settings": {"pool": {"mode": {"pooled": 2}}}}}"#;
/// let services: std::collections::BTreeMap<String, ServiceConfig> = serde_json::from_str(file)?;
/// assert_eq!(services["log"].settings.pool.mode, Mode::Pooled(2));
/// let registry = Registry::from_config(services);
/// assert_eq!(registry.client("log").address(), "10.0.0.1:8889,10.0.0.2:8889");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// What [`Client::new`] takes.
    pub target: String,
    /// The settings; what is left out has its default.
    #[serde(default)]
    pub settings: Config,
    /// What becomes of the connections of callers with options of their own; [`OwnOptions::Kept`] by default.
    #[serde(default)]
    pub own_options: OwnOptions,
}

/// The connections of callers that pass options of their own to [`shared_with`], and so do not share those of the
/// process.
///
/// In a file: `"kept"` or `"short"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnOptions {
    /// They are those of the settings' mode, and are kept as long as the caller keeps its client.
    #[default]
    Kept,
    /// There is one for each call ([`Mode::Short`]), whatever mode the settings and the options name: all that is kept
    /// in the process is what everybody shares.
    Short,
}

impl Registry {
    /// A registry without names, whose clients have these settings.
    pub fn new(config: Config) -> Self {
        Self {
            clients: DashMap::new(),
            services: DashMap::new(),
            config,
        }
    }

    /// A registry of these services; any other name is taken for an address, with default settings.
    pub fn from_config(services: BTreeMap<String, ServiceConfig>) -> Self {
        let registry = Self::default();
        for (name, service) in services {
            registry.define(name, service);
        }
        registry
    }

    /// Says where a service is and how it is called, from the next [`client`](Self::client) of this name
    /// on. Clients that exist already keep what they were made with.
    pub fn define(&self, name: impl Into<String>, service: ServiceConfig) {
        let name = name.into();
        self.services.insert(name.clone(), service);
        self.clients.remove(&name);
    }

    /// The client of this name or address; made, but not connected, by the first caller that asks.
    pub fn client(&self, name: &str) -> Client {
        // Asked for often and made once: the shared lock of a read is enough, as a rule.
        if let Some(client) = self.clients.get(name) {
            return client.clone();
        }

        let make = || {
            let service = self.service(name);
            Client::with_config(&service.target, service.settings)
        };
        self.clients
            .entry(name.to_owned())
            .or_insert_with(make)
            .clone()
    }

    /// A client of this name or address for one caller: with the settings of the service and what the caller changes of
    /// them. It shares its connections with its clones only; [`ServiceConfig::own_options`] says whether they are kept.
    ///
    /// ```
    /// use rpc_client::{Mode, Registry, ServiceConfig};
    ///
    /// # fn main() -> Result<(), serde_json::Error> {
    /// let file = r#"{"log": {"target": "10.0.0.1:8889", "own_options": "short"}}"#;
    /// let registry = Registry::from_config(serde_json::from_str(file)?);
    /// // Opens a connection for each of its calls, and leaves the shared one alone.
    /// let patient = registry.client_with("log", |config| config.timeouts.call_timeout_ms = 60_000);
    /// # let _ = patient;
    /// # Ok(())
    /// # }
    /// ```
    pub fn client_with(&self, name: &str, change: impl FnOnce(&mut Config)) -> Client {
        let service = self.service(name);
        let mut settings = service.settings.with(change);
        if service.own_options == OwnOptions::Short {
            settings.pool.mode = Mode::Short;
        }
        Client::with_config(&service.target, settings)
    }

    /// What is defined under this name; any other name is an address.
    fn service(&self, name: &str) -> ServiceConfig {
        let defined = self.services.get(name).map(|service| service.clone());
        defined.unwrap_or_else(|| ServiceConfig {
            target: name.to_owned(),
            settings: self.config.clone(),
            own_options: OwnOptions::default(),
        })
    }

    /// Forgets the client of this name or address. Its connections close when the last clone is gone.
    pub fn forget(&self, name: &str) {
        self.clients.remove(name);
    }
}

/// The process's registry, which [`shared`] asks: a program defines its services here when it starts.
pub fn registry() -> &'static Registry {
    static SHARED: LazyLock<Registry> = LazyLock::new(Registry::default);
    &SHARED
}

/// The process's client of this service, by its name in the [`registry`] or its address: a hundred tasks
/// that ask at the same moment share one connection.
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
pub fn shared(name: &str) -> Client {
    registry().client(name)
}

/// A client of this service for a caller with options of its own; see [`Registry::client_with`]. Its connections are
/// not those of [`shared`].
///
/// ```no_run
/// # async fn example() -> Result<(), rpc_client::Error> {
/// let patient = rpc_client::shared_with("log", |config| config.timeouts.call_timeout_ms = 60_000);
/// let seq: u64 = patient.call(1001, &"params").await?;
/// # let _ = seq;
/// # Ok(())
/// # }
/// ```
pub fn shared_with(name: &str, change: impl FnOnce(&mut Config)) -> Client {
    registry().client_with(name, change)
}
