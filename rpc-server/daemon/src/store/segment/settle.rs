//! Segments that are not the newest and may not be on the disk: syncing them before anything of them is shown or answered.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::StoreError;
use super::path;
use super::recover::{Writes, open_itself};

/// How many bytes are copied at a time.
const BLOCK_BYTES: usize = 256 * 1024;

/// Syncs the plain files of segments. Compressed ones are synced when they are made.
///
/// # Errors
///
/// Those of a sync. A file that cannot be opened is left out: nothing of it is read.
pub(in crate::store) fn sync_older(dir: &Path, firsts: &[u64]) -> Result<(), StoreError> {
    for first in firsts {
        let path = path(dir, *first);
        if let Ok(file) = File::open(&path) {
            file.sync_data()
                .map_err(StoreError::io("fdatasync", &path))?;
        }
    }
    Ok(())
}

/// Writes the bytes of a segment from `from` on once more, where they are, and syncs them.
///
/// Their first write has failed. After that, the system may have taken the bytes for written, and a sync alone would say
/// nothing about them. If they were cut off, the sync makes that durable.
///
/// # Errors
///
/// Those of the disk. A segment without a plain file is left out: only what was on the disk is ever compressed.
pub(in crate::store) fn write_again(dir: &Path, first: u64, from: u64) -> Result<(), StoreError> {
    let path = path(dir, first);
    let file = match open_itself(&path, Writes::AtOffset) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(StoreError::io("open", &path))?,
    };

    copy_onto_itself(&file, from)
        .and_then(|()| file.sync_all())
        .map_err(StoreError::io("write again to", &path))
}

fn copy_onto_itself(file: &File, from: u64) -> io::Result<()> {
    // Retention goes by it.
    let modified = file.metadata()?.modified()?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = from;

    loop {
        let read = file.read_at(&mut block, at)?;
        if read == 0 {
            return file.set_modified(modified);
        }
        file.write_all_at(&block[..read], at)?;
        at += read as u64;
    }
}
