//! A file and those that it has become by rotations: how they are found, and told apart.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rpc_core::Fingerprint;

use super::state::{FileId, StateFile};

/// Bytes at the beginning of a file by which it is recognised.
const HEAD_BYTES_MAX: u64 = 256;

/// What tells files that are there at the same time apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    device: u64,
    inode: u64,
}

impl Key {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// The file at the path and those beside it that were rotated, the oldest first, the one at the path last.
pub(super) fn files(newest: &Path, state_file: &StateFile) -> io::Result<Vec<(PathBuf, Key)>> {
    let parent = newest.parent().filter(|it| !it.as_os_str().is_empty());
    let name = newest.file_name().unwrap_or_default().to_string_lossy();
    let mut rotated = Vec::new();
    for entry in std::fs::read_dir(parent.unwrap_or(Path::new(".")))? {
        let path = entry?.path();
        let found = path.file_name().unwrap_or_default().to_string_lossy();
        let suffix = found.strip_prefix(&*name);
        if !suffix.is_some_and(is_rotated) || state_file.is_own(&path) {
            continue;
        }

        // One that is gone again was renamed, and is found under its new name the next time.
        if let Ok(metadata) = std::fs::metadata(&path)
            && metadata.is_file()
        {
            rotated.push((path, metadata.modified()?, Key::of(&metadata)));
        }
    }

    // By the time of the last line; of equal ones `.10` is older than `.9`.
    rotated.sort_by(|(path, time, _), (other, other_time, _)| {
        let by_name = || {
            let lengths = other.as_os_str().len().cmp(&path.as_os_str().len());
            lengths.then_with(|| other.cmp(path))
        };
        time.cmp(other_time).then_with(by_name)
    });
    let mut files: Vec<(PathBuf, Key)> = rotated
        .into_iter()
        .map(|(path, _, key)| (path, key))
        .collect();

    if let Ok(metadata) = std::fs::metadata(newest) {
        files.push((newest.to_owned(), Key::of(&metadata)));
    }
    Ok(files)
}

/// Whether what follows the name of the file is how rotations call the old ones, and not how they call compressed ones.
fn is_rotated(suffix: &str) -> bool {
    let is_compressed = [".gz", ".xz", ".bz2", ".zst"]
        .iter()
        .any(|it| suffix.ends_with(it));
    suffix.starts_with(['.', '-']) && !is_compressed
}

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
    let head_bytes = metadata.len().min(HEAD_BYTES_MAX);
    Ok(FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
        head: head(file, head_bytes)?,
        head_bytes,
    })
}

pub(super) fn is_same(file: &File, id: &FileId) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let is_it = metadata.dev() == id.device && metadata.ino() == id.inode;
    Ok(is_it && head(file, id.head_bytes)? == id.head)
}

fn head(file: &File, length: u64) -> io::Result<String> {
    let length = usize::try_from(length.min(HEAD_BYTES_MAX)).unwrap_or_default();
    let head = read(file, 0, length)?;
    Ok(format!("{:032x}", Fingerprint::of(&head).number()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rotations_give_are_told_from_those_of_other_files() {
        for (suffix, expected) in [
            ("", false),
            (".1", true),
            ("-20261130", true),
            (".1.gz", false),
            (".2.zst", false),
            ("2", false),
            ("_old", false),
        ] {
            assert_eq!(is_rotated(suffix), expected, "{suffix}");
        }
    }
}
