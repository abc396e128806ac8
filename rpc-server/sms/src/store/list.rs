//! Lists of messages, page by page.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::numbers::Numbers;
use super::read::{COLUMNS, SCAN_MAX, message, tags};
use super::row::{Column, row_limit};
use super::schema::SHELF;
use super::{Message, StoreError, Viewer};
use crate::message::{Class, MessageId};
use crate::number::Number;
use crate::states::State;

/// Which messages to list. The newest come first.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Who looks.
    pub viewer: Viewer,
    /// Those of these states; of all where it is empty.
    pub states: Vec<State>,
    /// Those to this number.
    pub to: Option<Number>,
    /// Those of this gateway.
    pub gateway: Option<String>,
    /// Those of this class.
    pub class: Option<Class>,
    /// Those with this tag.
    pub tag: Option<(String, String)>,
    /// Those that were accepted then or later, in milliseconds since 1970.
    pub since: Option<u64>,
    /// Those that were accepted before, in milliseconds since 1970.
    pub until: Option<u64>,
    /// Those that are older than this one.
    pub after: Option<MessageId>,
    /// At most as many.
    pub limit: usize,
}

impl Filter {
    /// All messages that the viewer may see, at most 100.
    pub fn new(viewer: Viewer) -> Self {
        Self {
            viewer,
            states: Vec::new(),
            to: None,
            gateway: None,
            class: None,
            tag: None,
            since: None,
            until: None,
            after: None,
            limit: 100,
        }
    }
}

/// Messages of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The messages, the newest first. There may be none although there are more.
    pub messages: Vec<Message>,
    /// What to go on behind; none at the end.
    pub next: Option<MessageId>,
}

/// A page of messages.
pub(super) fn page(
    connection: &Connection,
    filter: &Filter,
    numbers: &Numbers,
) -> Result<Page, StoreError> {
    let below = match filter.after {
        Some(id) => seq_of(connection, id)?,
        None => None,
    };
    let below = below.unwrap_or(i64::MAX);

    let filling = Filling::new(filter);
    match &filter.to {
        Some(to) => filling.of_number(connection, &numbers.name(to), below),
        None => filling.of_all(connection, below),
    }
}

fn seq_of(connection: &Connection, id: MessageId) -> Result<Option<i64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT seq FROM messages WHERE id = ?1")?;
    let seq = statement
        .query_row([id.to_bytes()], |row| row.get(0))
        .optional()?;
    // A message that is gone, or is not one: its id still has a place among the others.
    if seq.is_some() {
        return Ok(seq);
    }

    let mut statement = connection.prepare_cached("SELECT min(seq) FROM messages WHERE id > ?1")?;
    Ok(statement.query_row([id.to_bytes()], |row| row.get(0))?)
}

/// A page on its way.
struct Filling<'f> {
    filter: &'f Filter,
    page: Page,
    looked_at: usize,
}

/// Whether a page has room for more.
#[derive(PartialEq, Eq)]
enum Room {
    Left,
    Full,
}

impl<'f> Filling<'f> {
    fn new(filter: &'f Filter) -> Self {
        Self {
            filter,
            page: Page {
                messages: Vec::new(),
                next: None,
            },
            looked_at: 0,
        }
    }

    /// Takes messages below a place. What an index serves is asked of it, the rest is looked at row by row.
    fn of_all(mut self, connection: &Connection, below: i64) -> Result<Page, StoreError> {
        let (index, condition, mut values) = match self.filter.states[..] {
            [state] => (
                "INDEXED BY messages_by_state",
                "state = ?2 AND",
                vec![Value::Integer(place_of(state))],
            ),
            _ => ("NOT INDEXED", "", Vec::new()),
        };
        let query = format!(
            "SELECT {COLUMNS}, owner FROM messages {index} WHERE {condition} seq < ?1 ORDER BY seq DESC"
        );
        values.insert(0, Value::Integer(below));

        let mut statement = connection.prepare_cached(&query)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if self.take(row)? == Room::Full {
                break;
            }
        }
        Ok(self.page)
    }

    /// Takes messages to a number below a place, shelf by shelf.
    fn of_number(
        mut self,
        connection: &Connection,
        number_name: &[u8],
        below: i64,
    ) -> Result<Page, StoreError> {
        let seq = |query| connection.query_row(query, [below], |row| row.get::<_, Option<i64>>(0));
        let newest = seq("SELECT max(seq) FROM messages WHERE seq < ?1")?;
        let oldest = seq("SELECT min(seq) FROM messages WHERE seq < ?1")?;
        let (Some(newest), Some(oldest)) = (newest, oldest) else {
            return Ok(self.page);
        };

        let query = format!(
            "SELECT {COLUMNS}, owner FROM messages INDEXED BY messages_by_shelf \
             WHERE seq / {SHELF} = ?1 AND number_name = ?2 AND seq < ?3 ORDER BY seq DESC"
        );
        let mut statement = connection.prepare_cached(&query)?;
        for shelf in (oldest / SHELF..=newest / SHELF).rev() {
            let mut rows = statement.query(params![shelf, number_name, below])?;
            while let Some(row) = rows.next()? {
                if self.take(row)? == Room::Full {
                    return Ok(self.page);
                }
            }

            self.looked_at += 1;
            if self.looked_at >= SCAN_MAX {
                self.page.next = first_of_shelf(connection, shelf)?;
                break;
            }
        }
        Ok(self.page)
    }

    fn take(&mut self, row: &Row<'_>) -> Result<Room, StoreError> {
        self.looked_at += 1;
        if passes(row, self.filter)? {
            self.page.messages.push(message(row)?);
        }

        if self.page.messages.len() < self.filter.limit && self.looked_at < SCAN_MAX {
            return Ok(Room::Left);
        }
        self.page.next = Some(MessageId::from_bytes(row.get(0)?));
        Ok(Room::Full)
    }
}

/// The oldest message of a shelf. There may be none in it, but there is one in a newer one.
fn first_of_shelf(connection: &Connection, shelf: i64) -> Result<Option<MessageId>, StoreError> {
    let query = "SELECT id FROM messages WHERE seq >= ?1 ORDER BY seq LIMIT 1";
    let first = connection
        .prepare_cached(query)?
        .query_row([shelf * SHELF], |row| row.get(0))
        .optional()?;
    Ok(first.map(MessageId::from_bytes))
}

/// The place of a state, as the column has it.
fn place_of(state: State) -> i64 {
    let place = State::ALL.iter().position(|one| *one == state);
    row_limit(place.unwrap_or_default())
}

/// Whether a row passes what the query does not ask for.
fn passes(row: &Row<'_>, filter: &Filter) -> Result<bool, StoreError> {
    let owner: String = row.get("owner")?;
    let state = row.get::<_, Column<State>>(1)?.0;
    let class = row.get::<_, Column<Class>>(3)?.0;
    let gateway: String = row.get(4)?;
    let created_at = row.get::<_, Column<u64>>(11)?.0;

    let has_tag = match &filter.tag {
        Some((name, value)) => tags(row)?.get(name) == Some(value),
        None => true,
    };
    Ok(filter.viewer.sees(&owner)
        && (filter.states.is_empty() || filter.states.contains(&state))
        && filter.class.is_none_or(|wanted| wanted == class)
        && filter
            .gateway
            .as_ref()
            .is_none_or(|wanted| *wanted == gateway)
        && filter.since.is_none_or(|since| created_at >= since)
        && filter.until.is_none_or(|until| created_at < until)
        && has_tag)
}
