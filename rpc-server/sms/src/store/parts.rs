//! Parts of messages: the gateway's names for them, and what their receipts say of the whole message.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, params};

use super::row::{Column, MessageRow, row_limit};
use super::tables::{Change, Tables};
use super::{Receipt, ReceiptScope, ReceiptState, StoreError};
use crate::message::{PARTS_MAX, Parts};
use crate::states::{Event, State, Step};

impl Tables {
    /// Ends an attempt, and keeps what is known of its parts also where the state stays.
    pub(super) fn end_parts(
        &mut self,
        row: &mut MessageRow,
        event: Event,
        change: Change,
        parts: &Parts,
        now: u64,
    ) -> Result<Step, StoreError> {
        if parts.count > 0 {
            (row.parts, row.parts_sent) = (parts.count, parts.sent());
        }
        let step = self.apply(row, event, change, now)?;

        match step {
            Step::Refused => return Ok(step),
            Step::Stays if parts.count > 0 => self.write(row, now)?,
            Step::Stays | Step::To(_) => {}
        }
        self.name_parts(row, parts, now)?;
        Ok(step)
    }

    /// Keeps the gateway's names of an attempt's parts, and takes the receipts that came before them.
    fn name_parts(
        &mut self,
        row: &mut MessageRow,
        parts: &Parts,
        now: u64,
    ) -> Result<(), StoreError> {
        let names: BTreeSet<&str> = parts.references().collect();
        // What the receipts of the others will name is not known: the message is not delivered by those of these alone.
        let nameless = (parts.count as usize).saturating_sub(parts.references().count());
        let needed = names.len() + nameless;

        let came_early = self.has_parts(row)?;
        for reference in &names {
            // A receipt may have named it before.
            self.connection
                .prepare_cached(
                    "INSERT INTO parts (gateway, reference, seq, attempt, needed) VALUES (?1, ?2, ?3, ?4, ?5) \
                     ON CONFLICT (gateway, reference, seq, attempt) DO UPDATE SET needed = excluded.needed",
                )?
                .execute(params![row.gateway, reference, row.seq, row.attempt, row_limit(needed)])?;
        }
        if came_early && needed > 0 {
            self.correct_parts(row, &names, needed)?;
        }

        for reference in names {
            self.take_early_receipts(row, reference, now)?;
        }
        if came_early {
            self.settle_parts(row, now)?;
        }
        Ok(())
    }

