//! A record of the store's state: a small file of JSON, which is replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use super::segment::FILE_MODE;

/// Writes a record, and syncs it. Its name is not durable before the directory is synced.
pub(super) fn write(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_all()?;

    fs::rename(new, path)
}
