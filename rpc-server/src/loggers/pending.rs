//! Full files that a process has left under the names that they have until their own are free.
//!
//! The library `logroller` renames a full file to `FILE.pending.N` and then, in a thread of its own, to `FILE.1`. What a
//! killed process leaves in between, the library never looks at again: it would stay on the disk beyond all bounds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Gives the files `NAME.pending.N` of a directory the names of full files, from the oldest to the newest, and deletes what
/// is too old, or cannot be renamed.
pub(super) fn publish(dir: &Path, name: &str, files_max: u64) {
    for pending in pending(dir, name) {
        let renamed = rename(&pending, &dir.join(name), files_max);
        if let Err(error) = renamed.or_else(|_| fs::remove_file(&pending)) {
            tracing::warn!(
                file = %pending.display(), %error,
                "cannot delete an older file of a logger; it takes room on the disk until it is deleted by hand"
            );
        }
    }
}

/// The files, from the oldest to the newest.
fn pending(dir: &Path, name: &str) -> Vec<PathBuf> {
    let prefix = format!("{name}.pending.");
    // A directory that is missing is made later, and one that cannot be read has an error of its own then.
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.strip_prefix(&prefix)?.parse();
        Some((number.ok()?, entry.path()))
    });

    let mut numbered: Vec<(u64, PathBuf)> = numbered.collect();
    numbered.sort();
    numbered.into_iter().map(|(_, path)| path).collect()
}

/// Makes a file the newest of the full ones. The oldest is replaced if there are as many as there may be.
fn rename(pending: &Path, file: &Path, files_max: u64) -> io::Result<()> {
    if files_max == 0 {
        return fs::remove_file(pending);
    }

    let full = |n: u64| {
        let mut path = file.as_os_str().to_owned();
        path.push(format!(".{n}"));
        PathBuf::from(path)
    };
    let free = (1..=files_max).find(|n| !full(*n).exists());
    for n in (1..free.unwrap_or(files_max)).rev() {
        fs::rename(full(n), full(n + 1))?;
    }
    fs::rename(pending, full(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &[&str], files_max: u64, after: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        for name in before {
            fs::write(dir.path().join(name), name).unwrap();
        }

        publish(dir.path(), "a.log", files_max);
        let entries = fs::read_dir(dir.path()).unwrap();
        let mut left: Vec<String> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let was = fs::read_to_string(&path).unwrap();
                format!("{} was {was}", path.file_name().unwrap().display())
            })
            .collect();
        left.sort();
        assert_eq!(left, after);
    }

    #[test]
    fn what_a_killed_process_has_left_is_among_the_full_files_and_counts_as_one() {
        check(
            &["a.log", "a.log.1", "a.log.pending.9", "a.log.pending.10"],
            5,
            &[
                "a.log was a.log",
                "a.log.1 was a.log.pending.10",
                "a.log.2 was a.log.pending.9",
                "a.log.3 was a.log.1",
            ],
        );
        check(
            &["a.log.1", "a.log.2", "a.log.pending.1"],
            2,
            &["a.log.1 was a.log.pending.1", "a.log.2 was a.log.1"],
        );
        check(
            &["a.log.2", "a.log.pending.1"],
            2,
            &["a.log.1 was a.log.pending.1", "a.log.2 was a.log.2"],
        );
        check(&["a.log.1", "a.log.pending.1"], 0, &["a.log.1 was a.log.1"]);
        check(
            &["a.log.pending.x", "b.log.pending.1"],
            2,
            &[
                "a.log.pending.x was a.log.pending.x",
                "b.log.pending.1 was b.log.pending.1",
            ],
        );
    }

    #[test]
    fn what_cannot_be_renamed_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a.log.1")).unwrap();
        let pending = dir.path().join("a.log.pending.1");
        fs::write(&pending, "full").unwrap();

        publish(dir.path(), "a.log", 1);
        assert!(!pending.exists());
    }
}
