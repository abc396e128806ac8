//! Indexes of closed segments that have none: of logs from before there were indexes, and where one was damaged.

use std::io;

use super::super::entry::EntryRef;
use super::super::lines::{Lines, Sequence};
use super::super::segment::SegmentFile;
use super::super::segments::{Segments, View};
use super::super::walk::BLOCK_BYTES;
use super::{Brief, Index, write};

/// Makes them, from the newest segment down, until all are there or `is_over` says so.
pub(in crate::store) fn build_missing(segments: &Segments, is_over: &dyn Fn() -> bool) {
    for view in segments.closed_without_index() {
        if is_over() {
            return;
        }

        if segments.read_index(&view).is_some() {
            continue;
        }

        match build(&view, is_over) {
            Ok(Some(index)) => {
                segments.note_index(&view, &index);
                if let Err(error) = write(&view.path, &index) {
                    tracing::warn!(file = %view.path.display(), %error, "cannot write the index of a log segment");
                }
            }
            Ok(None) => {}
            // A reader of this entry gets an error that says what is wrong.
            Err(error) => {
                tracing::debug!(file = %view.path.display(), %error, "cannot index a log segment");
            }
        }
    }
}

/// `None` if the segment has no entries, or the work is over.
fn build(view: &View, is_over: &dyn Fn() -> bool) -> io::Result<Option<Index>> {
    let file = SegmentFile::open(&view.path, view.form)?;
    let mut lines = Lines::new(&file, 0, view.len, BLOCK_BYTES)?;
    let mut sequence = Sequence::new(view.first, view.last);
    let mut index = Index::default();

    while let Some(line) = lines.next()? {
        if is_over() {
            return Ok(None);
        }

        let entry = EntryRef::parse(line.text);
        if sequence.accept(entry.as_ref().map(|entry| entry.seq), line.bytes)
            && let Some(entry) = entry
        {
            index.add(&Brief::of(&entry), line.offset + line.bytes);
        }
    }

    Ok(index.fitted(view.len, view.last))
}
