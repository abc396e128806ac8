//! Names of segments.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::StoreError;

/// The highest sequence number: the last integer that every JSON reader takes for what it is (RFC 8259
/// section 6).
pub(in crate::store) const SEQ_MAX: u64 = (1 << 53) - 1;

const EXTENSION: &str = ".ndjson";

/// The file of the segment that starts with `first`.
pub(in crate::store) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{EXTENSION}"))
}

/// The sequence number in the name of a segment, or `None` if the file is something else.
pub(in crate::store) fn first_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let first = digits
        .parse()
        .ok()
        .filter(|first| (1..=SEQ_MAX).contains(first))?;
    (format!("{first:020}") == digits).then_some(first)
}

/// Makes the names in a directory durable.
pub(in crate::store) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    // Elsewhere a directory cannot be opened as a file, and its names need no such step.
    if cfg!(unix) {
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(StoreError::io("fsync", dir))?;
    }

    Ok(())
}
