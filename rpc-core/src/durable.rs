//! The errors of file systems that cannot make names durable.

use std::io;

/// Whether an error of syncing a directory says that its file system cannot sync directories at all (`EINVAL`, `EBADF`,
/// `ENOSYS`, `EOPNOTSUPP`), as some of networks, of FUSE, and read-only ones of containers do. There is nothing that a program
/// could do better then.
///
/// ```
/// use std::io;
///
/// use rpc_core::durable::cannot_sync_dirs;
///
/// assert!(cannot_sync_dirs(&io::ErrorKind::Unsupported.into()));
/// assert!(!cannot_sync_dirs(&io::ErrorKind::StorageFull.into()));
/// ```
pub fn cannot_sync_dirs(error: &io::Error) -> bool {
    // EBADF has no name in the standard library; every Unix has this number for it.
    const EBADF: i32 = 9;
    let kinds = [io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(EBADF)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_that_it_is_unable_is_let_pass() {
        let unable = |number| cannot_sync_dirs(&io::Error::from_raw_os_error(number));
        let (ebadf, einval, enosys, eopnotsupp) = (9, 22, 38, 95);
        assert!([ebadf, einval, enosys, eopnotsupp].into_iter().all(unable));
        let (eio, eacces, enospc, erofs) = (5, 13, 28, 30);
        assert!(![eio, eacces, enospc, erofs].into_iter().any(unable));
    }
}
