//! Does what is due: messages whose time has come, that expired, or of which something is to be erased.

use rusqlite::params;

use super::row::{COLUMNS, Column, MessageRow, row_limit};
use super::tables::{Change, Tables};
use super::{StoreError, Swept};
use crate::states::{Event, State};

impl Tables {
    pub(super) fn sweep_due(&mut self, now: u64, limit: usize) -> Result<Swept, StoreError> {
        let query = format!(
            "SELECT {COLUMNS} FROM messages INDEXED BY messages_due WHERE next_at <= ?1 ORDER BY next_at LIMIT ?2"
        );
        let due: Vec<MessageRow> = self
            .connection
            .prepare_cached(&query)?
            .query_map(params![Column(now), row_limit(limit)], MessageRow::of)?
            .collect::<Result<_, _>>()?;

        let mut swept = Swept {
            is_full: due.len() == limit,
            ..Swept::default()
        };
        for row in due {
            self.sweep_one(row, &mut swept, now)?;
        }

        let oldest = Column(now.saturating_sub(self.config.early_receipt_ms));
        self.connection
            .prepare_cached("DELETE FROM early_receipts WHERE at < ?1")?
            .execute([oldest])?;
        Ok(swept)
    }

    fn sweep_one(
        &mut self,
        mut row: MessageRow,
        swept: &mut Swept,
        now: u64,
    ) -> Result<(), StoreError> {
        match row.state {
            State::Scheduled | State::Queued
                if row.expires_at.is_some_and(|expires_at| expires_at <= now) =>
            {
                self.apply(&mut row, Event::Expire, Change::default(), now)?;
                swept.expired += 1;
            }
            State::Scheduled => {
                self.apply(&mut row, Event::Due, Change::default(), now)?;
                swept.due += 1;
            }
            State::Queued => {
                // Its back-off is over.
                self.write(&row, now)?;
                swept.due += 1;
            }
            State::Sent if row.receipt.is_none() => {
                row.receipt = Some("none".into());
                self.write(&row, now)?;
                swept.without_receipt += 1;
            }
            _ => {
                self.erase(row, now)?;
                swept.erased += 1;
            }
        }

        Ok(())
    }

    /// Erases what has been kept for as long as it may.
    fn erase(&mut self, mut row: MessageRow, now: u64) -> Result<(), StoreError> {
        let ended = row.updated_at;
        if ended + self.config.keep_ms <= now {
            // The last event stays: its number is what the next one goes on from.
            self.connection
                .prepare_cached("DELETE FROM events WHERE seq = ?1 AND number < (SELECT max(number) FROM events)")?
                .execute([row.seq])?;
            self.connection
                .prepare_cached("DELETE FROM parts WHERE seq = ?1")?
                .execute([row.seq])?;
            self.connection
                .prepare_cached("DELETE FROM messages WHERE seq = ?1")?
                .execute([row.seq])?;
            return Ok(());
        }

        if row.has_content && ended + self.config.erase_text_ms <= now {
            self.connection
                .prepare_cached("UPDATE messages SET text = NULL, template = NULL WHERE seq = ?1")?
                .execute([row.seq])?;
            row.has_content = false;
        }
        if row.has_number && row.created_at + self.config.erase_number_ms <= now {
            self.connection
                .prepare_cached("UPDATE messages SET number = NULL WHERE seq = ?1")?
                .execute([row.seq])?;
            row.has_number = false;
        }
        self.write(&row, now)
    }
}
