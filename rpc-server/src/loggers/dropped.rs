//! Lines that were dropped or lost, counted by the names of their loggers: a logger that is replaced by one of the same name
//! counts on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use crate::sync::Mutex;

/// A count of dropped lines. Clones are the same count.
#[derive(Clone, Default)]
pub(super) struct DroppedLines(Arc<AtomicU64>);

impl DroppedLines {
    pub(super) fn add(&self, lines: u64) {
        // Relaxed, here and below: a count, nothing is published with it.
        self.0.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of all loggers that there have been. Their names are those of settings, and so few.
#[derive(Default)]
pub(super) struct DroppedByLogger(Mutex<BTreeMap<String, DroppedLines>>);

impl DroppedByLogger {
    /// The count of the logger of this name.
    pub(super) fn of(&self, logger: &str) -> DroppedLines {
        // An insertion leaves it whole.
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.entry(logger.to_owned()).or_default().clone()
    }
}
