//! Receipts: matched with their messages, or kept for those whose response has not come yet.

use rusqlite::{OptionalExtension, params};

use super::row::{Column, MessageRow};
use super::tables::{Change, Tables};
use super::{Receipt, ReceiptState, Refusal, StoreError, Viewer};
use crate::message::AttemptId;
use crate::states::Event;

/// Maximum number of receipts that are kept although they match nothing. Further ones are forgotten: strangers may send
/// any number of them.
const EARLY_MAX: i64 = 100_000;

/// The gateway of a part, and its name for it.
type PartName<'n> = (&'n str, &'n str);

impl Tables {
    pub(super) fn take_receipt(&mut self, receipt: &Receipt, now: u64) -> Result<bool, StoreError> {
        if let Some((mut row, attempt)) = self.of_receipt(receipt)? {
            let name = receipt.reference.as_deref();
            let part = name.map(|reference| (receipt.gateway.as_str(), reference));
            if let Some(state) = self.of_whole(&row, attempt, part, receipt.state)? {
                self.take(&mut row, attempt, state, receipt.error.clone(), now)?;
            }
            return Ok(true);
        }

        if let Some(reference) = &receipt.reference {
            let kept: i64 = self
                .connection
                .prepare_cached("SELECT count(*) FROM early_receipts")?
                .query_row([], |row| row.get(0))?;
            if kept < EARLY_MAX {
                self.connection
                    .prepare_cached(
                        "INSERT OR IGNORE INTO early_receipts (gateway, reference, state, error, at) VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![receipt.gateway, reference, Column(receipt.state), receipt.error, Column(now)])?;
            }
        }
        Ok(false)
    }

    /// The message and attempt that a receipt is of.
    fn of_receipt(&self, receipt: &Receipt) -> Result<Option<(MessageRow, u32)>, StoreError> {
        if let Some(AttemptId { id, attempt }) = receipt.id {
            match self.find(id, &Viewer::All) {
                // Before its first attempt, no gateway can know of it.
                Ok(row) if row.attempt == 0 => {}
                Ok(row) => {
                    let attempt = attempt.unwrap_or(row.attempt);
                    return Ok(Some((row, attempt)));
                }
                Err(StoreError::Refused(Refusal::NotFound)) => {}
                Err(error) => return Err(error),
            }
        }

        match &receipt.reference {
            Some(reference) => self.of_reference(&receipt.gateway, reference),
            None => Ok(None),
        }
    }

    /// What a receipt says of the whole message. That one of several parts arrived says nothing before all have; that one
    /// did not arrive says it of the message.
    fn of_whole(
        &self,
        row: &MessageRow,
        attempt: u32,
        part: Option<PartName<'_>>,
        state: ReceiptState,
    ) -> Result<Option<ReceiptState>, StoreError> {
        let Some((gateway, reference)) = part else {
            return Ok(Some(state));
        };
        let needed: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT needed FROM parts WHERE gateway = ?1 AND reference = ?2 AND seq = ?3 AND attempt = ?4",
            )?
            .query_row(params![gateway, reference, row.seq, attempt], |row| row.get(0))
            .optional()?;
        let Some(needed) = needed.filter(|needed| *needed > 1) else {
            return Ok(Some(state));
        };

        // The first final one of a part holds.
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE parts SET receipt = ?3 WHERE gateway = ?1 AND reference = ?2 AND coalesce(receipt, ?4) = ?4",
            )?
            .execute(params![
                gateway,
                reference,
                Column(state),
                Column(ReceiptState::Sent)
            ])?;
        if changed == 0 {
            return Ok(None);
        }

        match state {
            ReceiptState::Sent => Ok(None),
            ReceiptState::Undelivered => Ok(Some(state)),
            ReceiptState::Delivered => {
                let arrived: i64 = self
                    .connection
                    .prepare_cached(
                        "SELECT count(*) FROM parts WHERE seq = ?1 AND attempt = ?2 AND receipt = ?3",
                    )?
                    .query_row(params![row.seq, attempt, Column(state)], |row| row.get(0))?;
                Ok(Some(state).filter(|_| arrived == needed))
            }
        }
    }

    fn take(
        &mut self,
        row: &mut MessageRow,
        attempt: u32,
        state: ReceiptState,
        error: Option<String>,
        now: u64,
    ) -> Result<(), StoreError> {
        let is_current = attempt == row.attempt && row.state != crate::states::State::Queued;
        let event = match state {
            ReceiptState::Sent if is_current => Event::ReceiptSent,
            ReceiptState::Delivered if is_current => Event::ReceiptDelivered,
            ReceiptState::Undelivered if is_current => Event::ReceiptUndelivered,
            ReceiptState::Delivered => Event::EarlierDelivered,
            // That an earlier attempt did not arrive says nothing of the current one.
            _ => return Ok(()),
        };

        let change = Change {
            receipt: Some(state.as_str().to_owned()),
            error: error.filter(|_| state == ReceiptState::Undelivered),
            ..Change::default()
        };
        self.apply(row, event, change, now)?;
        Ok(())
    }

    /// Takes the receipts that came before the name that they use was known.
    pub(super) fn take_early_receipts(
        &mut self,
        row: &mut MessageRow,
        reference: &str,
        now: u64,
    ) -> Result<(), StoreError> {
        let early: Vec<(ReceiptState, Option<String>)> = self
            .connection
            .prepare_cached("SELECT state, error FROM early_receipts WHERE gateway = ?1 AND reference = ?2 ORDER BY state")?
            .query_map([&row.gateway, reference], |row| {
                Ok((row.get::<_, Column<ReceiptState>>(0)?.0, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        if early.is_empty() {
            return Ok(());
        }

        self.connection
            .prepare_cached("DELETE FROM early_receipts WHERE gateway = ?1 AND reference = ?2")?
            .execute([&row.gateway, reference])?;
        let (attempt, gateway) = (row.attempt, row.gateway.clone());
        for (state, error) in early {
            let part = Some((gateway.as_str(), reference));
            if let Some(state) = self.of_whole(row, attempt, part, state)? {
                self.take(row, attempt, state, error, now)?;
            }
        }
        Ok(())
    }
}
