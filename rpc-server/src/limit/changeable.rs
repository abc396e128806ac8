//! Settings that may change while the server serves.

use std::sync::atomic::Ordering::Relaxed;

use crate::config::Config;
use crate::sync::{AtomicBool, AtomicU32, AtomicUsize};

/// The settings that take effect at once when they change. All others are those that the server was built with.
///
/// Each is read and written by itself (relaxed): a connection that meets the old one a moment later loses nothing.
pub(crate) struct Changeable {
    connections_max: AtomicUsize,
    connections_per_address: AtomicUsize,
    access_log_per_million: AtomicU32,
    access_log_failures: AtomicBool,
}

impl Changeable {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            connections_max: AtomicUsize::new(config.limits.connections_max),
            connections_per_address: AtomicUsize::new(config.limits.connections_per_address),
            access_log_per_million: AtomicU32::new(config.access_log.per_million),
            access_log_failures: AtomicBool::new(config.access_log.failures),
        }
    }

    pub(crate) fn set(&self, config: &Config) {
        self.connections_max
            .store(config.limits.connections_max, Relaxed);
        self.connections_per_address
            .store(config.limits.connections_per_address, Relaxed);
        self.access_log_per_million
            .store(config.access_log.per_million, Relaxed);
        self.access_log_failures
            .store(config.access_log.failures, Relaxed);
    }

    pub(crate) fn connections_max(&self) -> usize {
        self.connections_max.load(Relaxed)
    }

    /// 0 for any number.
    pub(crate) fn connections_per_address(&self) -> usize {
        self.connections_per_address.load(Relaxed)
    }

    /// How many calls of a million are logged, at random.
    #[inline]
    pub(crate) fn access_log_per_million(&self) -> u32 {
        self.access_log_per_million.load(Relaxed)
    }

    /// Whether all calls that fail are logged.
    #[inline]
    pub(crate) fn access_log_failures(&self) -> bool {
        self.access_log_failures.load(Relaxed)
    }
}
