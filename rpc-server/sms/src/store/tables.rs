//! The transitions in SQLite. Everything here runs within a transaction that the writer has begun.

use std::collections::HashMap;

use ring::hmac;
use rusqlite::{Connection, OptionalExtension, params};

use super::numbers::Numbers;
use super::row::{COLUMNS, Column, MessageRow};
use super::{QueueCounts, Refusal, StoreConfig, StoreError, Viewer, schema};
use crate::limits::Times;
use crate::message::{Class, MessageId};
use crate::states::{Event, State, Step, next};

/// The gateways and states of the messages that wait or are unknown, in the order of their index.
pub(super) const WAITING: &str =
    "SELECT gateway, state FROM messages INDEXED BY messages_by_state WHERE state IN (0, 1, 2, 6)";

/// Calling codes whose times are kept: there are fewer than 300.
pub(super) type Prefixes = HashMap<(Class, String), Times>;

/// The outbox's tables, with what is kept in memory of them.
pub(super) struct Tables {
    pub(super) connection: Connection,
    pub(super) config: StoreConfig,
    pub(super) numbers: Numbers,
    pub(super) random: fastrand::Rng,
    pub(super) prefixes: Prefixes,
    /// What the transaction has failed with: nothing of it is kept.
    pub(super) failure: Option<StoreError>,
    /// When the outbox was made: what it knows of keys begins there.
    pub(super) created_at: u64,
    /// The name of the outbox, which no other one has.
    name: String,
    last_id: MessageId,
    last_event: u64,
    counts: HashMap<String, QueueCounts>,
}

/// What a transition changes beside the state.
#[derive(Default)]
pub(super) struct Change {
    pub(super) error: Option<String>,
    pub(super) receipt: Option<String>,
    pub(super) gateway: Option<String>,
    pub(super) due_at: Option<u64>,
    /// Some if it is sent again.
    pub(super) begins_again: Option<BeginsAgain>,
}

/// What is new where a message is sent again.
pub(super) struct BeginsAgain {
    pub(super) expires_at: Option<u64>,
}

impl Tables {
    pub(super) fn open(
        connection: Connection,
        key: hmac::Key,
        config: StoreConfig,
        now: u64,
    ) -> Result<Self, StoreError> {
        let mut tables = Self {
            connection,
            config,
            numbers: Numbers(key),
            random: fastrand::Rng::new(),
            prefixes: Prefixes::new(),
            failure: None,
            created_at: 0,
            name: String::new(),
            last_id: MessageId::new(0, 0),
            last_event: 0,
            counts: HashMap::new(),
        };
        schema::index_limits(&tables.connection, &tables.config)?;
        tables.load_meta(now)?;
        tables.load(now)?;

        Ok(tables)
    }

    fn load_meta(&mut self, now: u64) -> Result<(), StoreError> {
        let name = format!("sms-{:016x}", self.random.u64(..));
        let mut insert = self
            .connection
            .prepare("INSERT OR IGNORE INTO meta (name, value) VALUES (?1, ?2)")?;
        insert.execute(["store", &name])?;
        insert.execute(["created_at", &now.to_string()])?;
        drop(insert);

        let mut statement = self
            .connection
            .prepare("SELECT value FROM meta WHERE name = ?1")?;
        let name = statement.query_row(["store"], |row| row.get(0))?;
        let created_at: String = statement.query_row(["created_at"], |row| row.get(0))?;
        drop(statement);

        self.name = name;
        // What cannot be read was not written by this program: then it knows of no key.
        self.created_at = created_at.parse().unwrap_or(now);
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads what is kept in memory: at the start, and after a transaction that was taken back.
    pub(super) fn load(&mut self, now: u64) -> Result<(), StoreError> {
        let last_id = "SELECT id FROM messages ORDER BY seq DESC LIMIT 1";
        let last_id = self
            .connection
            .query_row(last_id, [], |row| row.get(0))
            .optional()?;
        self.last_id = last_id.map_or(MessageId::new(0, 0), MessageId::from_bytes);

        let last_event = "SELECT coalesce(max(number), 0) FROM events";
        self.last_event = self
            .connection
            .query_row(last_event, [], |row| row.get::<_, Column<u64>>(0))?
            .0;

        self.load_counts()?;
        self.load_prefixes(now)
    }

    /// Counts the messages that wait. There may be a million: they are counted one by one as the index has them, since SQLite
    /// would sort all of them by gateway first.
    fn load_counts(&mut self) -> Result<(), StoreError> {
        let mut counts: HashMap<String, QueueCounts> = HashMap::new();
        let mut statement = self.connection.prepare(WAITING)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let gateway = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            if !counts.contains_key(gateway) {
                counts.insert(gateway.to_owned(), QueueCounts::default());
            }

            let counts = counts.get_mut(gateway).expect("it was put in");
            if let Some(count) = count_of(counts, row.get::<_, Column<State>>(1)?.0) {
                *count += 1;
            }
        }

        drop(rows);
        drop(statement);
        self.counts = counts;
        Ok(())
    }

