//! The two forms of a segment: how it comes from the plain one to the compressed one while it is read.

use std::fs;
use std::io;
use std::path::Path;

use super::super::segment::{Form, SegmentFile, path, path_of};
#[cfg(feature = "zstd")]
use super::StoreError;
use super::{Listed, Segments, View, lock};

/// What has become of the plain file of a compressed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlainFile {
    Gone,
    /// It could not be deleted.
    Left,
}

/// Deletes the plain file of a compressed segment. That this fails is logged.
pub(super) fn delete_plain(plain: &Path) -> PlainFile {
    match fs::remove_file(plain) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(
                file = %plain.display(), %error,
                "cannot delete the plain file of a log segment that is compressed; it takes room on the disk, is not read, and \
                 its deletion is tried again"
            );
            PlainFile::Left
        }
        _ => PlainFile::Gone,
    }
}

impl Listed {
    pub(super) fn form(&self) -> Form {
        match self.packed {
            Some(_) => Form::Packed,
            None => Form::Plain,
        }
    }

    /// The bytes that its file has.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.packed.unwrap_or(self.len)
    }

    /// Whether its compressed file could not be read when it was listed.
    pub(super) fn is_unreadable(&self) -> bool {
        self.packed.is_some() && self.len == 0
    }
}

impl Segments {
    /// Opens the file of a segment, in the form that it has now: it may have got the other one since it was looked up.
    pub(super) fn open_form(&self, view: &View) -> io::Result<SegmentFile> {
        let form = self.form_of(view.first).unwrap_or(view.form);
        let opened = self.open_as(view, form);
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        if form == Form::Packed || !opened.as_ref().is_err_and(is_missing) {
            return opened;
        }

        match self.form_of(view.first) {
            Some(Form::Packed) => self.open_as(view, Form::Packed),
            _ => opened,
        }
    }

    fn open_as(&self, view: &View, form: Form) -> io::Result<SegmentFile> {
        let file = SegmentFile::open(&path_of(&self.dir, view.first, form), form)?;
        let SegmentFile::Packed(packed) = &file else {
            return Ok(file);
        };

        let len = packed.len();
        match self.learn_len(view.first, len) {
            // When it was looked up, it may have been shorter.
            None => Ok(file),
            Some(listed) => {
                let message =
                    format!("it holds {len} bytes, and {listed} were expected; read again");
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
        }
    }

    fn form_of(&self, first: u64) -> Option<Form> {
        let state = lock(&self.state);
        let place = state.place_of(first)?;
        Some(state.segments[place].form())
    }

    /// Notes the length of a compressed segment; returns another one if that was listed: it could not be read when it was
    /// listed, or another program has changed it. The next read knows its length.
    fn learn_len(&self, first: u64, len: u64) -> Option<u64> {
        let mut state = lock(&self.state);
        let place = state.place_of(first)?;
        let listed = std::mem::replace(&mut state.segments[place].len, len);
        (listed != len).then_some(listed)
    }

    /// Number of segments that are compressed.
    pub(in crate::store) fn compressed(&self) -> u64 {
        let state = lock(&self.state);
        let packed = state.segments.iter().filter(|one| one.packed.is_some());
        packed.count() as u64
    }

    /// The closed segments that are plain and have entries, from the oldest on.
    #[cfg(feature = "zstd")]
    pub(in crate::store) fn closed_and_plain(&self) -> Vec<View> {
        let state = lock(&self.state);
        let closed = state.segments.len().saturating_sub(1);
        let plain = state.segments.iter().take(closed);
        let plain = plain.filter(|segment| segment.packed.is_none() && segment.len > 0);
        plain
            .map(|segment| state.view_of(segment.first, &self.dir))
            .collect()
    }

    /// Replaces a plain file by a compressed one of this number of bytes, which is durable under the name `new`.
    ///
    /// # Errors
    ///
    /// Those of the disk. The plain file is there until the other one has its name, durably.
    #[cfg(feature = "zstd")]
    pub(in crate::store) fn replace(
        &self,
        view: &View,
        new: &Path,
        bytes: u64,
    ) -> Result<(), StoreError> {
        let packed = path_of(&self.dir, view.first, Form::Packed);
        fs::rename(new, &packed).map_err(StoreError::io("rename", new))?;
        fs::File::open(&self.dir)
            .and_then(|dir| rpc_server::sync_dir(&dir))
            .map_err(StoreError::io("fsync", &self.dir))?;

        let is_listed = {
            let mut state = lock(&self.state);
            let place = state.place_of(view.first);
            if let Some(place) = place {
                state.segments[place].packed = Some(bytes);
                state.total = (state.total - view.len) + bytes;
            }
            place.is_some()
        };

        if !is_listed {
            // Retention has deleted the plain one meanwhile, and would not come back for this one.
            self.delete(view.first);
        } else if delete_plain(&view.path) == PlainFile::Left {
            self.note_plain(view.first, PlainFile::Left);
        }
        Ok(())
    }

    /// Tries again to delete the plain files of compressed segments; returns whether some are still there.
    pub(in crate::store) fn delete_plain_again(&self) -> bool {
        let left: Vec<u64> = {
            let state = lock(&self.state);
            let left = state.segments.iter();
            let left = left.filter(|segment| segment.plain == PlainFile::Left);
            left.map(|segment| segment.first).collect()
        };

        let mut all_gone = true;
        for first in left {
            match fs::remove_file(path(&self.dir, first)) {
                // It was logged the first time.
                Err(error) if error.kind() != io::ErrorKind::NotFound => all_gone = false,
                _ => self.note_plain(first, PlainFile::Gone),
            }
        }
        !all_gone
    }

    fn note_plain(&self, first: u64, plain: PlainFile) {
        let mut state = lock(&self.state);
        if let Some(place) = state.place_of(first) {
            state.segments[place].plain = plain;
        }
    }
}
