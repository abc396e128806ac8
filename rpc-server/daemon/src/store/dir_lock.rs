//! The lock of the store's directory, which one process holds.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rpc_server::sync_dir;

use super::StoreError;
use super::segment::FILE_MODE;

/// The right to write to a directory, which one store at a time has. It ends with the process at the latest.
///
/// The directory itself is locked, so that removing a file in it lets no second store in. The file `lock` is locked
/// as well: a daemon of an earlier version looks at that, and some network file systems lock no directories.
#[derive(Debug)]
pub(super) struct DirLock {
    dir: File,
    file: File,
}

impl DirLock {
    /// Takes the lock of a directory, or fails with [`Locked`](StoreError::Locked).
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let dir = File::open(path).map_err(StoreError::io("open", path))?;
        match dir.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { dir: path.into() }),
            // The lock of the file has to do.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }

        let name = path.join("lock");
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&name)
            .map_err(StoreError::io("open", &name))?;

        match file.try_lock() {
            Ok(()) => Ok(Self { dir, file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: path.into() }),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &name)(error)),
        }
    }

    /// Makes the names in the directory durable. It takes no descriptor.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync_dir(&self.dir)
    }
}

impl Drop for DirLock {
    /// Closing the files is not enough: a process that is just being started from this one has them open as
    /// well, until it runs its own program.
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked by closing it, if a moment later.
        let _ = self.file.unlock();
        let _ = self.dir.unlock();
    }
}
