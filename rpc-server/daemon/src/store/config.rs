//! Settings of the store.

use std::time::Duration;

/// The limits of a [`LogStore`](super::LogStore).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// How many bytes a segment holds before the next one is begun. A batch is never split, so that one
    /// larger than this makes a larger segment. Default 64 MiB.
    pub(crate) segment_bytes: u64,
    /// How old a segment gets before the next one is begun, which may then be empty; zero, the default, for any age.
    pub(crate) segment_age: Duration,
    /// How many bytes of entries may wait for the disk before further ones are refused. Default 8 MiB.
    pub(crate) queue_bytes_max: usize,
    /// How many bytes of emitted entries may wait for the disk before further ones are dropped. Default 16 MiB.
    pub(crate) emit_queue_bytes_max: usize,
    /// How many bytes of entries one service may append in a second, in bursts of as much; 0, the default, for any number.
    pub(crate) service_bytes_per_second: u64,
    /// How many bytes all segments together may have before the oldest is deleted; the newest is always kept.
    /// 0, the default, keeps all.
    pub(crate) retention_bytes: u64,
    /// How long ago the last entry of a segment may have been written before it is deleted; the newest is always
    /// kept. Zero, the default, keeps all.
    pub(crate) retention_age: Duration,
    /// How many bytes of the file system stay free: while there are fewer, the oldest segments are deleted; the newest is
    /// always kept. 0, the default, deletes none for that.
    pub(crate) keep_free_bytes: u64,
    /// What becomes of closed segments. Default [`None`](Compression::None).
    pub(crate) compression: Compression,
    /// Whether an append is acknowledged only when its entry would outlive a loss of power, and not already
    /// when it would outlive the process. Default true.
    pub(crate) fsync: bool,
    /// How long the key of an append is remembered. Default 10 minutes.
    pub(crate) dedup_age: Duration,
    /// How many bytes the keys of appends may take before the oldest are forgotten. Default 64 MiB.
    pub(crate) dedup_bytes_max: usize,
    /// How many scans of the files may run at one time. Default 8.
    pub(crate) scans_max: usize,
    /// The longest wait of a read; a read that asks for a longer one waits so long. Default 24 hours.
    pub(crate) wait_max: Duration,
}

/// What an entry that is written outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// A loss of power: what is written is synced.
    Power,
    /// The end of the process.
    Process,
}

impl LogConfig {
    pub(crate) fn durability(&self) -> Durability {
        match self.fsync {
            true => Durability::Power,
            false => Durability::Process,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            segment_age: Duration::ZERO,
            queue_bytes_max: 8 * 1024 * 1024,
            emit_queue_bytes_max: 16 * 1024 * 1024,
            service_bytes_per_second: 0,
            retention_bytes: 0,
            retention_age: Duration::ZERO,
            keep_free_bytes: 0,
            compression: Compression::None,
            fsync: true,
            dedup_age: Duration::from_secs(600),
            dedup_bytes_max: 64 * 1024 * 1024,
            scans_max: 8,
            // It only keeps the sum of now and a wait in range.
            wait_max: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// What becomes of closed segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// They stay as they are.
    None,
    /// They are compressed in the background.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// Whether the store can do its work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// The last write has failed. Once a second it is tried whether the disk takes something again.
    pub(crate) cannot_write: bool,
    /// A segment could not be read, and trying again has failed.
    pub(crate) cannot_read: bool,
}

impl Health {
    pub(crate) fn is_good(self) -> bool {
        self == Self::default()
    }
}
