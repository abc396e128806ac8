//! The bytes of results that wait to be taken by their connections.

use std::sync::{Arc, OnceLock};

use rpc_core::{HeldBytes, Outcome, Peer};

use super::memory::{Holder, Memory, Reserved};

/// Longest result that is never refused: not much more than what is counted for each call in flight.
const SMALL_BYTES: usize = 4 * 1024;

/// Counts results that are built outside of their connection's task, with their connection and with the memory of a
/// server. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Results(Arc<OnceLock<Arc<Memory>>>);

/// The bytes of a result. They count until this is dropped.
pub(crate) struct ResultBytes {
    of_connection: HeldBytes,
    /// None without a server.
    of_all: Option<Reserved>,
}

impl Results {
    /// Counts results in the memory of a server, unless another server counts them already.
    pub(crate) fn bind(&self, memory: &Arc<Memory>) {
        self.0.get_or_init(|| Arc::clone(memory));
    }

    /// Counts `bytes` of a result for this peer.
    ///
    /// # Errors
    /// There is no memory for them: the server's, with its limit.
    pub(crate) fn hold(&self, peer: &Arc<Peer>, bytes: usize) -> Result<ResultBytes, &Memory> {
        // Without a server that counts them here, the connection tells of them.
        let Some(memory) = self.0.get() else {
            return Ok(ResultBytes {
                of_connection: peer.hold(bytes),
                of_all: None,
            });
        };

        let holder = Holder::of(peer.held_bytes(), memory.share());
        let reserved = memory.reserve(bytes, holder).ok_or(&**memory)?;
        Ok(ResultBytes {
            of_connection: peer.hold_result(bytes),
            of_all: Some(reserved),
        })
    }

    /// Counts a result that was just built, until what is returned with it is dropped. Without memory for it, it is
    /// dropped now, and a refusal takes its place. A small one, such as the receipt of a write, is never refused.
    pub(crate) fn count(
        &self,
        peer: Option<&Arc<Peer>>,
        outcome: Outcome,
    ) -> (Outcome, Option<ResultBytes>) {
        let Some(peer) = peer else {
            return (outcome, None);
        };

        let bytes = outcome_bytes(&outcome);
        let wanted = if bytes > SMALL_BYTES { bytes } else { 0 };
        match self.hold(peer, wanted) {
            Ok(mut held) => {
                held.set(bytes);
                (outcome, Some(held))
            }
            Err(memory) => (Err(memory.refusal()), None),
        }
    }
}

impl ResultBytes {
    /// Changes the number of bytes.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.of_connection.set(bytes);
        if let Some(of_all) = &mut self.of_all {
            of_all.set(bytes);
        }
    }
}

/// Bytes of a result that waits to be written.
pub(crate) fn outcome_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Ok(reply) => reply.data().map_or(0, |data| data.as_bytes().len()),
        Err(status) => {
            let details = status.details().map_or(0, |details| details.get().len());
            status.message().len() + details
        }
    }
}
