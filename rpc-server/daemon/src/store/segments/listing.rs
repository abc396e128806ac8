//! The segments of a directory, as a start finds them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::super::entry::EntryRef;
use super::super::packed::Packed;
use super::super::segment::{
    Form, Recovered, RecoveredClosed, Segment, parse, path_of, recover_closed,
};
use super::forms::delete_plain;
use super::{Durability, Listed, StoreError};

/// The newest segment, as it was found.
pub(super) struct FoundNewest {
    pub(super) first: u64,
    /// To be written to, if it can be.
    pub(super) segment: Option<Segment>,
    pub(super) next: u64,
    pub(super) damaged: Vec<u64>,
}

impl FoundNewest {
    pub(super) fn recover(
        dir: &Path,
        listed: &mut Listed,
        durability: Durability,
        learn: &mut dyn FnMut(&EntryRef<'_>, u64),
    ) -> Result<Self, StoreError> {
        let first = listed.first;
        if listed.form() == Form::Packed {
            let RecoveredClosed { len, next, damaged } = recover_closed(dir, first, learn)?;
            listed.len = len;
            return Ok(Self {
                first,
                segment: None,
                next,
                damaged,
            });
        }

        let Recovered {
            segment,
            next,
            damaged,
        } = Segment::recover(dir, first, durability, learn)?;
        listed.len = segment.len;
        Ok(Self {
            first,
            segment: Some(segment),
            next,
            damaged,
        })
    }
}

/// The first numbers of the segments in a directory, from oldest to newest.
pub(in crate::store) fn firsts(dir: &Path) -> io::Result<Vec<u64>> {
    Ok(names(dir)?.into_keys().collect())
}

/// The segments in a directory, from oldest to newest. What a compression or an unpacking has left that did not come to its
/// end is deleted.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Listed>> {
    delete_unnamed(dir)?;
    let names = names(dir)?.into_iter();
    names
        .map(|(first, form)| match form {
            Form::Plain => listed_plain(dir, first),
            Form::Packed => listed_packed(dir, first),
        })
        .collect()
}

/// The first numbers of the segments in a directory, each with its form: the plain one if it is there in both.
fn names(dir: &Path) -> io::Result<BTreeMap<u64, Form>> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        if let Some((first, form)) = entry?.file_name().to_str().and_then(parse) {
            let known = names.entry(first).or_insert(form);
            *known = form.min(*known);
        }
    }
    Ok(names)
}

/// A segment that is there as a plain file. If it is compressed, too, the file that holds less is deleted: entries that were
/// acknowledged may be in the other one alone.
fn listed_plain(dir: &Path, first: u64) -> io::Result<Listed> {
    let (plain, packed) = (
        path_of(dir, first, Form::Plain),
        path_of(dir, first, Form::Packed),
    );
    let len = fs::metadata(&plain)?.len();

    match Packed::open(&packed) {
        Ok(found) if found.has_more_than(len) => {
            tracing::warn!(
                file = %packed.display(), bytes = found.len(), plain_bytes = len,
                "a log segment is compressed, and a part of it also exists as lines, which an interrupted unpacking \
                 has left; the compressed file is kept, and the part is deleted"
            );
            let mut listed = listed_packed(dir, first)?;
            listed.plain = delete_plain(&plain);
            return Ok(listed);
        }
        Ok(_) => {
            if let Err(error) = fs::remove_file(&packed) {
                tracing::warn!(file = %packed.display(), %error, "cannot delete the incomplete file of a compression; \
                    the plain file is read");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(
                file = %packed.display(), %error,
                "a log segment exists both as lines and compressed, and the compressed file cannot be read; it is left where it \
                 is, and the plain file is read"
            );
        }
    }
    Ok(Listed::new(first, len))
}

/// A compressed segment as it is found. One that cannot be read is listed without bytes, and tried again later.
fn listed_packed(dir: &Path, first: u64) -> io::Result<Listed> {
    let path = path_of(dir, first, Form::Packed);
    let bytes = fs::metadata(&path)?.len();
    let len = match Packed::open(&path) {
        Ok(packed) => {
            if !packed.has_table() {
                tracing::warn!(
                    file = %path.display(),
                    "the table of a compressed log segment is damaged; its frames are read instead"
                );
            }
            packed.len()
        }
        // A program without the library would otherwise leave out what it cannot read.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Err(error),
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "a compressed log segment cannot be read");
            0
        }
    };

    Ok(Listed {
        packed: Some(bytes),
        ..Listed::new(first, len)
    })
}

/// Deletes the files with temporary names that compressions have left that did not come to their ends.
fn delete_unnamed(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".ndjson.zst.new") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
