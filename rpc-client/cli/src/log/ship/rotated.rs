//! A file and those that it has become by rotations: how they are found, and in which order.

use std::cmp::Reverse;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::identity::modified_ms;
use super::state::StateFile;

/// The first number behind the name of a file that is taken for a year, not for the number of a rotation.
const YEAR_MIN: u64 = 1900;

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

/// A file at the path, or beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) key: Key,
    /// When it was written to last, in milliseconds since 1970.
    pub(super) modified_ms: u64,
    pub(super) is_compressed: bool,
    /// How a rotation has named it; the file at the path has none.
    suffix: Option<Suffix>,
}

impl Found {
    pub(super) fn is_newest(&self) -> bool {
        self.suffix.is_none()
    }

    /// Opens it, unless it was renamed or deleted since it was found.
    pub(super) fn open(&self) -> io::Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => {
                let is_it = Key::of(&file.metadata()?) == self.key;
                Ok(is_it.then_some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a rotation has put behind the name of a file, the oldest first: a higher number is older, an earlier date is, too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Suffix {
    Numbered(Numbered),
    Date(Vec<u64>),
}

/// A number of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Numbered {
    Number(Reverse<u64>),
    /// The loggers of this project give a full file such a name until `.1` is free. A higher number is newer.
    Pending(u64),
}

impl Suffix {
    /// `.1` and `-20261130`, as well as `.2026-11-30T08:00:00Z` and `.pending.1`; files with other names are not those of a
    /// rotation.
    fn parse(text: &str) -> Option<Self> {
        if let Some(number) = text.strip_prefix(".pending.") {
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            let number = number.parse().ok().filter(|_| is_number)?;
            return Some(Self::Numbered(Numbered::Pending(number)));
        }

        let text = text.strip_prefix(['.', '-'])?;
        let is_part = |it: char| it.is_ascii_digit() || "-_.:TZ".contains(it);
        if !text.starts_with(|it: char| it.is_ascii_digit()) || !text.chars().all(is_part) {
            return None;
        }

        let parts = text.split(|it: char| !it.is_ascii_digit());
        let numbers = parts.filter(|part| !part.is_empty()).map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
        Some(match numbers[..] {
            [number] if number < YEAR_MIN => Self::Numbered(Numbered::Number(Reverse(number))),
            _ => Self::Date(numbers),
        })
    }
}

/// The file at the path and those beside it that were rotated, the oldest first, the one at the path last.
pub(super) fn files(newest: &Path, state_file: &StateFile) -> io::Result<Vec<Found>> {
    // A rotation under way may hide a file from a look, but not from the next one in the same manner.
    let mut files = look(newest, state_file)?;
    loop {
        let again = look(newest, state_file)?;
        if names(&again).eq(names(&files)) {
            return Ok(again);
        }
        files = again;
    }
}

fn names(files: &[Found]) -> impl Iterator<Item = (&Path, Key)> {
    files.iter().map(|found| (&*found.path, found.key))
}

fn look(newest: &Path, state_file: &StateFile) -> io::Result<Vec<Found>> {
    let parent = newest.parent().filter(|it| !it.as_os_str().is_empty());
    let name = newest.file_name().unwrap_or_default().to_string_lossy();
    let mut rotated = Vec::new();
    for entry in std::fs::read_dir(parent.unwrap_or(Path::new(".")))? {
        let path = entry?.path();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(suffix) = file_name.strip_prefix(&*name) else {
            continue;
        };
        let plain = without_compression(suffix);
        let Some(parsed) = Suffix::parse(plain) else {
            continue;
        };

        let is_compressed = plain.len() < suffix.len();
        if !state_file.is_own(&path) {
            rotated.extend(found(&path, Some(parsed), is_compressed));
        }
    }

    let mut files = in_order(rotated);
    files.extend(found(newest, None, false));
    Ok(files)
}

/// A file by its name; one that is gone again was renamed, and is found under its new name the next time.
fn found(path: &Path, suffix: Option<Suffix>, is_compressed: bool) -> Option<Found> {
    let metadata = std::fs::metadata(path).ok()?;
    // A file at the path may be a pipe, which cannot be followed, and says so when it is read.
    if suffix.is_some() && !metadata.is_file() {
        return None;
    }

    Some(Found {
        path: path.to_owned(),
        key: Key::of(&metadata),
        modified_ms: modified_ms(&metadata),
        is_compressed,
        suffix,
    })
}

/// The oldest first. Where both numbers and dates are used, the kind that was used last comes last.
fn in_order(mut files: Vec<Found>) -> Vec<Found> {
    files.sort_by(|a, b| {
        let order = (&a.suffix, a.is_compressed).cmp(&(&b.suffix, b.is_compressed));
        order.then_with(|| a.path.cmp(&b.path))
    });
    // One that is being compressed is there twice.
    files.dedup_by(|next, before| next.is_compressed && next.suffix == before.suffix);

    let is_number = |found: &Found| matches!(found.suffix, Some(Suffix::Numbered(_)));
    let numbered = files.partition_point(is_number);
    let newest = |files: &[Found]| files.iter().map(|found| found.modified_ms).max();
    if newest(&files[..numbered]) > newest(&files[numbered..]) {
        files.rotate_left(numbered);
    }
    files
}

/// The name without the ending of a compressed file.
fn without_compression(name: &str) -> &str {
    let endings = [".gz", ".xz", ".bz2", ".zst", ".lz4", ".Z"];
    let plain = endings.iter().find_map(|ending| name.strip_suffix(ending));
    plain.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rotations_give_are_told_from_those_of_other_files() {
        let number = |number| Some(Suffix::Numbered(Numbered::Number(Reverse(number))));
        let pending = |number| Some(Suffix::Numbered(Numbered::Pending(number)));
        let date = |parts: &[u64]| Some(Suffix::Date(parts.to_vec()));
        for (suffix, expected) in [
            ("", None),
            (".1", number(1)),
            ("-12", number(12)),
            ("-20261130", date(&[20_261_130])),
            (".2026-11-30", date(&[2026, 11, 30])),
            ("-2026-11-30T08:01:02Z", date(&[2026, 11, 30, 8, 1, 2])),
            ("-20261130-1796025600", date(&[20_261_130, 1_796_025_600])),
            (".pending.12", pending(12)),
            (".pending.", None),
            (".pending.+1", None),
            ("-pending.1", None),
            ("2", None),
            ("_old", None),
            (".json", None),
            (".bak", None),
            (".offset", None),
            (".1.bak", None),
            (".99999999999999999999", None),
        ] {
            assert_eq!(Suffix::parse(suffix), expected, "{suffix}");
        }

        assert_eq!(without_compression(".1.gz"), ".1");
        assert_eq!(without_compression("-20261130.zst"), "-20261130");
        assert_eq!(without_compression(".1"), ".1");
    }

    #[test]
    fn files_are_in_the_order_of_their_numbers_or_dates_whenever_they_were_written_to() {
        let check = |names: &[(&str, u64)], expected: &[&str]| {
            let files = names.iter().map(|(name, modified_ms)| Found {
                path: name.into(),
                key: Key {
                    device: 1,
                    inode: 1,
                },
                modified_ms: *modified_ms,
                is_compressed: without_compression(name) != *name,
                suffix: Suffix::parse(without_compression(name)),
            });
            let found: Vec<PathBuf> = in_order(files.collect())
                .into_iter()
                .map(|found| found.path)
                .collect();
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(found, expected);
        };

        check(
            &[(".1", 5), (".10", 9), (".9", 1), (".2.gz", 2)],
            &[".10", ".9", ".2.gz", ".1"],
        );
        check(
            &[("-20261130", 1), ("-20261129.gz", 9), ("-20261201", 3)],
            &["-20261129.gz", "-20261130", "-20261201"],
        );
        check(&[(".1", 5), (".1.gz", 5)], &[".1"]);
        check(
            &[(".pending.10", 9), (".1", 5), (".pending.9", 1), (".2", 2)],
            &[".2", ".1", ".pending.9", ".pending.10"],
        );
        check(&[(".1", 9), ("-20261130", 5)], &["-20261130", ".1"]);
        check(&[(".1", 5), ("-20261130", 9)], &[".1", "-20261130"]);
    }
}
