//! Putting a layer together.

use std::io;

use super::super::shipper::{BlockingShipper, ShipperConfig};
use super::{LogGuard, LogLayer};
use crate::client::{Client, ClientBuilder};
use crate::discover::Target;

/// Begins a layer that sends events to the log at this target; see [the module](super).
pub fn layer(target: impl Into<Target>) -> LayerBuilder {
    LayerBuilder {
        client: Client::builder(target),
        service: None,
        config: ShipperConfig::default(),
    }
}

/// Puts a layer together; see [`layer`].
#[derive(Debug)]
pub struct LayerBuilder {
    client: ClientBuilder,
    service: Option<String>,
    config: ShipperConfig,
}

impl LayerBuilder {
    /// The service of the entries. Without it they have the name of the program's file.
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// The bounds of the queue and of its batches.
    #[must_use]
    pub fn config(mut self, config: ShipperConfig) -> Self {
        self.config = config;
        self
    }

    /// Changes how the layer connects: its token, TLS, other settings.
    #[must_use]
    pub fn client(mut self, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        self.client = change(self.client);
        self
    }

    /// Starts the thread, and makes the layer and its guard. Nothing is connected before the first event.
    ///
    /// # Errors
    /// Those of the system: it has no room for a thread.
    pub fn build(self) -> io::Result<(LogLayer, LogGuard)> {
        let service = self.service.unwrap_or_else(program);
        let close_timeout = self.config.close_timeout();
        let shipper = BlockingShipper::start(self.client, service, self.config)?;

        let guard = LogGuard::new(shipper, close_timeout);
        Ok((LogLayer::new(guard.queue()), guard))
    }
}

/// The name of the program's file.
fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(|path| path.file_stem());
    name.map_or_else(
        || "program".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}
