//! The state of a run with `--journal`: the place in the journal, and the batch that was sent last.

use rpc_core::api::log::TS_MAX;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::sender::Sender;
use super::super::state::{Source, Stored};
use super::batch::{BATCH_ENTRIES_MAX, JSON_BYTES_MAX};

/// The version that is written. The first one had no `first`.
const VERSION: u32 = 2;

/// What the state file holds. It is written before each batch is sent, with the entries of the batch: they are sent again as
/// they were, even if the journal has deleted them meanwhile. Once all is acknowledged it is written without them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    source: Source,
    version: u32,
    pub(super) producer: String,
    /// The number of the last batch; 0 before the first one.
    pub(super) batch: u64,
    /// The entry of the journal up to which all is in the batch or before it. `None` if the journal was empty: its first entry
    /// is the next one.
    pub(super) place: Option<Place>,
    /// The entry that the first batch begins with, or the first one behind it. `None` once there is a `place`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<Place>,
    /// The entries of the batch as JSON, if it may not be in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) entries: Option<Box<RawValue>>,
}

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) cursor: String,
    /// Its time, in milliseconds since 1970.
    pub(super) ts: u64,
}

impl State {
    /// A state before anything was sent.
    pub(super) fn new() -> Self {
        Self {
            source: Source::Journal,
            version: VERSION,
            producer: Sender::new_producer(),
            batch: 0,
            place: None,
            first: None,
            entries: None,
        }
    }

    /// Names the entries of a batch that is sent now.
    pub(super) fn set_entries(&mut self, entries: &str) {
        let entries = RawValue::from_string(entries.to_owned());
        self.entries = Some(entries.expect("entries are written as JSON"));
    }
}

impl Stored for State {
    const SOURCE: Source = Source::Journal;
    const VERSION: u32 = VERSION;

    fn parse(text: &str) -> Result<Self, String> {
        let state: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut places = state.place.iter().chain(&state.first);
        if let Some(Place { ts, .. }) = places.find(|place| place.ts > TS_MAX) {
            return Err(format!("`ts` is {ts}, which is after the year 9999"));
        }
        let Some(entries) = &state.entries else {
            return Ok(state);
        };

        let text = entries.get();
        let entries: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| format!("`entries`: {error}"))?;
        if entries.is_empty() || entries.len() > BATCH_ENTRIES_MAX || text.len() > JSON_BYTES_MAX {
            return Err(format!(
                "`entries` has {} entries in {} bytes, and a batch has 1 to {BATCH_ENTRIES_MAX} in at most {JSON_BYTES_MAX}",
                entries.len(),
                text.len()
            ));
        }
        Ok(state)
    }
}
