//! The files of an outbox: the database, its lock, and the key of its numbers.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rpc_server::{create_durable_dir, sync_dir};
use rusqlite::{Connection, OptionalExtension};

use super::StoreError;
use super::numbers::Numbers;
use super::schema;
use crate::number::Number;

/// Only the user of the process reads numbers and texts.
const FILE_MODE: u32 = 0o600;

/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// The files of an outbox, open.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) key: hmac::Key,
    /// Held open for its lock.
    pub(super) lock: File,
}

impl Opened {
    pub(super) fn open(file: &Path) -> Result<Self, StoreError> {
        let dir = dir_of(file);
        create_durable_dir(dir).map_err(StoreError::io("create", dir))?;

        let lock = lock(&beside(file, "lock"))?;
        sync_what_is_left(file)?;
        // SQLite gives its other files the mode of this one.
        create(file).map_err(StoreError::io("open", file))?;

        let connection = schema::open(file)?;
        let key = key(file, &connection)?;
        check_key(file, &key, &connection)?;
        Ok(Self {
            connection,
            key,
            lock,
        })
    }
}

/// `sms.sqlite` has `sms.lock` and `sms.key` beside it.
fn beside(file: &Path, extension: &str) -> PathBuf {
    file.with_extension(extension)
}

/// Makes durable what the process before has written. One that was killed may not have come to that, and what is read of it
/// is told to others.
fn sync_what_is_left(file: &Path) -> Result<(), StoreError> {
    let mut journal = file.as_os_str().to_owned();
    journal.push("-wal");
    let journal = Path::new(&journal);

    match File::open(journal) {
        Ok(found) => found.sync_all().map_err(StoreError::io("fsync", journal))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io("open", journal)(error)),
    }
    sync_name(file).map_err(StoreError::io("fsync", dir_of(file)))
}

fn create(file: &Path) -> std::io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(file)
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = create(path).map_err(StoreError::io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}

/// The key of the HMACs that stand for numbers. A new outbox gets one, on disk before it is used. For one that has numbers
/// already, no other key will do: it would find no opt-outs, and the messages of no number.
fn key(outbox: &Path, connection: &Connection) -> Result<hmac::Key, StoreError> {
    let path = &beside(outbox, "key");
    let bytes = match fs::read(path) {
        Ok(bytes) if bytes.len() == KEY_BYTES => bytes,
        Ok(_) => {
            let error =
                std::io::Error::other("it is not a key of 32 bytes; restore it from a backup");
            return Err(StoreError::io("use", path)(error));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if schema::has_numbers(connection)? {
                return Err(StoreError::KeyMissing {
                    key: path.to_owned(),
                    outbox: outbox.to_owned(),
                });
            }
            make_key(path)?
        }
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };

    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// Refuses the key of another outbox, which an outbox with numbers tells by a value that only its own key gives. An outbox
/// of an earlier version has no such value, and tells it by a number that it has not erased yet. An outbox without numbers,
/// or whose value an operator has emptied, takes the key that it finds.
fn check_key(outbox: &Path, key: &hmac::Key, connection: &Connection) -> Result<(), StoreError> {
    let value = check_value(key);
    let known: Option<String> = connection
        .query_row(
            "SELECT value FROM meta WHERE name = 'key_check'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    if known.as_ref() == Some(&value) {
        return Ok(());
    }

    let is_of_another = match known.as_deref() {
        Some("") => false,
        Some(_) => schema::has_numbers(connection)?,
        None => names_otherwise(key, connection)?,
    };
    if is_of_another {
        return Err(StoreError::KeyOfAnother {
            key: beside(outbox, "key"),
            outbox: outbox.to_owned(),
        });
    }
    connection.execute(
        "INSERT OR REPLACE INTO meta (name, value) VALUES ('key_check', ?1)",
        [value],
    )?;
    Ok(())
}

/// Whether the newest number that is not erased has a name that another key has given. Without such a number it is not known.
fn names_otherwise(key: &hmac::Key, connection: &Connection) -> Result<bool, StoreError> {
    let newest: Option<(String, Vec<u8>)> = connection
        .query_row(
            "SELECT number, number_name FROM messages WHERE number IS NOT NULL ORDER BY seq DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((number, name)) = newest else {
        return Ok(false);
    };

    let number = Number::parse(&number, None).ok();
    let numbers = Numbers(key.clone());
    Ok(number.is_some_and(|number| numbers.name(&number)[..] != name[..]))
}

/// A value that tells a key from others, and says nothing of it or of any number.
fn check_value(key: &hmac::Key) -> String {
    let tag = hmac::sign(key, b"the key of this outbox");
    // Half of it is enough, as for the names of numbers.
    BASE64_STANDARD.encode(&tag.as_ref()[..16])
}

fn make_key(path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; KEY_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| {
        StoreError::io("make", path)(std::io::Error::other("the system gives no random bytes"))
    })?;

    let new = path.with_extension("key.new");
    let write = || {
        let mut file = create(&new)?;
        file.set_len(0)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_name(path)
    };
    write().map_err(StoreError::io("write", path))?;

    Ok(bytes)
}

/// The directory of a file.
fn dir_of(file: &Path) -> &Path {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new("."))
}

/// Makes the name of a file durable in its directory. It blocks.
pub(crate) fn sync_name(file: &Path) -> std::io::Result<()> {
    sync_dir(&File::open(dir_of(file))?)
}
