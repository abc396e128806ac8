//! The state file: who sends, and what was sent last.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rpc_core::durable::cannot_sync_dirs;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::lines::{BATCH_BYTES_MAX, Origin};
use crate::exit::Failure;

/// How long a lock that is held is waited for. A run that was killed while it started `journalctl` leaves a child that holds
/// the lock until it has become that program.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The time between two tries to lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The version of the format that is written. The first one is read, too.
pub(super) const VERSION: u32 = 2;

/// What the state file holds, as JSON. It is written before each batch is sent: the batch in it may be in the log or not, and
/// is sent again as it was; the log recognises it by its number. Once all is acknowledged it is written without a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Of this format: 1 or 2. The first one has no `before`, `modified_ms` and `older`.
    pub(super) version: u32,
    pub(super) producer: String,
    pub(super) batch: u64,
    pub(super) file: FileId,
    /// The bytes of the batch in the file; of no length if each was acknowledged. What is before them is in the log.
    pub(super) from: u64,
    pub(super) to: u64,
    /// The fingerprint of what is before `to` in the file: it tells a file that was cut and has grown again.
    #[serde(default)]
    pub(super) before: Option<String>,
    /// When the file was written to last, in milliseconds since 1970: once it is gone, those that came after it are the ones
    /// that were written to later.
    #[serde(default)]
    pub(super) modified_ms: Option<u64>,
    /// The rotated files that are older than this one, and are never begun.
    #[serde(default)]
    pub(super) older: Option<Vec<FileId>>,
    /// The time of the batch's entries, in milliseconds since 1970.
    pub(super) ts: u64,
    #[serde(flatten)]
    pub(super) origin: Origin,
}

impl Stored for State {
    const SOURCE: Source = Source::File;
    const VERSION: u32 = VERSION;

    fn parse(text: &str) -> Result<Self, String> {
        let state: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let length = state.to.checked_sub(state.from);
        if length.is_none_or(|length| length > BATCH_BYTES_MAX as u64) {
            return Err(format!(
                "bytes {} to {} are not a batch, which has {BATCH_BYTES_MAX} at most",
                state.from, state.to
            ));
        }
        Ok(state)
    }
}

/// Where the entries of a state come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    /// The states of files do not name it.
    #[default]
    File,
    Journal,
}

impl Source {
    fn flag(self) -> &'static str {
        match self {
            Self::File => "--file",
            Self::Journal => "--journal",
        }
    }
}

/// A state as a state file holds it, as JSON.
pub(super) trait Stored: Serialize + Sized {
    const SOURCE: Source;
    /// The version that is written; that and all before it are read.
    const VERSION: u32;

    /// Reads a state of this source and of one of these versions.
    fn parse(text: &str) -> Result<Self, String>;
}

/// Reads any state, or says what the file is instead of one of `S`.
fn parse<S: Stored>(text: &str) -> Result<S, String> {
    /// What each state has.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
        #[serde(default)]
        source: Source,
    }

    let is_none = |reason: String| format!("is not a state file of `rpc log ship`: {reason}");

    let Versioned { version, source } =
        serde_json::from_str(text).map_err(|error| is_none(error.to_string()))?;
    if source != S::SOURCE {
        return Err(format!(
            "belongs to a run with `{}`; give this run another file",
            source.flag()
        ));
    }
    if !(1..=S::VERSION).contains(&version) {
        return Err(is_none(format!(
            "`version` is {version}, and this `rpc` reads 1 to {}",
            S::VERSION
        )));
    }
    S::parse(text).map_err(is_none)
}

/// What tells a file from others, whatever its name: a number is given anew once its file is deleted, so the beginning of the
/// file is a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// The length of the beginning that was looked at, and its fingerprint in hexadecimal digits.
    pub(super) head_bytes: u64,
    pub(super) head: String,
}

/// The state file, held by this process alone.
pub(super) struct StateFile {
    path: PathBuf,
    _lock: File,
}

impl StateFile {
    /// Locks the file and reads it; without one there is no state yet.
    pub(super) async fn open<S: Stored>(path: &Path) -> Result<(Self, Option<S>), Failure> {
        let lock = with_suffix(path, ".lock");
        let doing = || format!("cannot lock {}", lock.display());
        let file = File::create(&lock).map_err(|error| Failure::io(&doing(), &error))?;

        let given_up_at = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < given_up_at => {
                    sleep(LOCK_PAUSE).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Failure::Usage {
                        message: format!("`--state` = \"{}\" is in use", path.display()),
                        hint: "another `rpc log ship` is running with it; give each its own file"
                            .into(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(Failure::io(&doing(), &error)),
            }
        }

        let state_file = Self {
            path: path.to_owned(),
            _lock: file,
        };
        let state = state_file.read()?;
        Ok((state_file, state))
    }

    fn read<S: Stored>(&self) -> Result<Option<S>, Failure> {
        let path = self.path.display();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(&format!("cannot read {path}"), &error)),
        };

        let state = parse(&text).map_err(|message| Failure::Usage {
            message: format!("`--state`: {path} {message}"),
            hint: "with a new file, ship begins anew".into(),
        })?;
        Ok(Some(state))
    }

    /// Replaces the file, and returns once that would outlive a loss of power.
    pub(super) fn write(&self, state: &impl Stored) -> Result<(), Failure> {
        self.replace(state)
            .map_err(|error| Failure::io(&format!("cannot write {}", self.path.display()), &error))
    }

    fn replace(&self, state: &impl Stored) -> io::Result<()> {
        let new = with_suffix(&self.path, ".new");
        let mut file = File::create(&new)?;
        file.write_all(serde_json::to_string(state)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_data()?;
        std::fs::rename(&new, &self.path)?;
        sync_name(&self.path)
    }

    /// Whether this is one of the files of the state, which are not to be sent.
    pub(super) fn is_own(&self, path: &Path) -> bool {
        let own = [
            self.path.clone(),
            with_suffix(&self.path, ".lock"),
            with_suffix(&self.path, ".new"),
        ];
        own.iter().any(|it| it.file_name() == path.file_name())
    }
}

/// Makes the name of a file durable, if its file system can do that.
fn sync_name(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    match File::open(parent.unwrap_or(Path::new(".")))?.sync_all() {
        Err(error) if cannot_sync_dirs(&error) => Ok(()),
        synced => synced,
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_held_for_a_moment_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let open = || StateFile::open::<State>(&path);

        // As the child of a run that was killed holds it.
        let held = File::create(dir.path().join("state.lock")).unwrap();
        held.lock().unwrap();
        let mut waiting = Box::pin(open());
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("it is held"),
            () = sleep(Duration::from_millis(500)) => drop(held),
        }
        let (state_file, state) = waiting.await.ok().expect("it is free");
        assert!(state.is_none());

        let begun = Instant::now();
        let refused = open().await.err().expect("another run has it");
        assert!(
            matches!(refused, Failure::Usage { message, .. } if message.ends_with("is in use"))
        );
        assert!(begun.elapsed() >= LOCK_PATIENCE);
        drop(state_file);
    }

    #[test]
    fn a_state_file_may_be_on_a_file_system_that_cannot_sync_directories() {
        let dir = File::open("/proc/self").unwrap();
        assert!(dir.sync_all().is_err(), "it has learned to sync");
        sync_name(Path::new("/proc/self/state")).unwrap();
        assert!(sync_name(Path::new("/nonexistent/state")).is_err());
    }
}
