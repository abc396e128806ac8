//! Entries that are taken without an answer: counted for their connection and their service, within budgets.

mod connections;
mod notices;
mod room;
mod services;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rpc_core::Peer;
use tokio::time::Instant;

use super::queue::{Appended, Outcome, check_length, is_too_long};
use super::{LogStore, NewEntries, StoreError};

pub(crate) use connections::Emitter;
pub(super) use connections::Emitters;
pub(super) use notices::{Due, NoticeRun, send_notices};
pub(super) use services::{Amount, ByService, ServiceLimits, Services};
use services::{Share, Sifted};

/// What becomes of entries for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// They are dropped and counted: no caller would learn of an error.
    Drop,
    /// All are refused, and their caller is told.
    Refuse,
}

/// Emitted entries on their way to the disk. Where this is dropped, they have not come there.
pub(super) struct EmitRun {
    emitter: Arc<Emitter>,
    services: Arc<Services>,
    /// Whose entries they are; none once it is known what has become of them.
    shares: Vec<Share>,
}

impl EmitRun {
    pub(super) fn finish(mut self, outcome: &Outcome) {
        if outcome.is_ok() {
            let shares = std::mem::take(&mut self.shares);
            self.services.leave_queue(&shares);
            self.emitter.count_written(Share::entries_of(&shares));
        }
    }
}

impl Drop for EmitRun {
    fn drop(&mut self) {
        self.emitter.count_dropped(Share::entries_of(&self.shares));
        self.services.leave_queue(&self.shares);
        self.services.drop_taken(&self.shares);
    }
}

impl LogStore {
    /// Takes entries whose caller does not wait for the disk, as [`LogEngine::emit`](super::LogEngine::emit).
    pub(crate) fn emit(
        &self,
        emitter: &Arc<Emitter>,
        entries: impl Into<NewEntries>,
        overflow: Overflow,
    ) -> Result<(), StoreError> {
        let mut entries = entries.into().received_at(self.clock.now_ms());

        let now = Instant::now();
        let shares = match overflow {
            Overflow::Refuse => self.take_all(&entries, now)?,
            Overflow::Drop => self.take_what_fits(emitter, &mut entries, now),
        };
        if entries.is_empty() {
            return Ok(());
        }

        let pushed = self.queue.push_emitted(&entries, || EmitRun {
            emitter: Arc::clone(emitter),
            services: Arc::clone(&self.services),
            shares: shares.clone(),
        });
        let Err(error) = pushed else {
            return Ok(());
        };

        self.services.leave_queue(&shares);
        match overflow {
            Overflow::Refuse => {
                self.services.give_back(&shares);
                Err(error)
            }
            Overflow::Drop => {
                emitter.count_dropped(Share::entries_of(&shares));
                self.services.drop_taken(&shares);
                Ok(())
            }
        }
    }

    /// Takes entries with room in the queue for all of them, or none.
    fn take_all(&self, entries: &NewEntries, now: Instant) -> Result<Vec<Share>, StoreError> {
        entries.line_bytes().try_for_each(check_length)?;

        let shares = self.services.take(entries.amounts(), now)?;
        let entered = self.services.enter_queue(&shares);
        entered.inspect_err(|_| self.services.give_back(&shares))?;
        Ok(shares)
    }

    /// Takes the entries that there is room for, which are left. The others are counted as dropped.
    fn take_what_fits(
        &self,
        emitter: &Emitter,
        entries: &mut NewEntries,
        now: Instant,
    ) -> Vec<Share> {
        // As a rule all fit, and then a service is looked up once, and not for each of its entries.
        if !entries.line_bytes().any(is_too_long)
            && let Some(shares) = self.services.take_at_once(entries.amounts(), now)
        {
            return shares;
        }

        let Sifted {
            is_kept,
            shares,
            dropped,
        } = self.services.sift(entries.sizes(), is_too_long, now);
        emitter.count_dropped(dropped);
        entries.retain(&is_kept);
        shares
    }

    /// Waits until what was emitted before this call is on the disk, or is known not to come there.
    ///
    /// The place behind the emits is taken when this is called, and not when the future is polled.
    ///
    /// # Errors
    ///
    /// [`Closed`](StoreError::Closed) if the writer has ended before.
    pub(crate) fn flushed(&self) -> Result<Appended, StoreError> {
        self.queue.push_mark()
    }

    /// Who emits over a connection; the same for the same connection.
    pub(crate) fn emitter(&self, peer: Option<&Arc<Peer>>) -> Arc<Emitter> {
        self.emitters.of(peer)
    }
}
