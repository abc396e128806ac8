//! Figures of a log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The size of a log, and counters since the start of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogStats {
    /// Identity of the log.
    pub log: String,
    /// Lowest number that can still be read.
    pub oldest: u64,
    /// Number of the last entry that was written.
    pub last: u64,
    /// Size of all files of entries together, in bytes.
    pub bytes: u64,
    /// Number of files of entries.
    pub segments: u64,
    /// Number of these files that are compressed.
    #[serde(default)]
    pub compressed: u64,
    /// Number of damaged lines that were found in these files since the start.
    pub damaged: u64,
    /// Free space of the log's file system, in bytes; missing if the server does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Number of entries that were written since the start.
    pub written: u64,
    /// Number of emitted entries that were dropped since the start.
    pub dropped: u64,
    /// Time that the disk took to make entries durable, in microseconds. Without `fsync`, there are no values.
    pub fsync_us: Spread,
    /// Number of entries that were written together.
    pub batch_entries: Spread,
    /// What each service has sent since the start, by its name. Only the first 1000 services are counted by name.
    pub services: BTreeMap<String, ServiceStats>,
    /// What all other services have sent together.
    pub others: ServiceStats,
    /// The kind of the log's storage: `files`.
    pub engine: String,
    /// Whether acknowledged entries survive a loss of power.
    pub synced: bool,
}

/// The distribution of measured values. Each value is exact to within an eighth of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Spread {
    /// Number of values.
    pub count: u64,
    /// Half of the values are at most this.
    pub p50: u64,
    /// 99 % of the values are at most this.
    pub p99: u64,
    /// The highest value.
    pub max: u64,
}

/// What a service has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServiceStats {
    /// Number of entries that were accepted.
    pub entries: u64,
    /// Size of these entries as they are stored, in bytes.
    pub bytes: u64,
    /// Number of emitted entries that were dropped.
    pub dropped: u64,
}
