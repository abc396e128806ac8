//! Names of segments, and of the files that belong to them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The highest sequence number: the last integer that every JSON reader takes for what it is (RFC 8259
/// section 6).
pub(in crate::store) const SEQ_MAX: u64 = (1 << 53) - 1;

const EXTENSION: &str = ".ndjson";
const PACKED_EXTENSION: &str = ".ndjson.zst";

/// How a segment is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) enum Form {
    /// As lines.
    Plain,
    /// Compressed.
    Packed,
}

/// The file of the segment that starts with `first`.
pub(in crate::store) fn path(dir: &Path, first: u64) -> PathBuf {
    path_of(dir, first, Form::Plain)
}

/// The file of the segment that starts with `first` in this form.
pub(in crate::store) fn path_of(dir: &Path, first: u64, form: Form) -> PathBuf {
    let extension = match form {
        Form::Plain => EXTENSION,
        Form::Packed => PACKED_EXTENSION,
    };
    dir.join(format!("{first:020}{extension}"))
}

/// The file of the segment that starts with `first` in the form that it is there in, for messages about it.
pub(in crate::store) fn path_there(dir: &Path, first: u64) -> PathBuf {
    let packed = path_of(dir, first, Form::Packed);
    let plain = path(dir, first);
    match packed.exists() && !plain.exists() {
        true => packed,
        false => plain,
    }
}

/// The file with this extension beside a segment, which has the same name for each form of the segment.
pub(in crate::store) fn beside(segment: &Path, extension: &str) -> PathBuf {
    let is_packed = segment
        .extension()
        .is_some_and(|extension| extension == "zst");
    let plain = match is_packed {
        true => segment.with_extension(""),
        false => segment.to_owned(),
    };
    plain.with_extension(extension)
}

/// The sequence number and the form in the name of a segment, or `None` if the file is something else.
pub(in crate::store) fn parse(name: &str) -> Option<(u64, Form)> {
    let (digits, form) = match name.strip_suffix(EXTENSION) {
        Some(digits) => (digits, Form::Plain),
        None => (name.strip_suffix(PACKED_EXTENSION)?, Form::Packed),
    };

    let first = digits
        .parse()
        .ok()
        .filter(|first| (1..=SEQ_MAX).contains(first))?;
    (format!("{first:020}") == digits).then_some((first, form))
}

/// When a segment was last written to. Compression does not change that.
pub(in crate::store) fn modified(dir: &Path, first: u64) -> io::Result<SystemTime> {
    let plain = fs::metadata(path(dir, first));
    let found = match plain {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::metadata(path_of(dir, first, Form::Packed))
        }
        found => found,
    };
    found?.modified()
}
