//! The settings of a shipper.

use std::time::Duration;

/// The settings of a shipper: a plain struct; set what differs.
///
/// ```
/// use rpc_client::log::ShipperConfig;
///
/// let config = ShipperConfig {
///     queue_bytes_max: 1 << 20,
///     ..ShipperConfig::default()
/// };
/// # let _ = config;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShipperConfig {
    /// Maximum number of bytes of entries, as JSON, that wait or are under way. Further entries are dropped and counted. The
    /// last eighth is for entries of the levels `error` and `fatal`. Default: 8,388,608.
    pub queue_bytes_max: usize,
    /// Maximum number of entries that wait or are under way, with the same reserve. Default: 65,536.
    pub queue_entries_max: usize,
    /// Maximum number of entries in a batch, 1 to 10,000. Default: 256.
    pub batch_entries_max: usize,
    /// Bytes at which a batch ends. An entry that is longer is a batch of its own. Default: 65,536.
    pub batch_bytes_max: usize,
    /// Maximum time in milliseconds that an entry waits for others before its batch is sent. Default: 200.
    pub batch_age_max_ms: u64,
    /// Maximum number of batches under way at once, 1 to 32. Default: 4.
    pub batches_in_flight_max: usize,
    /// Time in milliseconds after which a batch without an answer is sent again. Default: 10,000.
    pub batch_timeout_ms: u64,
    /// Time in milliseconds in which the rest of the queue is sent after the last handle was dropped without
    /// `close`. Default: 2,000.
    pub close_timeout_ms: u64,
}

/// Longest entry in bytes, as JSON: with what is around it, it fits into the 1 MiB of a line that servers read.
pub(super) const ENTRY_BYTES_MAX: usize = 1_000_000;

/// Largest [`ShipperConfig::batches_in_flight_max`], and most numbers from the oldest batch under way to the newest: the log
/// remembers the last 64 batches of a producer.
pub(super) const WINDOW: u64 = 32;

impl Default for ShipperConfig {
    fn default() -> Self {
        Self {
            queue_bytes_max: 8 << 20,
            queue_entries_max: 1 << 16,
            batch_entries_max: 256,
            batch_bytes_max: 64 << 10,
            batch_age_max_ms: 200,
            batches_in_flight_max: 4,
            batch_timeout_ms: 10_000,
            close_timeout_ms: 2_000,
        }
    }
}

impl ShipperConfig {
    /// These settings within the limits of the protocol: what is outside becomes the nearest value that works.
    pub(super) fn within_limits(mut self) -> Self {
        let batch_max = rpc_core::api::log::BATCH_ENTRIES_MAX;
        self.batch_entries_max = self.batch_entries_max.clamp(1, batch_max);
        self.batch_bytes_max = self.batch_bytes_max.clamp(1, ENTRY_BYTES_MAX);
        self.batches_in_flight_max = self.batches_in_flight_max.clamp(1, 32);
        self.batch_timeout_ms = self.batch_timeout_ms.max(1);
        self
    }

    pub(super) fn batch_age_max(&self) -> Duration {
        Duration::from_millis(self.batch_age_max_ms)
    }

    pub(super) fn batch_timeout(&self) -> Duration {
        Duration::from_millis(self.batch_timeout_ms)
    }

    pub(in super::super) fn close_timeout(&self) -> Duration {
        Duration::from_millis(self.close_timeout_ms)
    }
}
