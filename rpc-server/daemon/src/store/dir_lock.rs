use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::StoreError;
use super::segment::FILE_MODE;

/// The right to write to a directory, which one store at a time has. It ends with the process at the latest.
#[derive(Debug)]
pub(super) struct DirLock(File);

impl DirLock {
    /// Takes the lock of a directory, or fails with [`Locked`](StoreError::Locked).
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;

        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.into() }),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path)(error)),
        }
    }
}

impl Drop for DirLock {
    /// Closing the file is not enough: a process that is just being started from this one has it open as
    /// well, until it runs its own program.
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked by closing it, if a moment later.
        let _ = self.0.unlock();
    }
}
