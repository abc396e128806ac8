//! Full files under the names that they have until their own are free.
//!
//! The library `logroller` renames a full file to `FILE.pending.N` and then, in a thread of its own, to `FILE.1`. What a
//! killed process leaves in between, or a renaming that fails, the library never looks at again: it would stay on the disk
//! beyond all bounds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Gives the files `FILE.pending.N` the names of full files, from the oldest to the newest. One that cannot be renamed stays
/// while there is room for as many full files, and is tried again the next time; otherwise it is deleted. The library must
/// not rename files meanwhile.
pub(super) fn publish(file: &Path, files_max: u64) {
    let pending = numbered(file, ".pending.");
    let mut left = pending.len() as u64;
    let mut before = None;
    for path in pending {
        let error = match rename(&path, file, files_max, before) {
            Ok(place) => {
                before = place;
                left -= 1;
                continue;
            }
            Err(error) => error,
        };

        let full = numbered(file, ".").len() as u64;
        if full + left <= files_max {
            tracing::warn!(
                file = %path.display(), %error,
                "cannot rename a full file of a logger; it is tried again when the next one is full"
            );
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => left -= 1,
            Err(error) => tracing::warn!(
                file = %path.display(), %error,
                "cannot delete an older file of a logger; it takes room on the disk until it is deleted by hand"
            ),
        }
    }
}

/// The files whose names have this text and a number behind that of the file, by their numbers.
fn numbered(file: &Path, between: &str) -> Vec<PathBuf> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{name}{between}");
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());

    // A directory that is missing is made later, and one that cannot be read has an error of its own then.
    let entries = fs::read_dir(dir.unwrap_or(Path::new(".")));
    let numbered = entries.into_iter().flatten().flatten().filter_map(|entry| {
        let number: u64 = entry
            .file_name()
            .to_str()?
            .strip_prefix(&prefix)?
            .parse()
            .ok()?;
        let is_file = entry.metadata().is_ok_and(|metadata| metadata.is_file());
        is_file.then(|| (number, entry.path()))
    });

    let mut numbered: Vec<(u64, PathBuf)> = numbered.collect();
    numbered.sort();
    numbered.into_iter().map(|(_, path)| path).collect()
}

/// Puts a file among the full ones, behind those that were written to later: where its renaming has failed before, the library
/// has given newer ones their names. It is newer than the one that was put at `before`, whatever their times say: a copy has
/// that of its making. The oldest is replaced if there are as many as there may be. Returns its place; none if it is older
/// than all of these, and was deleted.
fn rename(
    pending: &Path,
    file: &Path,
    files_max: u64,
    before: Option<u64>,
) -> io::Result<Option<u64>> {
    let full = |n: u64| {
        let mut path = file.as_os_str().to_owned();
        path.push(format!(".{n}"));
        PathBuf::from(path)
    };
    let written = modified(pending)?;
    let is_newer = |n: &u64| modified(&full(*n)).is_ok_and(|other| other > written);
    let last = before.unwrap_or(files_max);
    let Some(place) = (1..=last).find(|n| Some(*n) == before || !is_newer(n)) else {
        fs::remove_file(pending)?;
        return Ok(None);
    };

    let free = (place..=files_max).find(|n| !full(*n).exists());
    for n in (place..free.unwrap_or(files_max)).rev() {
        fs::rename(full(n), full(n + 1))?;
    }
    fs::rename(pending, full(place))?;
    Ok(Some(place))
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check(before: &[&str], files_max: u64, after: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        for name in before {
            fs::write(dir.path().join(name), name).unwrap();
        }

        publish(&dir.path().join("a.log"), files_max);
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

    /// Writes files of these names, each of which was written to as many seconds ago; returns what they are called then.
    fn published_of(written: &[(u64, &str)]) -> BTreeMap<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (age, name) in written {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            let file = fs::File::options().append(true).open(&path).unwrap();
            file.set_modified(now - Duration::from_secs(*age)).unwrap();
        }

        publish(&dir.path().join("a.log"), 5);
        let entries = fs::read_dir(dir.path()).unwrap();
        let entries = entries.map(|entry| entry.unwrap().path());
        let named = entries.map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        });
        named.collect()
    }

    #[test]
    fn files_that_wait_for_their_names_keep_the_order_of_their_numbers_whatever_their_times_are() {
        let named = published_of(&[
            (40, "a.log.1"),
            (10, "a.log.pending.9"),
            (30, "a.log.pending.10"),
            (30, "a.log.pending.11"),
        ]);
        let expected = [
            ("a.log.1", "a.log.pending.11"),
            ("a.log.2", "a.log.pending.10"),
            ("a.log.3", "a.log.pending.9"),
            ("a.log.4", "a.log.1"),
        ];
        let expected = expected.map(|(name, was)| (name.to_owned(), was.to_owned()));
        assert_eq!(named, expected.into());
    }

    #[test]
    fn what_could_not_be_renamed_before_goes_behind_what_was_full_later() {
        let named = published_of(&[(0, "a.log.1"), (10, "a.log.pending.7"), (20, "a.log.2")]);
        let expected = ["a.log.1", "a.log.pending.7", "a.log.2"];
        assert!(named.values().eq(expected), "{named:?}");
    }

    #[test]
    fn what_cannot_be_renamed_stays_while_there_is_room_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.log");
        let pending = [1, 2].map(|n| dir.path().join(format!("a.log.pending.{n}")));
        fs::create_dir(dir.path().join("a.log.1")).unwrap();
        for path in &pending {
            fs::write(path, "full").unwrap();
        }

        publish(&file, 1);
        assert!(!pending[0].exists(), "there is room for one");
        assert!(pending[1].exists());

        fs::remove_dir(dir.path().join("a.log.1")).unwrap();
        publish(&file, 1);
        assert!(!pending[1].exists() && dir.path().join("a.log.1").is_file());
    }
}