    /// Whether a receipt has told of parts of the current attempt before its answer did.
    pub(super) fn has_parts(&self, row: &MessageRow) -> Result<bool, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT 1 FROM parts WHERE seq = ?1 AND attempt = ?2")?;
        Ok(statement.exists(params![row.seq, row.attempt])?)
    }

    /// Whether an answer or a receipt has told of parts of any attempt.
    pub(super) fn has_parts_of_any(&self, row: &MessageRow) -> Result<bool, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT 1 FROM parts WHERE seq = ?1")?;
        Ok(statement.exists([row.seq])?)
    }

    /// Replaces what was assumed of an attempt's parts by what the answer tells of them.
    fn correct_parts(
        &self,
        row: &MessageRow,
        names: &BTreeSet<&str>,
        needed: usize,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE parts SET needed = ?3 WHERE seq = ?1 AND attempt = ?2")?
            .execute(params![row.seq, row.attempt, row_limit(needed)])?;

        if names.len() == needed {
            let names = serde_json::to_string(names).expect("texts are JSON");
            self.connection
                .prepare_cached(
                    "DELETE FROM parts WHERE seq = ?1 AND attempt = ?2 AND reference NOT IN (SELECT value FROM json_each(?3))",
                )?
                .execute(params![row.seq, row.attempt, names])?;
        }
        Ok(())
    }

    /// Looks whether receipts that came before the end of an attempt say that all of it has arrived.
    pub(super) fn settle_parts(
        &mut self,
        row: &mut MessageRow,
        now: u64,
    ) -> Result<(), StoreError> {
        if !self.are_delivered(row, row.attempt)? {
            return Ok(());
        }

        let change = Change {
            receipt: Some(ReceiptState::Delivered.as_str().to_owned()),
            ..Change::default()
        };
        self.apply(row, Event::ReceiptDelivered, change, now)?;
        Ok(())
    }

    /// What a receipt says of the whole message. That one of several parts arrived says nothing before all have; that one
    /// did not arrive says it of the message.
    pub(super) fn of_whole(
        &self,
        row: &MessageRow,
        attempt: u32,
        receipt: &Receipt,
    ) -> Result<Option<ReceiptState>, StoreError> {
        let needed = self.parts_needed(row, attempt, receipt.scope)?;
        if needed <= 1 {
            return Ok(Some(receipt.state));
        }

        let is_news = match &receipt.reference {
            Some(reference) => self.note_part(row, attempt, receipt, reference, needed)?,
            // It names no part. Which one has arrived is not known.
            None => receipt.state == ReceiptState::Undelivered,
        };
        let is_of_whole = match receipt.state {
            _ if !is_news => false,
            ReceiptState::Sent => false,
            ReceiptState::Undelivered => true,
            // The answer may still tell of more parts than are assumed.
            ReceiptState::Delivered if row.state == State::Sending => false,
            ReceiptState::Delivered => self.are_delivered(row, attempt)?,
        };
        Ok(Some(receipt.state).filter(|_| is_of_whole))
    }

    /// The number of parts of an attempt whose receipts make its message delivered: as the gateway's answer tells it, or as
    /// many as the text has segments. 1 is the whole message.
    fn parts_needed(
        &self,
        row: &MessageRow,
        attempt: u32,
        scope: ReceiptScope,
    ) -> Result<u32, StoreError> {
        let told: Option<u32> = self
            .connection
            .prepare_cached("SELECT max(needed) FROM parts WHERE seq = ?1 AND attempt = ?2")?
            .query_row(params![row.seq, attempt], |row| row.get(0))?;
        let is_current = attempt == row.attempt;
        let told = told.or(Some(row.parts).filter(|parts| is_current && *parts > 1));
        if let Some(told) = told {
            return Ok(told);
        }

        // A message that is queued again has had no answer that told of its parts, either.
        let is_open =
            !is_current || matches!(row.state, State::Sending | State::Unknown | State::Queued);
        if scope == ReceiptScope::Message || !is_open {
            return Ok(1);
        }
        // How long the text of a template is, only the provider knows.
        let assumed = self
            .connection
            .prepare_cached(
                "SELECT iif(template IS NULL, segments, ?2) FROM messages WHERE seq = ?1",
            )?
            .query_row(params![row.seq, row_limit(PARTS_MAX)], |row| row.get(0))?;
        Ok(assumed)
    }

    /// Notes the receipt of a part. `false` if it says nothing new: the first final one of a part holds.
    fn note_part(
        &self,
        row: &MessageRow,
        attempt: u32,
        receipt: &Receipt,
        reference: &str,
        needed: u32,
    ) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE parts SET receipt = ?5 WHERE gateway = ?1 AND reference = ?2 AND seq = ?3 AND attempt = ?4 \
                 AND coalesce(receipt, ?6) = ?6",
            )?
            .execute(params![
                receipt.gateway,
                reference,
                row.seq,
                attempt,
                Column(receipt.state),
                Column(ReceiptState::Sent)
            ])?;
        if changed > 0 {
            return Ok(true);
        }

        // A name that no answer has told yet, of one of those parts that are without a name. The answer may still tell of
        // more parts than are assumed.
        let is_assumed = attempt == row.attempt && row.state == State::Sending;
        let room = if is_assumed {
            row_limit(PARTS_MAX)
        } else {
            i64::from(needed)
        };
        let noted = self
            .connection
            .prepare_cached(
                "INSERT OR IGNORE INTO parts (gateway, reference, seq, attempt, needed, receipt) \
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE (SELECT count(*) FROM parts WHERE seq = ?3 AND attempt = ?4) < ?7",
            )?
            .execute(params![
                receipt.gateway,
                reference,
                row.seq,
                attempt,
                needed,
                Column(receipt.state),
                room
            ])?;
        if noted > 0 || receipt.state != ReceiptState::Undelivered {
            return Ok(noted > 0);
        }

        // There are more parts than were assumed, or the answer names them in another way: one of them did not arrive.
        let mut statement = self.connection.prepare_cached(
            "SELECT 1 FROM parts WHERE gateway = ?1 AND reference = ?2 AND seq = ?3 AND attempt = ?4",
        )?;
        Ok(!statement.exists(params![receipt.gateway, reference, row.seq, attempt])?)
    }

    /// Whether receipts say that all parts of an attempt have arrived.
    fn are_delivered(&self, row: &MessageRow, attempt: u32) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT max(needed) <= count(*) FILTER (WHERE receipt = ?3) FROM parts WHERE seq = ?1 AND attempt = ?2",
        )?;
        let are = statement.query_row(
            params![row.seq, attempt, Column(ReceiptState::Delivered)],
            |row| row.get::<_, Option<bool>>(0),
        );
        Ok(are.optional()?.flatten().unwrap_or(false))
    }
}
