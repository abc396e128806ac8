//! Recovery of the newest segment after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use super::super::entry::EntryRef;
use super::super::lines::{Line, Lines, Sequence};
use super::super::opening::synced_bytes;
use super::super::{Durability, StoreError};
use super::holes::first_hole;
use super::{Identity, SEQ_MAX, Segment, SegmentFile, path, path_there};

/// How many bytes are read at a time.
const BLOCK_BYTES: usize = 256 * 1024;

/// What [`Segment::recover`] found.
pub(in crate::store) struct Recovered {
    pub(in crate::store) segment: Segment,
    /// The first sequence number that no line of the file can have held.
    pub(in crate::store) next: u64,
    /// The offsets of lines that make no sense.
    pub(in crate::store) damaged: Vec<u64>,
}

impl Segment {
    /// Opens the newest segment, cuts off a line that was not written to its end, and syncs the rest
    /// where it is to outlive a loss of power.
    ///
    /// The rest may not be durable yet: the process before may have been killed between its write and its
    /// `fdatasync`. Shown to readers and then lost with the power, its numbers would be given out a second
    /// time.
    ///
    /// `learn` is told of each entry, in their order, and where its line ends.
    pub(in crate::store) fn recover(
        dir: &Path,
        first: u64,
        durability: Durability,
        learn: &mut dyn FnMut(&EntryRef<'_>, u64),
    ) -> Result<Recovered, StoreError> {
        let path = path(dir, first);
        let file = open_itself(&path, Writes::Append).map_err(StoreError::io("open", &path))?;
        let read = StoreError::io("read", &path);
        let found = file.metadata().map_err(read)?;
        // A copy of the file under another name is not changed with it.
        let is_shared = found.nlink() != 1;
        #[cfg(test)]
        let file = stand_in::take().unwrap_or(file);

        let mut len = file
            .metadata()
            .map_err(StoreError::io("read", &path))?
            .len();

        // Of a write that was not synced, a batch may be there without its first line.
        let synced = synced_bytes(dir, first).unwrap_or(len).min(len);
        let hole = first_hole(&file, synced..len).map_err(StoreError::io("read", &path))?;
        let end = hole.unwrap_or(len);

        let mut found_lines = Found::new(first);
        Lines::new(&file, 0, end, BLOCK_BYTES)
            .and_then(|lines| found_lines.read(lines, learn))
            .map_err(StoreError::io("read", &path))?;
        let Found {
            sequence,
            damaged,
            tail,
            ..
        } = found_lines;
        let tail = tail.or(hole.map(|kept| Tail {
            kept,
            mended: false,
        }));

        if let Some(Tail { kept, mended }) = tail {
            tracing::warn!(
                file = %path.display(), offset = kept, bytes = len - kept, mended, zeros = hole,
                "cut off the end of the log, which was not written completely: a line without its newline, a batch without \
                 its end, or a write of which the disk has zeros in place of a part, from `zeros` on; with `mended`, the \
                 line was complete and gets its newline"
            );

            len = kept;
            if !is_shared {
                file.set_len(kept)
                    .map_err(StoreError::io("truncate", &path))?;
            }

            if mended && !is_shared {
                (&file)
                    .write_all(b"\n")
                    .map_err(StoreError::io("write", &path))?;
                len += 1;
            }
        }

        if durability == Durability::Power && len > 0 {
            file.sync_data()
                .map_err(StoreError::io("fdatasync", &path))?;
        }

        let segment = Self {
            file,
            path,
            first,
            len,
            listed: true,
            identity: Identity::of(&found),
            // Where the file system does not note it, the last write will do.
            born: found
                .created()
                .or_else(|_| found.modified())
                .unwrap_or_else(|_| SystemTime::now()),
            synced_in: None,
        };

        Ok(Recovered {
            segment,
            next: sequence.next(),
            damaged,
        })
    }
}

/// What [`recover_closed`] found.
pub(in crate::store) struct RecoveredClosed {
    /// The bytes of its lines.
    pub(in crate::store) len: u64,
    /// The first sequence number that no line of the file can have held.
    pub(in crate::store) next: u64,
    /// The offsets of lines that make no sense.
    pub(in crate::store) damaged: Vec<u64>,
}

/// Reads a segment that is not written to any more, though none comes behind it: the newest was taken away. Nothing of it
/// is cut off. `learn` is told of each entry, as in [`Segment::recover`].
pub(in crate::store) fn recover_closed(
    dir: &Path,
    first: u64,
    learn: &mut dyn FnMut(&EntryRef<'_>, u64),
) -> Result<RecoveredClosed, StoreError> {
    let mut found = Found::new(first);
    let mut read = || {
        let file = SegmentFile::find(dir, first)?;
        let len = file.len()?;
        found.read(Lines::new(&file, 0, len, BLOCK_BYTES)?, learn)?;
        Ok(len)
    };

    let len = read().map_err(StoreError::io("read", &path_there(dir, first)))?;
    Ok(RecoveredClosed {
        len,
        next: found.sequence.next(),
        damaged: found.damaged,
    })
}

/// Cuts off what a write that failed has left at the end of a segment that is not the newest. A file with another name, too, is
/// left as it is. That it fails is logged.
pub(in crate::store) fn cut_left_behind(dir: &Path, first: u64, kept: u64, durability: Durability) {
    let path = path(dir, first);
    match try_to_cut(&path, kept, durability) {
        Ok(bytes) => tracing::warn!(
            file = %path.display(), offset = kept, bytes,
            "cut off what a failed write has left at the end of a log segment: a line without its newline, or a batch without \
             its end"
        ),
        Err(error) => tracing::error!(
            file = %path.display(), offset = kept, %error,
            "cannot cut off what a failed write has left at the end of a log segment; if it is sent again, it is there twice"
        ),
    }
}

/// Returns how many bytes were cut off.
fn try_to_cut(path: &Path, kept: u64, durability: Durability) -> io::Result<u64> {
    let file = open_itself(path, Writes::Append)?;
    let found = file.metadata()?;
    if found.nlink() != 1 {
        return Err(io::Error::other("it has several names (hard links)"));
    }

    file.set_len(kept)?;
    // Retention goes by it.
    file.set_modified(found.modified()?)?;
    if durability == Durability::Power {
        file.sync_all()?;
    }
    Ok(found.len() - kept)
}

/// The content of the lines of a segment.
struct Found {
    sequence: Sequence,
    /// The offsets of lines that make no sense.
    damaged: Vec<u64>,
    /// The end that is cut off, if any.
    tail: Option<Tail>,
    /// The last batch, until its last entry has come.
    batch: Option<OpenBatch>,
}

/// Where a file is cut off.
struct Tail {
    /// The bytes that stay.
    kept: u64,
    /// Whether the last of the bytes that go was a newline before it was damaged.
    mended: bool,
}

/// A batch whose last entry has not come yet.
struct OpenBatch {
    /// Where its first line begins.
    offset: u64,
    /// The number of its last entry.
    last: u64,
    /// The sequence before it.
    before: Sequence,
    /// Number of damaged lines before it.
    damaged: usize,
}

impl Found {
    fn new(first: u64) -> Self {
        Self {
            sequence: Sequence::new(first, SEQ_MAX),
            damaged: Vec::new(),
            tail: None,
            batch: None,
        }
    }

    fn read(
        &mut self,
        mut lines: Lines<impl BufRead>,
        learn: &mut dyn FnMut(&EntryRef<'_>, u64),
    ) -> io::Result<()> {
        while let Some(line) = lines.next()? {
            let before = self.sequence;
            let entry = if line.whole {
                accept(&mut self.sequence, &line)
            } else {
                accept_but_for_newline(&mut self.sequence, &line)
            };

            if !line.whole {
                let mended = entry.is_some();
                let newline = if mended { line.bytes - 1 } else { 0 };
                let kept = line.offset + newline;
                self.tail = Some(Tail { kept, mended });
            } else if entry.is_none() {
                self.damaged.push(line.offset);
            }

            if let Some(entry) = entry {
                self.note_batch(&entry, line.offset, before);
                learn(&entry, line.offset + line.bytes);
            }
        }

        self.cut_batch();
        Ok(())
    }

    fn note_batch(&mut self, entry: &EntryRef<'_>, offset: u64, before: Sequence) {
        if self
            .batch
            .as_ref()
            .is_some_and(|open| entry.seq >= open.last)
        {
            self.batch = None;
        }

        if let Some(batch) = entry.batch().filter(|batch| batch.count > 1) {
            self.batch = Some(OpenBatch {
                offset,
                last: entry.seq + batch.count - 1,
                before,
                damaged: self.damaged.len(),
            });
        }
    }

    /// Cuts off a batch whose end is missing: it was not acknowledged. Where lines of it are damaged, the end may be among
    /// them, and all is left as it is.
    fn cut_batch(&mut self) {
        if let Some(open) = self.batch.take()
            && open.damaged == self.damaged.len()
        {
            let (kept, mended) = (open.offset, false);
            self.tail = Some(Tail { kept, mended });
            self.sequence = open.before;
        }
    }
}

/// Where a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// Behind its end.
    Append,
    /// At an offset.
    AtOffset,
}

/// Opens a file for reading and writing, and not what a symbolic link in its place leads to: what is
/// written, and cut off, would be another program's file.
pub(super) fn open_itself(path: &Path, writes: Writes) -> io::Result<File> {
    let refused = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    let named = fs::symlink_metadata(path)?;
    if named.is_symlink() {
        return refused("it is a symbolic link; put the file itself there, or remove the link");
    }
    if !named.is_file() {
        return refused("it is not a regular file; remove it");
    }

    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .append(writes == Writes::Append)
        .open(path)?;
    let opened = file.metadata()?;
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return refused("it was replaced while it was opened");
    }

    Ok(file)
}

fn accept<'a>(sequence: &mut Sequence, line: &Line<'a>) -> Option<EntryRef<'a>> {
    let entry = EntryRef::parse(line.text);
    let accepted = sequence.accept(entry.as_ref().map(|entry| entry.seq), line.bytes);
    entry.filter(|_| accepted)
}

