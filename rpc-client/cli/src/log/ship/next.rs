//! The file that comes after the one that is read.

use std::fs::File;
use std::path::Path;

use super::files::Shipping;
use super::identity::{id_of, is_same, modified_ms};
use super::rotated::{Found, Key};
use super::state::FileId;
use crate::exit::Failure;
use crate::output::complain;

/// The next file, if there is one, and why those before it are not sent.
#[derive(Default)]
pub(super) struct Next {
    pub(super) file: Option<File>,
    skipped: Vec<String>,
}

impl Next {
    pub(super) fn say_skipped(&self) {
        for skipped in &self.skipped {
            complain(&format!("rpc: {skipped}"));
        }
    }

    fn skip(&mut self, path: &Path, why: &str) {
        let path = path.display();
        self.skipped.push(format!(
            "{path} is not sent: {why}; send its missing lines with `rpc log ship -`"
        ));
    }
}

impl Shipping<'_> {
    /// The file that came after the one that is read, if the path has another one by now.
    pub(super) fn successor(&self) -> Result<Next, Failure> {
        let Some(open) = &self.file else {
            return Ok(Next::default());
        };
        let metadata = open.file.metadata();
        let metadata = metadata.map_err(|error| self.cannot_read(&error))?;
        let current = Key::of(&metadata);
        if std::fs::metadata(self.path).is_ok_and(|newest| Key::of(&newest) == current) {
            return Ok(Next::default());
        }
        self.next_after(Some(current), modified_ms(&metadata))
    }

    /// The file that came after the one with this key, or after one that is gone and was written to last at this time.
    pub(super) fn next_after(&self, key: Option<Key>, modified_ms: u64) -> Result<Next, Failure> {
        loop {
            let files = self.files()?;
            let at = files.iter().position(|found| Some(found.key) == key);
            // Of a file that is gone its time says what came after it.
            let next = match at {
                Some(at) => self.first_of(&files[at + 1..], 0)?,
                None => self.first_of(&files, modified_ms)?,
            };
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }

    /// The first of the files that may be begun; `None` if it was renamed meanwhile.
    fn first_of(&self, files: &[Found], since_ms: u64) -> Result<Option<Next>, Failure> {
        let mut next = Next::default();
        for found in files {
            if found.is_compressed {
                if found.modified_ms > since_ms {
                    next.skip(&found.path, "it is compressed");
                }
                continue;
            }

            let opened = found.open().map_err(|error| self.cannot_read(&error))?;
            let Some(file) = opened else {
                return Ok(None);
            };
            if !found.is_newest() {
                if self.is_older(&file)? {
                    continue;
                }
                if found.modified_ms < since_ms {
                    if self.older.is_some() {
                        next.skip(&found.path, "it is older than the file before it");
                    }
                    continue;
                }
            }
            next.file = Some(file);
            break;
        }
        Ok(Some(next))
    }

    /// The files beside this one that are older: those before it in the order of their names, and those that were older than
    /// the one that was read before it.
    pub(super) fn older_than(&self, file: &File) -> Result<Vec<FileId>, Failure> {
        let key = file.metadata().map(|metadata| Key::of(&metadata));
        let key = key.map_err(|error| self.cannot_read(&error))?;
        let files = self.files()?;
        let at = files.iter().position(|found| found.key == key);
        let at = at.unwrap_or(files.len());

        let mut older = Vec::new();
        for (index, found) in files.iter().enumerate() {
            if found.is_compressed || found.key == key {
                continue;
            }
            let Ok(Some(file)) = found.open() else {
                continue;
            };
            if index < at || self.is_older(&file)? {
                older.push(id_of(&file).map_err(|error| self.cannot_read(&error))?);
            }
        }

        // One without a byte could not be told from another one that is given its number later.
        older.retain(|id| id.head_bytes > 0);
        Ok(older)
    }

    pub(super) fn is_older(&self, file: &File) -> Result<bool, Failure> {
        for id in self.older.iter().flatten() {
            if is_same(file, id).map_err(|error| self.cannot_read(&error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
