//! The tables.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{StoreConfig, StoreError};
use crate::message::Class;

/// Marks a database as an outbox: "rpcS".
const APPLICATION_ID: i64 = 0x7270_6353;

/// The version of the tables: 1, and the number of migrations.
#[expect(clippy::cast_possible_wrap, reason = "there are a handful")]
const VERSION: i64 = 1 + MIGRATIONS.len() as i64;

/// What leads from one version to the next, the oldest first. New columns are the last ones of their tables, so that old and
/// new outboxes have them in the same places.
const MIGRATIONS: [&str; 4] = [
    // Parts of messages.
    "ALTER TABLE messages ADD COLUMN parts INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE messages ADD COLUMN parts_sent INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE parts ADD COLUMN needed INTEGER NOT NULL DEFAULT 1;
     ALTER TABLE parts ADD COLUMN receipt INTEGER;",
    // Numbers by shelves of messages, and of classes with limits by themselves.
    "DROP INDEX messages_by_number;
     CREATE INDEX messages_by_shelf ON messages (seq / 4096, number_name);",
    // Names of parts that several messages have.
    "ALTER TABLE parts RENAME TO parts_before;
     DROP INDEX parts_by_message;
     CREATE TABLE parts (
         gateway TEXT NOT NULL,
         reference TEXT NOT NULL,
         seq INTEGER NOT NULL,
         attempt INTEGER NOT NULL,
         needed INTEGER NOT NULL DEFAULT 1,
         receipt INTEGER,
         PRIMARY KEY (gateway, reference, seq, attempt)
     ) STRICT, WITHOUT ROWID;
     INSERT INTO parts (gateway, reference, seq, attempt, needed, receipt)
         SELECT gateway, reference, seq, attempt, needed, receipt FROM parts_before;
     DROP TABLE parts_before;
     CREATE INDEX parts_by_message ON parts (seq);",
    // Messages that a gateway may have. The states are `sent`, `delivered`, `undelivered` and `unknown`.
    "ALTER TABLE messages ADD COLUMN may_be_out INTEGER NOT NULL DEFAULT 0;
     UPDATE messages SET may_be_out = 1
         WHERE parts_sent > 0 OR seq IN (SELECT seq FROM events WHERE to_state IN (3, 4, 5, 6));",
];

/// Messages of a shelf, as `messages_by_shelf` has them. Names of numbers are random: in one index of all messages each new
/// one would change a page of its own, which a commit writes as a whole. The names of a shelf lie on some 30 pages, which the
/// messages of a commit share. The messages to a number are found shelf by shelf.
pub(super) const SHELF: i64 = 4096;

/// `state`, `class` and `encoding` are the places of their names in the lists of their types. `ready` is 1 for a message
/// that a gateway may claim now. `next_at` is the next time at which the sweep has something to do with a message. `parts` of
/// a message is 0 where the gateway's answer was about the whole of it. `needed` is the number of parts whose receipts make
/// their message delivered. Names of parts are unique within an attempt: some gateways number the parts of each message.
/// `may_be_out` is 1 once an attempt may have brought the message, or a part of it, to a gateway.
const TABLES: &str = "
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    key TEXT,
    digest BLOB NOT NULL,
    number TEXT,
    number_name BLOB NOT NULL,
    calling_code TEXT NOT NULL,
    masked TEXT NOT NULL,
    text TEXT,
    template TEXT,
    sender TEXT,
    class INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    encoding INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    tags TEXT,
    first_state INTEGER NOT NULL,
    state INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    expires_at INTEGER,
    next_at INTEGER,
    gateway TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    receipt TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    parts INTEGER NOT NULL DEFAULT 0,
    parts_sent INTEGER NOT NULL DEFAULT 0,
    may_be_out INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX messages_by_key ON messages (owner, key) WHERE key IS NOT NULL;
