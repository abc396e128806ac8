//! The settings of a broadcast.

use std::time::Duration;

use rpc_core::config::ConfigError;

/// The settings of a broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadcastConfig {
    /// Maximum number of items that wait for subscribers. Where a further one is published, `slow` says what becomes
    /// of the subscribers that have not taken the oldest. The default is 1,024.
    pub items_max: usize,
    /// Maximum length of these items in bytes, as JSON. The default is 4 MiB.
    pub bytes_max: usize,
    /// What becomes of subscribers that do not keep up. The default is [`SlowSubscriber::DropOldest`].
    pub slow: SlowSubscriber,
}

/// What becomes of a subscriber that has not taken the oldest item when there is no room for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowSubscriber {
    /// It misses the oldest items, and is told how many ([`Received::Dropped`](super::Received::Dropped)).
    #[default]
    DropOldest,
    /// Its stream ends with code 8, and the items that wait for it are dropped.
    End,
    /// Who publishes waits for it so long, and all other subscribers with that; then its stream ends with code 8.
    Wait(Duration),
}

impl Default for BroadcastConfig {
    fn default() -> Self {
        Self {
            items_max: 1_024,
            bytes_max: 4 * 1024 * 1024,
            slow: SlowSubscriber::default(),
        }
    }
}

impl BroadcastConfig {
    /// Checks the settings by themselves.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            ("items_max", self.items_max as u64),
            ("bytes_max", self.bytes_max as u64),
        ])
    }
}