/// Takes a last line in which the newline has become another byte: that entry may have been acknowledged. One
/// that merely lacks its newline cannot have been, also if the space before that is there by which it begins a write.
pub(in crate::store) fn accept_but_for_newline<'a>(
    sequence: &mut Sequence,
    line: &Line<'a>,
) -> Option<EntryRef<'a>> {
    let (last, text) = line.text.split_last()?;
    if *last == b' ' {
        return None;
    }
    let entry = EntryRef::parse(text)?;

    // What is cut off hides no numbers, so a line that is not taken must leave no trace.
    let mut mended = *sequence;
    if !mended.accept(Some(entry.seq), line.bytes) {
        return None;
    }

    *sequence = mended;
    Some(entry)
}

/// Devices instead of files, for tests of a disk that fails.
#[cfg(test)]
pub(in crate::store) mod stand_in {
    use std::cell::Cell;

    use super::{File, OpenOptions, Path};

    thread_local! {
        static NEXT: Cell<Option<File>> = const { Cell::new(None) };
    }

    /// Lets the next segment that this thread recovers write to a device.
    pub(in crate::store) fn open_instead(device: &Path) {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(device)
            .expect("the device is there");
        take_instead(file);
    }

    /// Lets the next segment that this thread recovers be this file.
    pub(in crate::store) fn take_instead(file: File) {
        NEXT.set(Some(file));
    }

    pub(super) fn take() -> Option<File> {
        NEXT.take()
    }
}
