//! By what a file is recognised, whatever its name, and what it holds at a place.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::SystemTime;

use rpc_core::Fingerprint;

use super::state::FileId;

/// Bytes at the beginning of a file, and before a place in it, by which they are recognised.
const PART_BYTES_MAX: u64 = 256;

/// The bytes from a place on, up to this number of them.
pub(super) fn read(file: &File, from: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], from + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

pub(super) fn id_of(file: &File) -> io::Result<FileId> {
    let metadata = file.metadata()?;
    let head_bytes = metadata.len().min(PART_BYTES_MAX);
    Ok(FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
        head: part(file, 0, head_bytes)?,
        head_bytes,
    })
}

/// Whether it is this file, with the beginning that it had.
pub(super) fn is_same(file: &File, id: &FileId) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let is_it = metadata.dev() == id.device && metadata.ino() == id.inode;
    Ok(is_it && has_head(file, id)?)
}

/// Whether it begins as this file did.
pub(super) fn has_head(file: &File, id: &FileId) -> io::Result<bool> {
    Ok(part(file, 0, id.head_bytes.min(PART_BYTES_MAX))? == id.head)
}

/// The fingerprint of the bytes before a place, which tell a file that was cut and has grown again.
pub(super) fn before(file: &File, place: u64) -> io::Result<String> {
    let from = place.saturating_sub(PART_BYTES_MAX);
    part(file, from, place - from)
}

/// When the file was written to last, in milliseconds since 1970.
pub(super) fn modified_ms(metadata: &Metadata) -> u64 {
    metadata.modified().map_or(0, ms_of)
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    ms_of(SystemTime::now())
}

fn ms_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn part(file: &File, from: u64, length: u64) -> io::Result<String> {
    let length = usize::try_from(length).unwrap_or_default();
    let bytes = read(file, from, length)?;
    Ok(format!("{:032x}", Fingerprint::of(&bytes).number()))
}
