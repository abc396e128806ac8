//! The file of a logger, with what happens when it cannot be written.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::pending;
use super::queue::LogQueue;
use crate::config::LoggerConfig;

/// Opens a file as the settings have it.
pub(super) type Open<R> = fn(&LoggerConfig) -> Result<R, String>;

/// A file that says in the server's log when it cannot be written, and when it can be again. `R` rotates it.
pub(super) struct File<R> {
    config: LoggerConfig,
    open: Open<R>,
    /// `None` until the lines are written that other queues have for the same file.
    roller: Option<R>,
    /// These queues.
    earlier: Vec<LogQueue>,
    is_failing: bool,
}

impl<R: Write> File<R> {
    /// Opens the file. `earlier` are the queues that still write to it, and end first: two that rotate one file would rename
    /// each other's.
    pub(super) fn open(
        config: &LoggerConfig,
        open: Open<R>,
        earlier: Vec<LogQueue>,
    ) -> Result<Self, String> {
        Ok(Self {
            config: config.clone(),
            open,
            roller: match earlier.is_empty() {
                true => Some(open(config)?),
                false => None,
            },
            earlier,
            is_failing: false,
        })
    }

    /// The file, once no other queue writes to it.
    fn roller(&mut self) -> io::Result<&mut R> {
        for earlier in std::mem::take(&mut self.earlier) {
            earlier.wait_for_end();
        }
        if self.roller.is_none() {
            self.roller = Some((self.open)(&self.config).map_err(io::Error::other)?);
        }
        Ok(self.roller.as_mut().expect("it was opened above"))
    }

    /// Writes lines; returns how many of their bytes are in the file, in whole lines, if it could not take all.
    fn try_to_write(&mut self, lines: &[u8]) -> Result<usize, (usize, io::Error)> {
        self.roller().map_err(|error| (0, error))?;
        let before = Length::of(&self.config.file);
        let roller = self.roller().map_err(|error| (0, error))?;

        let written = roller
            .write(lines)
            .map_err(|error| (keep_whole_lines(&self.config.file, &before, lines), error))?;

        let bytes = before.bytes.saturating_add(lines.len() as u64);
        if bytes >= self.config.file_bytes_max {
            self.publish();
        }
        Ok(written)
    }

    /// Renames full files whose renaming by the library has failed: behind a write that has filled a file.
    fn publish(&mut self) {
        let Some(roller) = &mut self.roller else {
            return;
        };
        // The library's thread has ended then, and renames nothing meanwhile.
        if roller.flush().is_ok() {
            pending::publish(&self.config.file, self.config.files_max);
        }
    }

    /// Has the file opened anew at the next write: someone may have moved it away, or its directory.
    fn close(&mut self) {
        if let Some(mut roller) = self.roller.take() {
            // The library's thread may have full files to rename until then. What was to be written has failed already.
            let _ = roller.flush();
        }
    }

    fn note<T>(&mut self, done: &io::Result<T>) {
        let was_failing = std::mem::replace(&mut self.is_failing, done.is_err());
        let logger = &self.config.name;
        match done {
            Err(error) if !was_failing => {
                tracing::error!(logger, %error, "lines of a logger are lost: its file cannot be written");
            }
            Ok(_) if was_failing => tracing::info!(logger, "the file of a logger is written again"),
            _ => {}
        }
    }
}

impl<R: Write> Write for File<R> {
    /// Writes lines, or as many of them as there is room for. A file that fails is tried twice, the second time anew.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut written = self.try_to_write(lines);
        if let Err((0, _)) = written {
            self.close();
            written = self.try_to_write(lines);
        }

        let written = match written {
            Ok(written) => Ok(written),
            Err((0, error)) => Err(error),
            Err((whole, _)) => {
                // The rest comes next, into the file as it is opened then.
                self.close();
                return Ok(whole);
            }
        };
        self.note(&written);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.roller.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// The length of a file, and which file that is.
struct Length {
    bytes: u64,
    #[cfg(unix)]
    inode: Option<u64>,
}

impl Length {
    fn of(file: &Path) -> Self {
        let metadata = fs::metadata(file).ok();
        Self {
            bytes: metadata.as_ref().map_or(0, fs::Metadata::len),
            #[cfg(unix)]
            inode: metadata.as_ref().map(std::os::unix::fs::MetadataExt::ino),
        }
    }

    /// Bytes that were appended since `before`; the file may have been begun anew.
    fn appended_since(&self, before: &Self) -> u64 {
        #[cfg(unix)]
        if self.inode != before.inode {
            return self.bytes;
        }
        self.bytes.checked_sub(before.bytes).unwrap_or(self.bytes)
    }
}

/// Takes the piece of a line away with which a write has ended that has failed; returns how many bytes of `lines` are in
/// the file. So the rest can be written behind them, and none comes twice.
fn keep_whole_lines(file: &Path, before: &Length, lines: &[u8]) -> usize {
    let now = Length::of(file);
    let appended = usize::try_from(now.appended_since(before)).unwrap_or(usize::MAX);
    let written = appended.min(lines.len());
    let newline = lines[..written].iter().rposition(|byte| *byte == b'\n');
    let whole = newline.map_or(0, |at| at + 1);

    let piece = (written - whole) as u64;
    let is_cut = piece > 0
        && fs::OpenOptions::new()
            .write(true)
            .open(file)
            .and_then(|file| file.set_len(now.bytes - piece))
            .is_err();
    // The line goes on where it was cut then.
    if is_cut { written } else { whole }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// A file that has room for three bytes less than it is given, and once it was opened anew for all.
    struct Short {
        file: fs::File,
        is_short: bool,
    }

    impl Write for Short {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.is_short {
                true => {
                    self.file.write_all(&bytes[..bytes.len() - 3])?;
                    Err(io::ErrorKind::StorageFull.into())
                }
                false => self.file.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn open(config: &LoggerConfig) -> Result<Short, String> {
        let is_short = !config.file.exists();
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&config.file)
            .map_err(|error| error.to_string())?;
        Ok(Short { file, is_short })
    }

    fn config(dir: &Path) -> LoggerConfig {
        LoggerConfig {
            name: "orders".into(),
            file: dir.join("orders.log"),
            ..LoggerConfig::default()
        }
    }

    #[test]
    fn lines_of_which_a_part_was_written_come_once_and_whole() {
        for lines in ["first\nsecond\nthird\n", "one long line\n"] {
            let dir = tempfile::tempdir().unwrap();
            let config = config(dir.path());
            let mut file = File::open(&config, open, Vec::new()).unwrap();
            file.write_all(lines.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&config.file).unwrap(), lines);
        }
    }

    #[test]
    fn a_file_is_not_opened_before_an_earlier_queue_has_written_its_lines_to_it() {
        /// An output that waits for its end.
        struct Held(mpsc::Receiver<()>, fs::File);

        impl Write for Held {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                // The other end is there until it may go on.
                let _ = self.0.recv();
                self.1.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let (go_on, held) = mpsc::channel();
        let output = Held(held, fs::File::create(&config.file).unwrap());
        let earlier = LogQueue::start(1 << 10, output, |_| ()).unwrap();
        earlier.push(b"earlier\n");
        earlier.close();

        let later = File::open(&config, open, vec![earlier]).unwrap();
        let later = LogQueue::start(1 << 10, later, |_| ()).unwrap();
        later.push(b"later\n");
        later.flush(Duration::from_millis(1));
        drop(go_on);
        later.flush(Duration::MAX);
        let text = fs::read_to_string(&config.file).unwrap();
        assert_eq!(text, "earlier\nlater\n");
    }
}
