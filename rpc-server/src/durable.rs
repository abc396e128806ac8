//! Directories whose names outlive a loss of power.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rpc_core::durable::cannot_sync_dirs;

/// Makes a directory and those above it, as far as they are missing, and their names durable: what is in a directory is lost
/// with its name. New ones are for their user alone. It blocks.
///
/// # Errors
///
/// Those of the file system.
pub fn create_durable_dir(dir: &Path) -> io::Result<()> {
    let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let missing: Vec<&Path> = dir.ancestors().take_while(is_missing).collect();

    // A process that was killed may have made the last one that is there, and not come to the next step.
    if let Some(found) = dir.ancestors().nth(missing.len()) {
        match sync_name(found) {
            // A user who may not read the directory above it has not made it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }

    for made in missing.into_iter().rev() {
        make(made)?;
        sync_name(made)?;
    }
    Ok(())
}

fn make(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes the name of a directory durable in the one above it.
fn sync_name(dir: &Path) -> io::Result<()> {
    let above = match dir.parent() {
        // That of a relative path of one part is the current directory.
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        // The root and the current directory are there.
        None => return Ok(()),
    };
    sync_dir(&File::open(above)?)
}

/// Makes the names in a directory durable. It blocks.
///
/// Some file systems cannot sync a directory, and say so (`EINVAL`, `EBADF`, `ENOSYS`, `EOPNOTSUPP`): some of networks, of
/// FUSE, and read-only ones of containers. There is nothing that a program could do better then, and this returns `Ok`.
///
/// # Errors
///
/// All others of the file system: the names may be lost with the power.
pub fn sync_dir(dir: &File) -> io::Result<()> {
    match dir.sync_all() {
        Err(error) if cannot_sync_dirs(&error) => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn missing_directories_are_made_for_their_user_alone_and_those_that_are_there_stay() {
        let there = tempfile::tempdir().unwrap();
        fs::set_permissions(there.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mode = |dir: &Path| fs::metadata(dir).unwrap().permissions().mode() & 0o777;

        let dir = there.path().join("data/log");
        for _ in 0..2 {
            create_durable_dir(&dir).unwrap();
            assert_eq!(mode(&dir), 0o700);
            assert_eq!(mode(&there.path().join("data")), 0o700);
            assert_eq!(mode(there.path()), 0o755);
        }
        for named in ["", ".", "/"] {
            create_durable_dir(Path::new(named)).unwrap();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_directory_on_a_file_system_that_cannot_sync_directories_will_do() {
        let above = File::open("/proc/self").unwrap();
        assert!(above.sync_all().is_err(), "it has learned to sync");
        sync_dir(&above).unwrap();
        create_durable_dir(Path::new("/proc/self/task")).unwrap();
    }

    #[test]
    fn a_file_where_a_directory_should_be_is_an_error() {
        let there = tempfile::tempdir().unwrap();
        let file = there.path().join("file");
        fs::write(&file, "").unwrap();

        let error = create_durable_dir(&file.join("data")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
