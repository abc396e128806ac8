//! Receipts: matched with their messages, or kept for those whose response has not come yet.

use rusqlite::params;

use super::row::{Column, MessageRow};
use super::tables::{Change, Tables};
use super::{Receipt, ReceiptScope, ReceiptState, Refusal, StoreError, Viewer};
use crate::message::AttemptId;
use crate::states::Event;

/// Maximum number of receipts that are kept although they match nothing. Further ones are forgotten: strangers may send
/// any number of them.
const EARLY_MAX: i64 = 100_000;

impl Tables {
    pub(super) fn take_receipt(&mut self, receipt: &Receipt, now: u64) -> Result<bool, StoreError> {
        if let Some((mut row, attempt)) = self.of_receipt(receipt)? {
            if let Some(state) = self.of_whole(&row, attempt, receipt)? {
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
                // No gateway can know of an attempt before it is made.
                Ok(row) if !(1..=row.attempt).contains(&attempt) => {}
                Ok(row) => return Ok(Some((row, attempt))),
                Err(StoreError::Refused(Refusal::NotFound)) => {}
                Err(error) => return Err(error),
            }
        }

        match &receipt.reference {
            Some(reference) => self.of_reference(&receipt.gateway, reference),
            None => Ok(None),
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
        for (state, error) in early {
            let receipt = Receipt {
                gateway: row.gateway.clone(),
                reference: Some(reference.to_owned()),
                id: None,
                scope: ReceiptScope::Part,
                state,
                error,
            };
            let attempt = row.attempt;
            if let Some(state) = self.of_whole(row, attempt, &receipt)? {
                self.take(row, attempt, state, receipt.error, now)?;
            }
        }
        Ok(())
    }
}
