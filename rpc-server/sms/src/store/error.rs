//! The reasons that the outbox does not do what it is asked for.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::states::State;

/// Lets an outbox take the key that it finds at its next start.
const FORGET_KEY: &str = "INSERT OR REPLACE INTO meta VALUES ('key_check', '')";

/// The reason that the outbox did not do what it was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// What was asked for is not allowed, or there is nothing of the kind.
    Refused(Refusal),
    /// A file of the outbox cannot be used.
    Io {
        /// What was tried, as "open".
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has the outbox open.
    Locked(PathBuf),
    /// A later version has written the outbox.
    Newer {
        /// The version of its tables.
        found: i64,
        /// The latest one that this program knows.
        known: i64,
    },
    /// The file is a database of another program.
    Foreign(PathBuf),
    /// The key of the numbers is missing, and the outbox has numbers.
    KeyMissing {
        /// The file of the key.
        key: PathBuf,
        /// The file of the outbox.
        outbox: PathBuf,
    },
    /// The key of the numbers is that of another outbox, and this one has numbers.
    KeyOfAnother {
        /// The file of the key.
        key: PathBuf,
        /// The file of the outbox.
        outbox: PathBuf,
    },
    /// The disk is full.
    Full,
    /// More transitions wait for the disk than may.
    Busy,
    /// A write could not be brought to the disk, so that what was written before is in doubt. A restart reads it again.
    Broken,
    /// The writer has ended.
    Closed,
    /// SQLite refuses something else.
    Sqlite(rusqlite::Error),
}

/// The reason that a transition is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such message, or it belongs to another owner.
    NotFound,
    /// The key belongs to a message with other contents.
    KeyReused,
    /// A key of that age may have been here and is gone: whether the message was accepted before is not known.
    KeyTooOld,
    /// The number has opted out.
    OptedOut,
    /// The number has had as many messages of the class as it may.
    NumberLimit {
        /// When the next one may come, in milliseconds from now.
        retry_after_ms: u64,
    },
    /// The calling code has had as many messages of the class as it may.
    PrefixLimit {
        /// When the next one may come, in milliseconds from now.
        retry_after_ms: u64,
    },
    /// As many messages wait as may.
    QueueFull,
    /// The message is past the point at which this could be done.
    TooLate(State),
    /// The message may have been submitted: a new attempt may reach the phone twice.
    MayDouble(State),
    /// Its text was erased, so that it cannot be sent again.
    TextErased,
}

impl StoreError {
    pub(super) fn io(
        action: &'static str,
        file: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |source| Self::Io {
            action,
            file,
            source,
        }
    }

    /// Whether the tables are as they were before: nothing was tried, or all of it was taken back.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether it fails to bring something to the disk: what the system has taken before may be lost, too, and a second
    /// try would not say so.
    pub(super) fn is_failed_sync(&self) -> bool {
        // SQLITE_IOERR_FSYNC and SQLITE_IOERR_DIR_FSYNC.
        const FSYNC: [i32; 2] = [1034, 1290];
        matches!(self, Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) if FSYNC.contains(&error.extended_code))
    }

    /// The same error once more, for each transition that shared a transaction.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Refused(refusal) => Self::Refused(refusal.clone()),
            Self::Full => Self::Full,
            Self::Busy => Self::Busy,
            Self::Closed => Self::Closed,
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, message)) => {
                Self::Sqlite(rusqlite::Error::SqliteFailure(*error, message.clone()))
            }
            _ => Self::Broken,
        }
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Sqlite(error),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Io {
                action,
                file,
                source,
            } => write!(f, "cannot {action} {}: {source}", file.display()),
            Self::Locked(file) => write!(
                f,
                "another process has the SMS outbox {} open; stop it, or set another `data` in [sms]",
                file.display()
            ),
            Self::Newer { found, known } => write!(
                f,
                "the SMS outbox has version {found}, and this program knows versions up to {known}; start a newer \
                 version of it"
            ),
            Self::Foreign(file) => write!(
                f,
                "{} is a database of another program; set another `data` in [sms]",
                file.display()
            ),
            Self::KeyMissing { key, outbox } => write!(
                f,
                "{0} is missing, and the SMS outbox has messages or opt-outs, whose numbers only this key finds; restore it \
                 from a backup. If it is lost, a new one loses all opt-outs and the counts of limits: \
                 (umask 077; head -c 32 /dev/urandom >{0}) && sqlite3 {1} \"{FORGET_KEY}\"",
                key.display(),
                outbox.display()
            ),
            Self::KeyOfAnother { key, outbox } => write!(
                f,
                "{} is the key of another SMS outbox, and {1} has messages or opt-outs, whose numbers only its own key finds; \
                 restore that from a backup. If it is lost, this one can take its place, which loses all opt-outs and the \
                 counts of limits: sqlite3 {1} \"{FORGET_KEY}\"",
                key.display(),
                outbox.display()
            ),
            Self::Full => f.write_str("the disk of the SMS outbox is full; free some of it"),
            Self::Busy => f.write_str("too much waits to be written to the SMS outbox; send more slowly"),
            Self::Broken => f.write_str(
                "the SMS outbox could not be written to the disk, and accepts no more messages; check the disk, then \
                 restart the server",
            ),
            Self::Closed => f.write_str("the SMS outbox is closed"),
            Self::Sqlite(error) => write!(f, "the SMS outbox cannot be read or written: {error}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such message"),
            Self::KeyReused => f.write_str("the idempotency key belongs to another message"),
            Self::KeyTooOld => {
                f.write_str("the idempotency key is older than the keys that are kept")
            }
            Self::OptedOut => f.write_str("the number has opted out"),
            Self::NumberLimit { retry_after_ms } => {
                write!(
                    f,
                    "too many messages to this number; the next one may be sent in {retry_after_ms} ms"
                )
            }
            Self::PrefixLimit { retry_after_ms } => {
                write!(
                    f,
                    "too many messages to this calling code; the next one may be sent in {retry_after_ms} ms"
                )
            }
            Self::QueueFull => f.write_str("the maximum number of messages is waiting"),
            Self::TooLate(state) => write!(f, "the message is {} already", state.as_str()),
            Self::MayDouble(state) => {
                write!(
                    f,
                    "the message is {}, and sending it again may deliver it twice",
                    state.as_str()
                )
            }
            Self::TextErased => f.write_str("the text of the message was erased"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Sqlite(error) => Some(error),
            _ => None,
        }
    }
}
