//! One file of the log: its name, appending to it, and what is left of it after a crash.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::StoreError;
use super::dir_lock::DirLock;
use super::entry::EntryRef;
use super::lines::{Line, Lines, Sequence};

/// The highest sequence number: the last integer that every JSON reader takes for what it is (RFC 8259
/// section 6).
pub(super) const SEQ_MAX: u64 = (1 << 53) - 1;

/// Permissions of the store's files: what is logged is not for all users of the machine.
pub(super) const FILE_MODE: u32 = 0o600;

const EXTENSION: &str = ".ndjson";

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    /// The sequence number in its name.
    pub(super) first: u64,
    /// How many of its bytes are on the disk.
    pub(super) len: u64,
    /// Whether readers know of it. Before its first entries are on the disk they do not.
    pub(super) listed: bool,
    /// Which file of the disk it is.
    identity: Identity,
    /// When it was made.
    born: SystemTime,
}

/// Tells a file from one that has taken its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
        }
    }
}

/// What [`Segment::recover`] found.
pub(super) struct Recovered {
    pub(super) segment: Segment,
    /// The first sequence number that no line of the file can have held.
    pub(super) next: u64,
    /// The offsets of lines that make no sense.
    pub(super) damaged: Vec<u64>,
}

impl Segment {
    /// Makes the file for the entries from `first` on, and with `lock` its name durable.
    pub(super) fn create(
        dir: &Path,
        first: u64,
        lock: Option<&DirLock>,
    ) -> Result<Self, StoreError> {
        let path = path(dir, first);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;

        let made = file.metadata().map_err(StoreError::io("read", &path))?;

        let segment = Self {
            file,
            path,
            first,
            len: 0,
            listed: false,
            identity: Identity::of(&made),
            born: SystemTime::now(),
        };

        if let Some(lock) = lock
            && let Err(error) = lock.sync()
        {
            let error = StoreError::io("fsync", dir)(error);
            // It was logged where that fails, and the caller is told of the first error.
            let _ = segment.give_up();
            return Err(error);
        }

        Ok(segment)
    }

    /// Opens the newest segment, cuts off a line that was not written to its end, and with `fsync`
    /// makes the rest durable.
    ///
    /// The rest may not be durable yet: the process before may have been killed between its write and its
    /// `fdatasync`. Shown to readers and then lost with the power, its numbers would be given out a second
    /// time.
    pub(super) fn recover(dir: &Path, first: u64, fsync: bool) -> Result<Recovered, StoreError> {
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
                    let mended = accept_but_for_newline(&mut sequence, &line);
                    tail = Some((
                        line.offset + if mended { line.bytes - 1 } else { 0 },
                        mended,
                    ));
                } else if !accept(&mut sequence, &line) {
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

    /// Writes whole lines with one write, and with `fsync` makes them durable.
    ///
    /// After an error the file must not be appended to again: see [`give_up`](Self::give_up).
    pub(super) fn append(&mut self, lines: &[u8], fsync: bool) -> Result<(), StoreError> {
        self.file
            .write_all(lines)
            .map_err(StoreError::io("write", &self.path))?;

        if fsync {
            self.file
                .sync_data()
                .map_err(StoreError::io("fdatasync", &self.path))?;
        }

        let len = self.len + lines.len() as u64;
        let file = self
            .file
            .metadata()
            .map_err(StoreError::io("read", &self.path))?;
        if file.len() != len {
            // Somebody has shortened the file since it was looked at: the lines are not where they belong.
            return Err(StoreError::Changed {
                path: self.path.clone(),
            });
        }

        self.len = len;
        Ok(())
    }

    /// Says how the file differs from what was left of it, if it does. Such a file is not written to: what is
    /// written there may be lost, or go into a file of another program.
    pub(super) fn change(&self) -> Option<String> {
        let named = match fs::symlink_metadata(&self.path) {
            Ok(named) => named,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some("it is gone".into());
            }
            // Writing will show what is wrong.
            Err(_) => return None,
        };

        if named.is_symlink() {
            return Some("a symbolic link has taken its place".into());
        }
        if Identity::of(&named) != self.identity {
            return Some("another file has taken its place".into());
        }
        if named.nlink() != 1 {
            return Some(format!("it has {} names (hard links)", named.nlink()));
        }
        if named.len() != self.len {
            let (found, left) = (named.len(), self.len);
            return Some(format!("it has {found} bytes, and {left} were left"));
        }

        None
    }

    /// Whether it is as old as this. A clock that was set back makes it younger.
    pub(super) fn is_as_old_as(&self, age: Duration) -> bool {
        self.born.elapsed().is_ok_and(|elapsed| elapsed >= age)
    }

