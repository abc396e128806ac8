//! Figures about a store: its contents, and the work that it has done.

use rpc_core::api::log::LogStats;

use super::LogStore;
use super::emits::ByService;

/// How the log is kept.
const ENGINE: &str = "files";

impl LogStore {
    /// The figures of the store now.
    pub(crate) fn stats(&self) -> LogStats {
        let extent = self.extent();
        let ByService {
            named: services,
            others,
        } = self.services.stats();
        let dropped = services.values().map(|service| service.dropped);

        LogStats {
            log: extent.log,
            oldest: extent.oldest,
            last: extent.last,
            bytes: self.segments.total_bytes(),
            segments: self.segments.count(),
            compressed: self.segments.compressed(),
            damaged: self.damaged(),
            free_bytes: self.meter.free_bytes(),
            written: self.meter.entries(),
            dropped: dropped.sum::<u64>() + others.dropped,
            fsync_us: self.meter.sync_us(),
            batch_entries: self.meter.batch_entries(),
            services,
            others,
            engine: ENGINE.into(),
            synced: self.is_synced,
        }
    }
}
