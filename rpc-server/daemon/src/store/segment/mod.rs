//! One file of the log: its name, appending to it, and what is left of it after a crash.

mod file;
mod holes;
mod names;
mod recover;
mod settle;
#[cfg(test)]
mod tests;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::dir_lock::DirLock;
use super::{Durability, StoreError};

pub(super) use file::SegmentFile;
pub(super) use names::{Form, SEQ_MAX, beside, modified, parse, path, path_of, path_there};
#[cfg(test)]
pub(super) use recover::stand_in;
pub(super) use recover::{
    Recovered, RecoveredClosed, accept_but_for_newline, cut_left_behind, recover_closed,
};
pub(super) use settle::{sync_older, write_again};

/// Permissions of the store's files: what is logged is not for all users of the machine.
pub(super) const FILE_MODE: u32 = 0o600;

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
    /// How long it took to make the last entries durable, where that was done.
    pub(super) synced_in: Option<Duration>,
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

impl Segment {
    /// Makes the file for the entries from `first` on at this time, and with `lock` its name durable.
    pub(super) fn create(
        dir: &Path,
        first: u64,
        lock: Option<&DirLock>,
        now: SystemTime,
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
            born: now,
            synced_in: None,
        };

        if let Some(lock) = lock
            && let Err(error) = lock.sync()
        {
            let error = StoreError::io("fsync", dir)(error);
            // Nothing is in it yet.
            return Err(segment.give_up(error, None));
        }

        Ok(segment)
    }

    /// Writes whole lines with one write, and syncs them where they are to outlive a loss of power.
    ///
    /// After an error the file must not be appended to again: see [`give_up`](Self::give_up).
    pub(super) fn append(
        &mut self,
        lines: &[u8],
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.file
            .write_all(lines)
            .map_err(StoreError::io("write", &self.path))?;

        if durability == Durability::Power {
            let begun = Instant::now();
            self.file
                .sync_data()
                .map_err(StoreError::io("fdatasync", &self.path))?;
            self.synced_in = Some(begun.elapsed());
        }

        let len = self.len + lines.len() as u64;
        let file = self
            .file
            .metadata()
            .map_err(StoreError::io("read", &self.path))?;
        if file.len() != len {
            // The file was shortened since it was looked at: the lines are not where they belong.
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
            return Some(format!(
                "it has {found} bytes, and had {left} after the last write"
            ));
        }

        None
    }

    /// Whether it is as old as this. If the clock was set back behind its begin, its age cannot be told, and it counts as
    /// old: waiting for the clock to catch up may take years.
    pub(super) fn is_as_old_as(&self, age: Duration, now: SystemTime) -> bool {
        now.duration_since(self.born)
            .map_or(true, |elapsed| elapsed >= age)
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

    /// Takes back what an append that failed with this error has left behind, as far as the disk lets it. Returns the error
    /// that callers are told: if the disk refuses, it must not say that their entries are not there.
    ///
    /// A file that readers do not know of holds nothing and goes away, so that a full disk does not fill up
    /// with empty files. One they know of stays even if it is empty: were it the only one, the next start
    /// would find no file and count from 1 again.
    ///
    /// With `lock` it is taken back durably: the callers are told that their entries are not there, and send them again. A
    /// sync of the file says nothing about lines whose own sync has failed, and need not, since they are gone.
    pub(super) fn give_up(self, failed: StoreError, lock: Option<&DirLock>) -> StoreError {
        let (kept, taken_back) = if self.listed {
            (self.len, self.cut_off(self.len, lock))
        } else {
            let removed = fs::remove_file(&self.path);
            (0, removed.and_then(|()| lock.map_or(Ok(()), DirLock::sync)))
        };

        let Err(error) = taken_back else {
            return failed;
        };
        tracing::warn!(
            file = %self.path.display(), %error, %failed,
            "cannot remove log entries whose write failed; they may appear after a restart"
        );
        StoreError::LeftBehind {
            path: self.path,
            kept,
            source: Arc::new(error),
        }
    }
}

impl Segment {
    /// Makes the file shorter, never longer: another program may have cut off more.
    fn cut_off(&self, len: u64, lock: Option<&DirLock>) -> io::Result<()> {
        if self.file.metadata()?.len() <= len {
            return Ok(());
        }

        self.file.set_len(len)?;
        match lock {
            Some(_) => self.file.sync_data(),
            None => Ok(()),
        }
    }
}
