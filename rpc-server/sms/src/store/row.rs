//! A message's row, as far as transitions look at it, and how it changes.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, ToSql, types::ToSqlOutput};

use super::StoreConfig;
use crate::message::{Class, MessageId};
use crate::states::State;
use crate::text::Encoding;

/// The columns of a [`MessageRow`].
pub(super) const COLUMNS: &str = "seq, id, owner, state, class, gateway, attempt, tries, due_at, expires_at, \
     text IS NOT NULL OR template IS NOT NULL, number IS NOT NULL, error, receipt, created_at, updated_at, parts, parts_sent, \
     may_be_out";

/// A message, as far as its transitions look at it.
#[derive(Debug, Clone)]
pub(super) struct MessageRow {
    pub(super) seq: i64,
    pub(super) id: MessageId,
    pub(super) owner: String,
    pub(super) state: State,
    pub(super) class: Class,
    pub(super) gateway: String,
    pub(super) attempt: u32,
    pub(super) tries: u32,
    pub(super) due_at: u64,
    pub(super) expires_at: Option<u64>,
    pub(super) has_content: bool,
    pub(super) has_number: bool,
    pub(super) error: Option<String>,
    pub(super) receipt: Option<String>,
    pub(super) created_at: u64,
    pub(super) updated_at: u64,
    /// Parts of the current attempt, as [`Parts`](crate::message::Parts) has them.
    pub(super) parts: u32,
    pub(super) parts_sent: u32,
    /// Whether a gateway may have the message, or a part of it, by this attempt or an earlier one.
    pub(super) may_be_out: bool,
}

impl MessageRow {
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            id: MessageId::from_bytes(row.get(1)?),
            owner: row.get(2)?,
            state: row.get::<_, Column<State>>(3)?.0,
            class: row.get::<_, Column<Class>>(4)?.0,
            gateway: row.get(5)?,
            attempt: row.get(6)?,
            tries: row.get(7)?,
            due_at: row.get::<_, Column<u64>>(8)?.0,
            expires_at: row.get::<_, Option<Column<u64>>>(9)?.map(|time| time.0),
            has_content: row.get(10)?,
            has_number: row.get(11)?,
            error: row.get(12)?,
            receipt: row.get(13)?,
            created_at: row.get::<_, Column<u64>>(14)?.0,
            updated_at: row.get::<_, Column<u64>>(15)?.0,
            parts: row.get(16)?,
            parts_sent: row.get(17)?,
            may_be_out: row.get(18)?,
        })
    }

    /// Whether a gateway may claim it.
    pub(super) fn is_ready(&self, now: u64) -> bool {
        self.state == State::Queued && self.due_at <= now
    }

    /// The next time at which the sweep has something to do with it.
    pub(super) fn next_at(&self, config: &StoreConfig, now: u64) -> Option<u64> {
        let ended = |at: u64| {
            let text = self.has_content.then(|| at + config.erase_text_ms);
            let number = self
                .has_number
                .then(|| (self.created_at + config.erase_number_ms).max(at));
            let row = at + config.keep_ms;
            text.into_iter().chain(number).chain([row]).min()
        };

        match self.state {
            State::Scheduled | State::Queued if !self.is_ready(now) => Some(
                self.expires_at
                    .map_or(self.due_at, |expires_at| expires_at.min(self.due_at)),
            ),
            State::Scheduled | State::Queued => self.expires_at,
            State::Sending | State::Unknown => None,
            State::Sent if self.receipt.is_none() => Some(self.updated_at + config.receipt_wait_ms),
            _ => ended(self.updated_at),
        }
    }
}

/// A number of rows as SQLite takes it.
pub(super) fn row_limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A value as a column has it: times and the places of names are integers.
pub(super) struct Column<T>(pub(super) T);

macro_rules! places {
    ($($name:ty: $all:expr;)+) => {$(
        impl ToSql for Column<$name> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                let place = $all.iter().position(|one| *one == self.0).expect("every value is in its list");
                Ok(ToSqlOutput::from(row_limit(place)))
            }
        }

        impl FromSql for Column<$name> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let place = value.as_i64()?;
                let found = usize::try_from(place).ok().and_then(|place| $all.get(place));
                found.map(|one| Self(*one)).ok_or(FromSqlError::OutOfRange(place))
            }
        }
    )+};
}

// Places in these lists are on disk: they are only ever added to.
places! {
    State: State::ALL;
    Class: Class::ALL;
    Encoding: Encoding::ALL;
    super::OptOutScope: [super::OptOutScope::All, super::OptOutScope::Marketing];
    super::ReceiptState: [super::ReceiptState::Sent, super::ReceiptState::Delivered, super::ReceiptState::Undelivered];
}

impl ToSql for Column<u64> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // Times that no clock reaches are as good as the last one that fits.
        Ok(ToSqlOutput::from(i64::try_from(self.0).unwrap_or(i64::MAX)))
    }
}

impl FromSql for Column<u64> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number)
            .map(Self)
            .map_err(|_| FromSqlError::OutOfRange(number))
    }
}
