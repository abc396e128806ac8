//! Sends batches to the log, each until it is acknowledged.

use std::time::Duration;

use rpc_client::log::is_final;
use rpc_client::{Client, Error};
use rpc_core::api::log::{APPEND_BATCH, BatchAppended, BatchError};
use rpc_core::backoff::Backoff;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::exit::{describe, is_no_address};
use crate::output::complain;

/// Bounds of the time between tries while the log takes nothing.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

pub(super) struct Sender {
    client: Client,
    producer: String,
    backoff: Backoff,
    /// Whether the last try has failed, which was said.
    is_away: bool,
}

#[derive(Serialize)]
struct Params<'a> {
    producer: &'a str,
    batch: u64,
    entries: &'a RawValue,
}

impl Sender {
    pub(super) fn new(client: Client, producer: String) -> Self {
        Self {
            client,
            producer,
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_MAX),
            is_away: false,
        }
    }

    /// A name that no other producer has.
    pub(super) fn new_producer() -> String {
        format!("ship-{:016x}", random())
    }

    /// Sends a batch until it is in the log; `entries` are those of [`entries`](super::lines::entries).
    ///
    /// # Errors
    /// The log refuses the batch, and would again; or the address is not one.
    pub(super) async fn send(&mut self, batch: u64, entries: String) -> Result<(), Error> {
        let entries = RawValue::from_string(entries).expect("entries are written as JSON");
        let producer = self.producer.clone();
        let params = Params {
            producer: &producer,
            batch,
            entries: &entries,
        };

        loop {
            let command = self.client.command(APPEND_BATCH).idempotent();
            let Err(error) = command.call::<_, BatchAppended>(&params).await else {
                self.note_back();
                return Ok(());
            };
            if is_final(&error) || is_no_address(&error) {
                return Err(error);
            }

            self.note_away(&error);
            let after = error.status().and_then(rpc_client::Status::retry_after);
            let pause = self.backoff.next_delay().max(after.unwrap_or_default());
            tokio::time::sleep(pause).await;
        }
    }

    fn note_away(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.is_away, true) {
            complain(&format!(
                "rpc: {}; trying again until the log takes it",
                describe(error)
            ));
        }
    }

    fn note_back(&mut self) {
        self.backoff.reset();
        if std::mem::take(&mut self.is_away) {
            complain(&format!("rpc: {}: back", self.client.address()));
        }
    }
}

/// Whether the log has another batch of the producer with this number.
pub(super) fn is_conflict(error: &Error) -> bool {
    let answer = error.status().cloned().map(BatchError::from);
    matches!(answer, Some(BatchError::Conflict))
}

/// Numbers from the system: two programs that start together do not have the same.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};

    RandomState::new().hash_one(std::process::id())
}
