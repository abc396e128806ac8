//! Entries that are taken without an answer: counted for their connection and their service, within budgets.

mod connections;
mod notices;
mod room;
mod services;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rpc_core::Peer;
use rpc_core::api::log::Append;
use tokio::time::Instant;

use super::entry::{Origin, encode};
use super::queue::{Appended, Outcome, check_length, is_too_long};
use super::{LogStore, StoreError};

pub(crate) use connections::Emitter;
pub(super) use connections::Emitters;
pub(super) use notices::{Due, NoticeRun, send_notices};
use services::Share;
pub(super) use services::{ByService, ServiceLimits, Services};

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
    /// Takes entries whose caller does not wait for the disk. The order of the calls is the order in the log.
    ///
    /// # Errors
    ///
    /// With [`Overflow::Refuse`], without having taken any: [`Overloaded`](StoreError::Overloaded),
    /// [`OverBudget`](StoreError::OverBudget), [`TooLarge`](StoreError::TooLarge), [`Closed`](StoreError::Closed). With
    /// [`Overflow::Drop`] none.
    pub(crate) fn emit(
        &self,
        emitter: &Arc<Emitter>,
        entries: &[Append],
        overflow: Overflow,
    ) -> Result<(), StoreError> {
        let received = self.clock.now_ms();
        let lines: Vec<Vec<u8>> = entries
            .iter()
            .map(|entry| encode(entry, Origin::Plain, received))
            .collect();
        let sized = || {
            let services = entries.iter().map(|entry| entry.service.as_str());
            services.zip(lines.iter().map(Vec::len))
        };

        let now = Instant::now();
        let (kept, shares) = match overflow {
            Overflow::Refuse => {
                lines.iter().try_for_each(|line| check_length(line))?;
                let shares = self.services.take(sized(), now)?;
                if !self.services.enter_queue(&shares) {
                    self.services.give_back(&shares);
                    return Err(StoreError::Overloaded);
                }
                (lines.concat(), shares)
            }
            Overflow::Drop => {
                let sifted = self.services.sift(sized(), is_too_long, now);
                emitter.count_dropped(sifted.dropped);
                let kept = lines.iter().zip(&sifted.is_kept).filter(|(_, kept)| **kept);
                let kept: Vec<u8> = kept.flat_map(|(line, _)| line).copied().collect();
                (kept, sifted.shares)
            }
        };
        if kept.is_empty() {
            return Ok(());
        }

        let pushed = self.queue.push_emitted(&kept, || EmitRun {
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
