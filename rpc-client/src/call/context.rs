//! The state that all clones of a client share.

use std::sync::Arc;

use super::{Budget, Hedging};
use crate::balance::Route;
use crate::config::Config;
use crate::connection::LostOneways;
use crate::events::Events;
use crate::metrics::Metrics;

/// What all clones of a client share: its settings, and the way to its connections. Every call of a
/// [`Client`](crate::Client) is made by it.
pub struct CallContext {
    /// What the client was made for, as text.
    pub(crate) target: Arc<str>,
    pub(crate) config: Arc<Config>,
    pub(crate) events: Events,
    pub(crate) lost_oneways: LostOneways,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) route: Route,
    pub(crate) budget: Budget,
    /// None where calls have no backups.
    pub(crate) hedging: Option<Hedging>,
}
