//! What is left of the newest segment after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use super::super::StoreError;
use super::super::entry::EntryRef;
use super::super::lines::{Line, Lines, Sequence};
use super::{Identity, SEQ_MAX, Segment, path};

/// What [`Segment::recover`] found.
pub(in crate::store) struct Recovered {
    pub(in crate::store) segment: Segment,
    /// The first sequence number that no line of the file can have held.
    pub(in crate::store) next: u64,
    /// The offsets of lines that make no sense.
    pub(in crate::store) damaged: Vec<u64>,
}

impl Segment {
    /// Opens the newest segment, cuts off a line that was not written to its end, and with `fsync`
    /// makes the rest durable.
    ///
    /// The rest may not be durable yet: the process before may have been killed between its write and its
    /// `fdatasync`. Shown to readers and then lost with the power, its numbers would be given out a second
    /// time.
    ///
    /// `learn` is told of each entry, in their order.
    pub(in crate::store) fn recover(
        dir: &Path,
        first: u64,
        fsync: bool,
        learn: &mut dyn FnMut(&EntryRef<'_>),
    ) -> Result<Recovered, StoreError> {
        let path = path(dir, first);
        let file = open_itself(&path).map_err(StoreError::io("open", &path))?;
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

        let mut sequence = Sequence::new(first, SEQ_MAX);
        let mut damaged = Vec::new();
        let mut tail = None;
        let read = StoreError::io("read", &path);

        let mut scan = |mut lines: Lines<BufReader<&File>>| {
            while let Some(line) = lines.next()? {
                if !line.whole {
                    let entry = accept_but_for_newline(&mut sequence, &line);
                    let mended = entry.is_some();
                    entry.inspect(&mut *learn);
                    tail = Some((
                        line.offset + if mended { line.bytes - 1 } else { 0 },
                        mended,
                    ));
                } else if let Some(entry) = accept(&mut sequence, &line) {
                    learn(&entry);
                } else {
                    damaged.push(line.offset);
                }
            }
            Ok(())
        };

        Lines::new(&file, 0, len, 256 * 1024)
            .and_then(&mut scan)
            .map_err(read)?;

        if let Some((kept, mended)) = tail {
            tracing::warn!(
                file = %path.display(), offset = kept, bytes = len - kept, mended,
                "cut off the end of the log: a line without newline, or if mended only what stood in its place"
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

        if fsync && len > 0 {
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
        };

        Ok(Recovered {
            segment,
            next: sequence.next(),
            damaged,
        })
    }
}

/// Opens a file for reading and appending, and not what a symbolic link in its place leads to: what is
/// written, and cut off, would be another program's file.
fn open_itself(path: &Path) -> io::Result<File> {
    let refused = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    let named = fs::symlink_metadata(path)?;
    if named.is_symlink() {
        return refused("it is a symbolic link; put the file itself there, or remove the link");
    }
    if !named.is_file() {
        return refused("it is not a regular file; remove it");
    }

    let file = OpenOptions::new().read(true).append(true).open(path)?;
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
/// that merely lacks its newline cannot have been.
fn accept_but_for_newline<'a>(sequence: &mut Sequence, line: &Line<'a>) -> Option<EntryRef<'a>> {
    let (_, text) = line.text.split_last()?;
    let entry = EntryRef::parse(text)?;

    // What is cut off hides no numbers, so a line that is not taken must leave no trace.
    let mut mended = *sequence;
    if !mended.accept(Some(entry.seq), line.bytes) {
        return None;
    }

    *sequence = mended;
    Some(entry)
}

/// Devices in the place of files, for tests of a disk that fails.
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
        NEXT.set(Some(file));
    }

    pub(super) fn take() -> Option<File> {
        NEXT.take()
    }
}
