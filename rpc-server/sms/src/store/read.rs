//! Reads of the outbox, beside the thread that writes. All of it blocks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::numbers::Numbers;
use super::row::{Column, row_limit};
use super::{
    Content, Event, Filter, Message, OptOut, OptOutScope, Page, Refusal, Revealed, StoreError,
    Viewer, list, schema,
};
use crate::message::{Class, MessageId};
use crate::number::Number;
use crate::states::State;
use crate::text::{Encoding, Layout};

/// Connections that read at the same time.
const READERS: usize = 2;

/// Rows that one page looks at. A filter that few messages pass gets several pages, some of them empty.
pub(super) const SCAN_MAX: usize = 20_000;

pub(super) const COLUMNS: &str = "id, state, masked, class, gateway, attempt, encoding, segments, error, receipt, tags, created_at, updated_at, \
     parts, parts_sent";

/// Which events to read.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// Who looks.
    pub viewer: Viewer,
    /// Those of this message.
    pub id: Option<MessageId>,
    /// Those that lead to these states; all where it is empty.
    pub states: Vec<State>,
    /// Those behind this number.
    pub after: u64,
    /// At most as many.
    pub limit: usize,
}

/// Events, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// The number of the last one that was looked at: what to go on behind.
    pub next: u64,
    /// Whether there may be more.
    pub has_more: bool,
}

/// Connections for reading. Each call takes one, and waits for it where all are in use.
pub struct Readers {
    connections: Vec<Mutex<Connection>>,
    numbers: Numbers,
}

impl Readers {
    pub(super) fn open(file: &Path, numbers: Numbers) -> Result<Self, StoreError> {
        let connections = (0..READERS)
            .map(|_| schema::open_reader(file).map(Mutex::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            connections,
            numbers,
        })
    }

    fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let free = self
            .connections
            .iter()
            .find_map(|connection| connection.try_lock().ok());
        let connection = match free {
            Some(connection) => connection,
            // A panic while reading has changed nothing.
            None => self.connections[0]
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        };
        read(&connection)
    }

    /// The messages with these ids that the viewer may see, in the order of the ids.
    pub fn messages(&self, ids: &[MessageId], viewer: &Viewer) -> Result<Vec<Message>, StoreError> {
        let query = format!("SELECT {COLUMNS}, owner FROM messages WHERE id = ?1");
        self.with(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let mut messages = Vec::new();
            for id in ids {
                let found = statement.query_row([id.to_bytes()], |row| {
                    Ok((message(row)?, row.get::<_, String>("owner")?))
                });
                let found = found.optional()?.filter(|(_, owner)| viewer.sees(owner));
                messages.extend(found.map(|(message, _)| message));
            }
            Ok(messages)
        })
    }

    /// The message of an owner with this key.
    pub fn message_of_key(&self, owner: &str, key: &str) -> Result<Option<Message>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM messages WHERE owner = ?1 AND key = ?2");
        self.with(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            Ok(statement.query_row([owner, key], message).optional()?)
        })
    }

    /// A page of messages.
    pub fn list(&self, filter: &Filter) -> Result<Page, StoreError> {
        self.with(|connection| list::page(connection, filter, &self.numbers))
    }

    /// Events behind a number, up to the last one that was told to others.
    pub(super) fn events(&self, filter: &EventFilter, last: u64) -> Result<EventPage, StoreError> {
        // Those of one message are found by it; else they are read in their order.
        let of_message = if filter.id.is_some() {
            "m.id = ?2 AND"
        } else {
            "?2 IS NULL AND"
        };
        let query = format!(
            "SELECT e.number, m.id, e.from_state, e.to_state, e.at, e.gateway, e.attempt, e.error, m.owner \
             FROM events e JOIN messages m ON m.seq = e.seq WHERE {of_message} e.number > ?1 AND e.number <= ?4 \
             ORDER BY e.number LIMIT ?3"
        );
        self.with(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let id = filter.id.map(|id| id.to_bytes().to_vec());
            let mut rows = statement.query(params![
                Column(filter.after),
                id,
                row_limit(SCAN_MAX),
                Column(last)
            ])?;

            let mut page = EventPage {
                events: Vec::new(),
                next: filter.after,
                has_more: false,
            };
            let mut looked_at = 0;
            while let Some(row) = rows.next()? {
                let event = event(row)?;
                page.next = event.number;
                looked_at += 1;

                let owner: String = row.get(8)?;
                let is_wanted = filter.states.is_empty() || filter.states.contains(&event.to);
                if is_wanted && filter.viewer.sees(&owner) {
                    page.events.push(event);
                }
                if page.events.len() == filter.limit || looked_at == SCAN_MAX {
                    page.has_more = true;
                    break;
                }
            }
            Ok(page)
        })
    }

    /// The number and contents of a message. The text of a code is never shown.
    pub fn reveal(&self, id: MessageId) -> Result<Revealed, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT number, text, template, class FROM messages WHERE id = ?1",
            )?;
            let found = statement.query_row([id.to_bytes()], |row| {
                let (text, template): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
                let is_code = row.get::<_, Column<Class>>(3)?.0 == Class::Otp;
                let content = text.map(|text| match template {
                    Some(name) => Content::Template { name, vars: text },
                    None => Content::Text(text),
                });
                Ok(Revealed {
                    to: row.get(0)?,
                    content: content.filter(|_| !is_code),
                })
            });
            Ok(found.optional()?.ok_or(Refusal::NotFound)?)
        })
    }

    /// What a number has opted out of.
    pub fn opt_out(&self, number: &Number) -> Result<Option<OptOut>, StoreError> {
        self.with(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT scope, since FROM opt_outs WHERE number_name = ?1")?;
            let found = statement.query_row([self.numbers.name(number)], |row| {
                Ok(OptOut {
                    scope: row.get::<_, Column<OptOutScope>>(0)?.0,
                    since: row.get::<_, Column<u64>>(1)?.0,
                })
            });
            Ok(found.optional()?)
        })
    }

    /// The names of the gateways that are paused.
    pub fn paused(&self) -> Result<Vec<String>, StoreError> {
        self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT name FROM gateways WHERE paused = 1")?;
            Ok(statement
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?)
        })
    }

    /// When the oldest message that waits for a gateway was accepted, in milliseconds since 1970.
    pub fn oldest_ready(&self, gateway: &str) -> Result<Option<u64>, StoreError> {
        self.with(|connection| {
            // Of each priority, the first of the index.
            let mut statement = connection.prepare_cached(
                "SELECT min(created_at) FROM messages WHERE seq IN (SELECT (SELECT min(m.seq) FROM messages m INDEXED BY \
                 messages_ready WHERE m.gateway = ?1 AND m.ready = 1 AND m.priority = p.value) FROM json_each('[0,1,2,3,4,5,6,7,8,9]') p)",
            )?;
            let oldest: Option<Column<u64>> = statement.query_row([gateway], |row| row.get(0))?;
            Ok(oldest.map(|oldest| oldest.0))
        })
    }
}

pub(super) fn tags(row: &Row<'_>) -> rusqlite::Result<BTreeMap<String, String>> {
    let tags: Option<String> = row.get("tags")?;
    Ok(tags
        .and_then(|tags| serde_json::from_str(&tags).ok())
        .unwrap_or_default())
}

pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        id: MessageId::from_bytes(row.get(0)?),
        state: row.get::<_, Column<State>>(1)?.0,
        to: row.get(2)?,
        class: row.get::<_, Column<Class>>(3)?.0,
        gateway: row.get(4)?,
        attempt: row.get(5)?,
        layout: Layout {
            encoding: row.get::<_, Column<Encoding>>(6)?.0,
            segments: row.get(7)?,
        },
        error: row.get(8)?,
        receipt: row.get(9)?,
        tags: tags(row)?,
        created_at: row.get::<_, Column<u64>>(11)?.0,
        updated_at: row.get::<_, Column<u64>>(12)?.0,
        parts: row.get(13)?,
        parts_sent: row.get(14)?,
    })
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        number: row.get::<_, Column<u64>>(0)?.0,
        id: MessageId::from_bytes(row.get(1)?),
        from: row.get::<_, Option<Column<State>>>(2)?.map(|state| state.0),
        to: row.get::<_, Column<State>>(3)?.0,
        at: row.get::<_, Column<u64>>(4)?.0,
        gateway: row.get(5)?,
        attempt: row.get(6)?,
        error: row.get(7)?,
    })
}