    /// Takes an empty file away whose name is needed again, if it is no longer what was left.
    pub(super) fn set_aside(&self) {
        let aside = self.path.with_extension("ndjson.changed");
        if let Err(error) = fs::rename(&self.path, &aside)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(file = %self.path.display(), %error, "cannot rename a file of the log that was changed");
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes back what a failed append has left behind, as far as the disk lets it.
    ///
    /// A file that readers do not know of holds nothing and goes away, so that a full disk does not fill up
    /// with empty files. One they know of stays even if it is empty: were it the only one, the next start
    /// would find no file and count from 1 again.
    ///
    /// # Errors
    ///
    /// Where the disk refuses, which is logged.
    pub(super) fn give_up(self) -> io::Result<()> {
        let taken_back = if self.listed {
            self.cut_off(self.len)
        } else {
            fs::remove_file(&self.path)
        };

        taken_back.inspect_err(|error| {
            tracing::warn!(
                file = %self.path.display(), %error,
                "cannot take back log entries that failed; they may show up after a restart"
            );
        })
    }
}

impl Segment {
    /// Makes the file shorter, never longer: another program may have cut off more.
    fn cut_off(&self, len: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > len {
            self.file.set_len(len)?;
        }

        Ok(())
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

/// The file of the segment that starts with `first`.
pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{EXTENSION}"))
}

/// The sequence number in the name of a segment, or `None` if the file is something else.
pub(super) fn first_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let first = digits
        .parse()
        .ok()
        .filter(|first| (1..=SEQ_MAX).contains(first))?;
    (format!("{first:020}") == digits).then_some(first)
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    // Elsewhere a directory cannot be opened as a file, and its names need no such step.
    if cfg!(unix) {
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(StoreError::io("fsync", dir))?;
    }

    Ok(())
}

fn accept(sequence: &mut Sequence, line: &Line<'_>) -> bool {
    sequence.accept(
        EntryRef::parse(line.text).map(|entry| entry.seq),
        line.bytes,
    )
}

/// Takes a last line in which the newline has become another byte: that entry may have been acknowledged. One
/// that merely lacks its newline cannot have been.
fn accept_but_for_newline(sequence: &mut Sequence, line: &Line<'_>) -> bool {
    let entry = line
        .text
        .split_last()
        .and_then(|(_, text)| EntryRef::parse(text));

    let mut mended = *sequence;
    let accepted = entry.is_some_and(|entry| mended.accept(Some(entry.seq), line.bytes));

    // What is cut off hides no numbers, so a line that is not taken must leave no trace.
    if accepted {
        *sequence = mended;
    }

    accepted
}

/// Devices in the place of files, for tests of a disk that fails.
#[cfg(test)]
pub(super) mod stand_in {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_twenty_digits_and_an_extension() {
        let check = |name, expected| assert_eq!(first_in(name), expected, "{name}");

        check("00000000000000000001.ndjson", Some(1));
        check("00009007199254740991.ndjson", Some(SEQ_MAX));
        check("00009007199254740992.ndjson", None);
        check("00000000000000000000.ndjson", None);
        check("0000000000000000001.ndjson", None);
        check("+0000000000000000001.ndjson", None);
        check("00000000000000000001.json", None);
        check("lock", None);

        assert_eq!(
            path(Path::new("d"), 42),
            Path::new("d/00000000000000000042.ndjson")
        );
    }

    #[test]
    fn a_symbolic_link_in_place_of_the_newest_segment_is_refused_and_what_it_leads_to_is_left_alone()
     {
        let dir = tempfile::TempDir::new().unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "of another program, without a newline").unwrap();
        std::os::unix::fs::symlink(&other, path(dir.path(), 1)).unwrap();

        let Err(error) = Segment::recover(dir.path(), 1, false) else {
            panic!("the link is followed");
        };
        assert!(
            error.to_string().contains("it is a symbolic link"),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(&other).unwrap(),
            "of another program, without a newline"
        );
    }

    #[test]
    fn giving_up_removes_a_new_file_and_shortens_one_that_readers_know() {
        let dir = tempfile::TempDir::new().unwrap();
        let lock = DirLock::take(dir.path()).unwrap();
        let segment = Segment::create(dir.path(), 7, Some(&lock)).unwrap();
        assert!(path(dir.path(), 7).exists());
        segment.give_up().unwrap();
        assert!(!path(dir.path(), 7).exists());

        let mut segment = Segment::create(dir.path(), 8, None).unwrap();
        segment.append(b"durable\n", true).unwrap();
        segment.listed = true;

        // What a write that failed half way has left.
        segment.file.write_all(b"not dur").unwrap();
        segment.give_up().unwrap();
        assert_eq!(fs::read(path(dir.path(), 8)).unwrap(), b"durable\n");
    }
}
