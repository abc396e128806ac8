//! Errors of the store.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rpc_core::api::log::Extent;
use rpc_server::blocking::BlockingError;

/// Why the store did not do what it was asked.
///
/// It can be cloned, because one failed write fails every entry of its batch.
#[derive(Debug, Clone)]
pub(crate) enum StoreError {
    /// Another process, or another store of this one, has the directory open.
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The disk or the quota is full. The entry was not kept; later ones are taken again as soon as there is
    /// room.
    Full {
        /// The file that could not be written.
        path: PathBuf,
    },
    /// The disk failed otherwise.
    Io {
        /// What was being done, as an infinitive: "write".
        action: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// The error of the operating system.
        source: Arc<io::Error>,
    },
    /// The process or the system has no file descriptor left. The entry was not written, or nothing was read; the
    /// same may be sent again later.
    NoDescriptors {
        /// The file or directory that could not be opened.
        path: PathBuf,
    },
    /// The process may not write files as large as this one would be (`ulimit -f`, `LimitFSIZE`). The entry was
    /// not kept.
    FileSizeLimit {
        /// The file that could not be written.
        path: PathBuf,
    },
    /// An append has failed, and the disk has not taken its entries back: they may be found after a restart.
    LeftBehind {
        /// The file that they are in.
        path: PathBuf,
        /// The bytes of the file before them.
        kept: u64,
        /// Why they could not be taken back.
        source: Arc<io::Error>,
    },
    /// Another program has changed the file while the entry was written to it.
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// More is waiting for the disk than [`queue_bytes_max`](super::LogConfig::queue_bytes_max) allows. The
    /// entry was not taken; the same one may be sent again later.
    Overloaded,
    /// A service has appended as much as it may for now. The entries were not taken; the same may be sent again later.
    OverBudget {
        /// The service; empty for those that are not told apart.
        service: String,
        /// What it may append in a second, in bytes.
        bytes_per_second: u64,
        /// When it may go on.
        wait: Duration,
    },
    /// The entry is longer than a line may be. It will never be taken.
    TooLarge {
        /// The length of its line, in bytes.
        bytes: usize,
        /// The longest line there may be, in bytes.
        bytes_max: usize,
    },
    /// The emitted entries of a call take more than [`emit_queue_bytes_max`](super::LogConfig::emit_queue_bytes_max) has
    /// room for, even if no other entries wait. They will never be taken together.
    EmitTooLarge {
        /// What they take, in bytes.
        bytes: u64,
        /// What is there for all services, in bytes.
        bytes_max: u64,
    },
    /// The cursor belongs to another log.
    OtherLog {
        /// The log that was asked for.
        asked: String,
        /// What there is.
        extent: Extent,
    },
    /// The cursor is past the last entry.
    PastEnd {
        /// The number that was asked for.
        after: u64,
        /// What there is.
        extent: Extent,
    },
    /// The key belongs to an append with other params.
    KeyConflict {
        /// The key.
        key: String,
    },
    /// The append is a repetition, and its key may have been here and is not known any more.
    KeyForgotten,
    /// There is no room for the key. The entry was not taken; the same one may be sent again later.
    KeysFull,
    /// Another batch of the producer has this number.
    BatchConflict,
    /// The number of the batch is below those that are remembered.
    BatchStale {
        /// The highest number of the producer.
        last_batch: u64,
    },
    /// The store was closed.
    Closed,
    /// The store is about to be closed: no reader waits for entries any more.
    Ending,
    /// No thread has read the files.
    Blocking(BlockingError),
}

impl StoreError {
    /// For `map_err` behind an operation on a file: names the action and the path, and tells a full disk from
    /// a broken one.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path: path.into() }
            }
            io::ErrorKind::FileTooLarge => Self::FileSizeLimit { path: path.into() },
            _ if is_without_descriptors(&source) => Self::NoDescriptors { path: path.into() },
            _ => Self::Io {
                action,
                path: path.into(),
                source: Arc::new(source),
            },
        }
    }
}