    /// The times of the messages that limits by calling code count.
    fn load_prefixes(&mut self, now: u64) -> Result<(), StoreError> {
        self.prefixes.clear();
        let windows = self
            .config
            .limits
            .values()
            .flat_map(|limits| &limits.per_prefix);
        let Some(longest) = windows.map(|rate| rate.window_ms).max() else {
            return Ok(());
        };

        // In the order of acceptance, from the first one that counts on.
        let first = "SELECT seq FROM messages WHERE created_at < ?1 ORDER BY seq DESC LIMIT 1";
        let since = Column(now.saturating_sub(longest));
        let first: Option<i64> = self
            .connection
            .query_row(first, [since], |row| row.get(0))
            .optional()?;

        let mut statement = self.connection.prepare(
            "SELECT class, calling_code, created_at FROM messages WHERE seq > ?1 ORDER BY seq",
        )?;
        let mut rows = statement.query([first.unwrap_or(0)])?;
        while let Some(row) = rows.next()? {
            let class = row.get::<_, Column<Class>>(0)?.0;
            let count_max = self.config.prefix_count_max(class);
            if count_max > 0 {
                let at = row.get::<_, Column<u64>>(2)?.0;
                self.prefixes
                    .entry((class, row.get(1)?))
                    .or_default()
                    .push(at, count_max);
            }
        }

        Ok(())
    }

    /// An id behind the last one, so that ids sort as messages were accepted, whatever the clock says.
    pub(super) fn next_id(&mut self, now: u64) -> MessageId {
        let id = MessageId::new(now, self.random.u128(..));
        self.last_id = if id > self.last_id {
            id
        } else {
            self.last_id.successor()
        };
        self.last_id
    }

    pub(super) fn last_event(&self) -> u64 {
        self.last_event
    }

    pub(super) fn counts(&self) -> HashMap<String, QueueCounts> {
        self.counts.clone()
    }

    pub(super) fn numbers(&self) -> Numbers {
        self.numbers.clone()
    }

    /// Messages that wait for their time or a gateway.
    pub(super) fn waiting(&self) -> u64 {
        self.counts
            .values()
            .map(|counts| counts.scheduled + counts.queued)
            .sum()
    }

