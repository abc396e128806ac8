//! Indexes on disk: a frame a line, and a last line that tells a damaged file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rpc_core::Fingerprint;
use serde::{Deserialize, Serialize};

use super::super::segment::{FILE_MODE, beside};
use super::{Frame, Index};

/// The largest file that is read. A segment of a GiB has an index of less.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The last line of a file.
#[derive(Serialize, Deserialize)]
struct End {
    /// The fingerprint of all lines before, in hexadecimal digits.
    check: String,
}

/// The index beside a segment.
fn path(segment: &Path) -> PathBuf {
    beside(segment, "idx")
}

/// Reads the index of a segment with this length in bytes and these numbers. `None` if it is missing, damaged, or another
/// file's.
pub(in crate::store) fn read(segment: &Path, len: u64, first: u64, last: u64) -> Option<Index> {
    let path = path(segment);
    if fs::metadata(&path).ok()?.len() > BYTES_MAX {
        return None;
    }

    let text = fs::read_to_string(path).ok()?;
    let (frames, end) = text.trim_end_matches('\n').rsplit_once('\n')?;
    let End { check } = serde_json::from_str(end).ok()?;
    if check != check_of(frames.as_bytes()) {
        return None;
    }

    let frames: Result<Vec<Frame>, _> = frames.lines().map(serde_json::from_str).collect();
    let index = Index {
        frames: frames.ok()?,
    };
    index.is_of(len, first, last).then_some(index)
}

/// Writes the index of a segment. It need not be durable: what is damaged is made again.
pub(in crate::store) fn write(segment: &Path, index: &Index) -> io::Result<()> {
    let mut text = String::new();
    for frame in &index.frames {
        text.push_str(&serde_json::to_string(frame)?);
        text.push('\n');
    }
    let check = check_of(text.trim_end_matches('\n').as_bytes());
    text.push_str(&serde_json::to_string(&End { check })?);
    text.push('\n');

    let (path, new) = (path(segment), beside(segment, "idx.new"));
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(new, path)
}

/// Deletes the index of a segment that is deleted.
pub(in crate::store) fn remove(segment: &Path) {
    let path = path(segment);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "cannot delete the index of a log segment");
        }
        _ => {}
    }
}

fn check_of(bytes: &[u8]) -> String {
    format!("{:032x}", Fingerprint::of(bytes).number())
}
