//! The identity of a log: random, and made with its directory. With it a number says which entry is meant, also when
//! the directory was replaced by another one whose numbers begin anew.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::closing::Closing;
use super::dir_lock::DirLock;
use super::record;

/// Length of an identity in hexadecimal digits.
const DIGITS: usize = 32;

#[derive(Serialize, Deserialize)]
struct Stored {
    log: String,
}

/// The identity of the log in a directory, which is made if it is missing.
///
/// It is renewed where the numbers may begin anew under it: its files are gone or empty, and no record of how the store was
/// closed says which numbers were given out. `bytes` is what those files have that must not be empty: all of them together if
/// they are synced, as the newest alone is empty if a process ended before its first entry; otherwise the newest, which a loss
/// of power may have emptied.
pub(super) fn of(
    dir: &Path,
    lock: &DirLock,
    bytes: u64,
    closing: Option<&Closing>,
) -> Result<String, StoreError> {
    let is_certain = closing.is_some() || bytes > 0;

    match read(dir) {
        Some(log) if is_certain => Ok(log),
        Some(log) => {
            let new = make(dir, lock)?;
            tracing::warn!(
                %log, %new,
                "the files of the log are missing or empty, although the daemon was not stopped: the log gets a new identity"
            );
            Ok(new)
        }
        None => make(dir, lock),
    }
}

/// The identity in a directory; `None` if it is missing, or makes no sense.
pub(super) fn read(dir: &Path) -> Option<String> {
    let Stored { log } = serde_json::from_slice(&fs::read(path(dir)).ok()?).ok()?;
    let is_identity = log.len() == DIGITS && log.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_identity.then_some(log)
}

/// Gives a directory a new identity, and makes it durable.
pub(super) fn make(dir: &Path, lock: &DirLock) -> Result<String, StoreError> {
    let path = path(dir);
    let log = random().map_err(StoreError::io("read", Path::new("/dev/urandom")))?;
    let stored = Stored { log };

    record::write(&path, &stored).map_err(StoreError::io("write", &path))?;
    lock.sync().map_err(StoreError::io("fsync", dir))?;
    Ok(stored.log)
}

fn random() -> io::Result<String> {
    let mut bytes = [0; DIGITS / 2];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn path(dir: &Path) -> PathBuf {
    dir.join("identity.json")
}