    /// The message with this id, if the viewer may see it.
    pub(super) fn find(&self, id: MessageId, viewer: &Viewer) -> Result<MessageRow, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM messages WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(&query)?;
        let row = statement
            .query_row([id.to_bytes()], MessageRow::of)
            .optional()?;
        Ok(row
            .filter(|row| viewer.sees(&row.owner))
            .ok_or(Refusal::NotFound)?)
    }

    /// Changes the state as the table says. [`Step::Refused`] and [`Step::Stays`] change nothing.
    pub(super) fn apply(
        &mut self,
        row: &mut MessageRow,
        event: Event,
        change: Change,
        now: u64,
    ) -> Result<Step, StoreError> {
        let step = next(row.state, event);
        let Step::To(to) = step else {
            return Ok(step);
        };

        let (from, gateway) = (row.state, row.gateway.clone());
        row.state = to;
        row.updated_at = now;
        row.error = change.error;
        row.receipt = change.receipt.or_else(|| row.receipt.take());
        row.gateway = change.gateway.unwrap_or_else(|| row.gateway.clone());
        row.due_at = change.due_at.unwrap_or(row.due_at);
        row.may_be_out |= may_be_out(to) || row.parts_sent > 0;

        if let Some(BeginsAgain { expires_at }) = change.begins_again {
            row.expires_at = expires_at;
            row.tries = 0;
            row.receipt = None;
        }
        if event == Event::Claim {
            row.attempt += 1;
            row.tries += 1;
            (row.parts, row.parts_sent) = (0, 0);
        }

        self.write(row, now)?;
        // What became of an attempt is told of the gateway that made it.
        let gateway_of_event = if event == Event::Refused {
            &gateway
        } else {
            &row.gateway
        };
        self.note_event(row, Some(from), gateway_of_event, now)?;
        self.count(&gateway, from, -1);
        self.count(&row.gateway, to, 1);

        Ok(step)
    }

    /// Writes what transitions change.
    pub(super) fn write(&self, row: &MessageRow, now: u64) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET state = ?2, ready = ?3, due_at = ?4, expires_at = ?5, next_at = ?6, gateway = ?7, \
             attempt = ?8, tries = ?9, error = ?10, receipt = ?11, updated_at = ?12, parts = ?13, parts_sent = ?14, \
             may_be_out = ?15 WHERE seq = ?1",
        )?;
        statement.execute(params![
            row.seq,
            Column(row.state),
            row.is_ready(now),
            Column(row.due_at),
            row.expires_at.map(Column),
            row.next_at(&self.config, now).map(Column),
            row.gateway,
            row.attempt,
            row.tries,
            row.error,
            row.receipt,
            Column(row.updated_at),
            row.parts,
            row.parts_sent,
            row.may_be_out,
        ])?;

        Ok(())
    }

    pub(super) fn note_event(
        &mut self,
        row: &MessageRow,
        from: Option<State>,
        gateway: &str,
        now: u64,
    ) -> Result<(), StoreError> {
        self.last_event += 1;
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO events (number, seq, from_state, to_state, at, gateway, attempt, error) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        statement.execute(params![
            Column(self.last_event),
            row.seq,
            from.map(Column),
            Column(row.state),
            Column(now),
            gateway,
            row.attempt,
            row.error,
        ])?;

        Ok(())
    }

    pub(super) fn count(&mut self, gateway: &str, state: State, change: i64) {
        if !self.counts.contains_key(gateway) {
            self.counts
                .insert(gateway.to_owned(), QueueCounts::default());
        }

        let counts = self.counts.get_mut(gateway).expect("it was put in");
        if let Some(count) = count_of(counts, state) {
            *count = count.saturating_add_signed(change);
        }
    }

    /// Messages that were being sent when the last process ended: nothing says what became of them.
    pub(super) fn recover(&mut self, now: u64) -> Result<u64, StoreError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let query = format!("SELECT {COLUMNS} FROM messages WHERE state = ?1 ORDER BY seq");
        let sending: Vec<MessageRow> = self
            .connection
            .prepare(&query)?
            .query_map([Column(State::Sending)], MessageRow::of)?
            .collect::<Result<_, _>>()?;

        let recovered = sending.len() as u64;
        for mut row in sending {
            let change = Change {
                error: Some("the server ended while it was being sent".into()),
                ..Change::default()
            };
            self.apply(&mut row, Event::NoAnswer, change, now)?;
            self.settle_parts(&mut row, now)?;
        }

        self.connection.execute_batch("COMMIT")?;
        Ok(recovered)
    }
}

/// Whether a gateway has a message in this state, or may have it.
fn may_be_out(state: State) -> bool {
    matches!(
        state,
        State::Sent | State::Delivered | State::Undelivered | State::Unknown
    )
}

fn count_of(counts: &mut QueueCounts, state: State) -> Option<&mut u64> {
    match state {
        State::Scheduled => Some(&mut counts.scheduled),
        State::Queued => Some(&mut counts.queued),
        State::Sending => Some(&mut counts.sending),
        State::Unknown => Some(&mut counts.unknown),
        _ => None,
    }
}

impl StoreConfig {
    /// As many times as limits by calling code look back.
    pub(super) fn prefix_count_max(&self, class: Class) -> usize {
        let rates = self
            .limits
            .get(&class)
            .into_iter()
            .flat_map(|limits| &limits.per_prefix);
        rates.map(|rate| rate.count as usize).max().unwrap_or(0)
    }
}