CREATE INDEX messages_ready ON messages (gateway, priority DESC, seq) WHERE ready = 1;
CREATE INDEX messages_due ON messages (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX messages_by_shelf ON messages (seq / 4096, number_name);
CREATE INDEX messages_by_state ON messages (state, seq, gateway);

CREATE TABLE parts (
    gateway TEXT NOT NULL,
    reference TEXT NOT NULL,
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    needed INTEGER NOT NULL DEFAULT 1,
    receipt INTEGER,
    PRIMARY KEY (gateway, reference, seq, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX parts_by_message ON parts (seq);

CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    from_state INTEGER,
    to_state INTEGER NOT NULL,
    at INTEGER NOT NULL,
    gateway TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    error TEXT
) STRICT;
CREATE INDEX events_by_message ON events (seq);

CREATE TABLE early_receipts (
    gateway TEXT NOT NULL,
    reference TEXT NOT NULL,
    state INTEGER NOT NULL,
    error TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (gateway, reference, state)
) STRICT, WITHOUT ROWID;
CREATE INDEX early_receipts_by_time ON early_receipts (at);

CREATE TABLE opt_outs (
    number_name BLOB PRIMARY KEY,
    scope INTEGER NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE gateways (
    name TEXT PRIMARY KEY,
    paused INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Opens the database for the writer, and makes its tables if they are missing.
pub(super) fn open(file: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(file)?;
    // No other process writes; a backup may hold it up for a moment.
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Pages of 4 KiB. Numbers are spread over their whole index: the more commits lie between two checkpoints, the fewer of
    // its pages are written several times.
    connection.pragma_update(None, "wal_autocheckpoint", 8192)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // Of KiB.
    connection.pragma_update(None, "cache_size", -8192)?;
    // Erased texts and numbers leave no bytes behind.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.set_prepared_statement_cache_capacity(64);

    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    match (pragma("application_id")?, pragma("user_version")?) {
        (APPLICATION_ID, VERSION) => {}
        (APPLICATION_ID, found @ 1..VERSION) => migrate(&connection, found)?,
        (APPLICATION_ID, found) => {
            return Err(StoreError::Newer {
                found,
                known: VERSION,
            });
        }
        _ if has_tables(&connection)? => return Err(StoreError::Foreign(file.to_owned())),
        _ => connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
        ))?,
    }

    Ok(connection)
}

/// The index of the messages of a class by their numbers, which limits of messages to one number are checked with.
pub(super) fn index_of_limits(class: Class) -> String {
    format!("messages_limited_{class}")
}

/// Makes these indexes for classes that have such limits, and takes those of others away. Where there are many messages,
/// making one takes seconds.
pub(super) fn index_limits(
    connection: &Connection,
    config: &StoreConfig,
) -> Result<(), StoreError> {
    for (place, class) in Class::ALL.iter().copied().enumerate() {
        let index = index_of_limits(class);
        let limits = config.limits.get(&class);
        let statement = if limits.is_some_and(|limits| !limits.per_number.is_empty()) {
            format!(
                "CREATE INDEX IF NOT EXISTS {index} ON messages (number_name, seq, created_at) WHERE class = {place}"
            )
        } else {
            format!("DROP INDEX IF EXISTS {index}")
        };
        connection.execute_batch(&statement)?;
    }

    Ok(())
}

/// Brings tables of an older version to this one, as a whole or not at all.
fn migrate(connection: &Connection, found: i64) -> Result<(), StoreError> {
    let done = usize::try_from(found - 1).expect("the caller has looked that it is 1 or more");
    let left = MIGRATIONS[done..].concat();
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {left} PRAGMA user_version = {VERSION}; COMMIT;"
    ))?;

    tracing::info!(
        from = found,
        to = VERSION,
        "the tables of the SMS outbox were brought to the version of this program"
    );
    Ok(())
}

fn has_tables(connection: &Connection) -> Result<bool, StoreError> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables > 0)
}

/// Whether there are names of numbers, which belong to a key.
pub(super) fn has_numbers(connection: &Connection) -> Result<bool, StoreError> {
    let query = "SELECT EXISTS (SELECT 1 FROM messages) OR EXISTS (SELECT 1 FROM opt_outs)";
    Ok(connection.query_row(query, [], |row| row.get(0))?)
}

/// Opens the database for reading.
pub(super) fn open_reader(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -2048)?;
    connection.set_prepared_statement_cache_capacity(32);

    Ok(connection)
}
