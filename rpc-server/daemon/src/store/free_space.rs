//! Free space of a file system.

use std::io;
use std::path::Path;

/// The bytes that the file system of a directory has left for this process.
#[cfg(feature = "program")]
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Only the program asks the system: a daemon in another one is built without that.
#[cfg(not(feature = "program"))]
pub(super) fn free_bytes(_: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}
