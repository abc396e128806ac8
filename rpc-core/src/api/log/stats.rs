//! Figures of a log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a log holds, and what has been done since the server was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogStats {
    /// The identity of the log.
    pub log: String,
    /// The first number that may still be read.
    pub oldest: u64,
    /// The last number that was written.
    pub last: u64,
    /// Bytes of all files of entries together.
    pub bytes: u64,
    /// Number of files of entries.
    pub segments: u64,
    /// Number of them that are compressed.
    #[serde(default)]
    pub compressed: u64,
    /// Number of damaged lines that were found in them since the start.
    pub damaged: u64,
    /// Bytes that the file system of the log has left, where the server knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Number of entries that were written since the start.
    pub written: u64,
    /// Number of emitted entries that were dropped since the start.
    pub dropped: u64,
    /// How long the disk took to make entries durable, in microseconds; none without `fsync`.
    pub fsync_us: Spread,
    /// How many entries were written together.
    pub batch_entries: Spread,
    /// What each service has sent since the start; the first 1000 that came are told apart.
    pub services: BTreeMap<String, ServiceStats>,
    /// All other services together.
    pub others: ServiceStats,
    /// How the log is kept: `files`.
    pub engine: String,
    /// Whether acknowledged entries would outlive a loss of power.
    pub synced: bool,
}

/// The values of a figure, exact to an eighth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Spread {
    /// Number of values.
    pub count: u64,
    /// Half of the values are not above this one.
    pub p50: u64,
    /// 99 of 100 values are not above this one.
    pub p99: u64,
    /// The greatest value.
    pub max: u64,
}

/// What a service has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServiceStats {
    /// Number of entries that were taken.
    pub entries: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
    /// Number of emitted entries that were dropped.
    pub dropped: u64,
}