/// ENFILE and EMFILE, which the standard library has no names for; every Unix has these numbers for them.
fn is_without_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

impl StoreError {
    /// Whether it says that the entry is not in the log, so that it may be sent again as if it had never been here.
    pub(super) fn did_not_run(&self) -> bool {
        matches!(
            self,
            Self::Full { .. }
                | Self::FileSizeLimit { .. }
                | Self::NoDescriptors { .. }
                | Self::Overloaded
                | Self::Closed
        )
    }
}

const KEY_CONFLICT: &str =
    "the `idempotency-key` belongs to an append with other params; a new entry needs a new key";
const KEY_FORGOTTEN: &str = "this append is a repetition, and the log no longer knows whether the entry was written: keys of \
    that age were forgotten; check before you send it as a new entry";
const KEYS_FULL: &str = "too many appends with an `idempotency-key` are on their way to the disk; this one was not taken, \
    send it again later";

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { dir } => {
                write!(
                    f,
                    "the log directory {} is in use: another daemon holds its lock",
                    dir.display()
                )
            }
            Self::Full { path } => write!(f, "no room on the disk for {}", path.display()),
            Self::Io {
                action,
                path,
                source,
            } => write!(f, "cannot {action} {}: {source}", path.display()),
            Self::NoDescriptors { path } => write!(
                f,
                "no file descriptor is left to open {}; raise `ulimit -n` or LimitNOFILE",
                path.display()
            ),
            Self::FileSizeLimit { path } => write!(
                f,
                "{} would be larger than a file of this process may be; raise `ulimit -f` or LimitFSIZE",
                path.display()
            ),
            Self::LeftBehind { path, source, .. } => write!(
                f,
                "cannot remove log entries whose write failed from {}: {source}; they may appear after a restart",
                path.display()
            ),
            Self::Changed { path } => {
                write!(f, "another program has changed {}", path.display())
            }
            Self::Overloaded => f.write_str("too much is waiting for the disk of the log"),
            Self::OverBudget {
                service,
                bytes_per_second,
                ..
            } => write!(
                f,
                "the service `{service}` is over its budget of {bytes_per_second} bytes a second; send it again later"
            ),
            Self::TooLarge { bytes, bytes_max } => {
                write!(
                    f,
                    "the log entry takes {bytes} bytes, and at most {bytes_max} are allowed"
                )
            }
            Self::EmitTooLarge { bytes, bytes_max } => write!(
                f,
                "the emitted entries take {bytes} bytes, and there is room for {bytes_max}: send fewer in a call, or raise \
                 `log.emit_queue_bytes_max`"
            ),
            Self::OtherLog { asked, extent } => write!(
                f,
                "the log is `{}`, not `{asked}`: the server has another data directory now; continue from entry {}",
                extent.log, extent.oldest
            ),
            Self::PastEnd { after, extent } => write!(
                f,
                "`params.after` is {after}, but the last entry of the log is {}: later entries are lost",
                extent.last
            ),
            Self::KeyConflict { .. } => f.write_str(KEY_CONFLICT),
            Self::KeyForgotten => f.write_str(KEY_FORGOTTEN),
            Self::KeysFull => f.write_str(KEYS_FULL),
            Self::BatchConflict => f.write_str("the producer has sent other entries with this number"),
            Self::BatchStale { last_batch } => write!(
                f,
                "the batch's number is below those that the log remembers of its producer, which end with {last_batch}"
            ),
            Self::Closed => f.write_str("the log is closed"),
            Self::Ending => f.write_str(
                "the server is about to stop; go on with the `log` and `next` of the last item when it is back",
            ),
            Self::Blocking(error) => error.fmt(f),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::LeftBehind { source, .. } => Some(source.as_ref()),
            Self::Blocking(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BlockingError> for StoreError {
    fn from(error: BlockingError) -> Self {
        Self::Blocking(error)
    }
}
