//! State that all clones of a client share.

use std::sync::Arc;

use super::{Budget, Hedging};
use crate::balance::Route;
use crate::config::Config;
use crate::connection::LostOneways;
use crate::events::Events;

/// What all clones of a client share.
pub(crate) struct Stack {
    /// What the client was made for, as text.
    pub(crate) target: Arc<str>,
    pub(crate) config: Arc<Config>,
    pub(crate) events: Events,
    pub(crate) lost_oneways: LostOneways,
    pub(crate) route: Route,
    pub(crate) budget: Budget,
    /// None where calls have no backups.
    pub(crate) hedging: Option<Hedging>,
}
