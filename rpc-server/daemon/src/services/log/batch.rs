//! `append_batch`: entries that are written together or not at all.

use std::fmt;
use std::sync::Arc;

use rpc_core::api::log::{
    APPEND_BATCH, Append, BATCH_ENTRIES_MAX, BatchAppended, PRODUCER_BYTES_MAX,
};
use rpc_core::{RawJson, Status};
use rpc_server::{FromRequest, Params, Request, State};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, json};

use crate::store::{LogStore, Once};

/// The params, with the entries as they were sent: by that text a batch is told from another one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "AppendBatch")]
pub(super) struct SentBatch {
    producer: String,
    batch: u64,
    entries: Box<RawValue>,
}

/// The batch has its place in the log at the first poll, as an entry has.
pub(super) async fn append_batch(
    State(store): State<Arc<LogStore>>,
    Params(sent): Params<SentBatch>,
) -> Result<BatchAppended, Status> {
    let Placed { once, entries } = place(&store, sent)?;

    let first = once.outcome.await?;
    Ok(BatchAppended {
        first,
        last: first + entries - 1,
        duplicate: once.is_repetition,
        synced: store.is_synced(),
    })
}

/// A batch that has its place in the log.
struct Placed {
    once: Once,
    /// Number of its entries.
    entries: u64,
}

/// Gives a batch its place. What was sent is not kept while the batch waits for the disk: it would be there twice, and
/// once more for each that repeats it.
fn place(store: &LogStore, sent: SentBatch) -> Result<Placed, Status> {
    check_producer(&sent.producer)?;
    if sent.batch == 0 {
        let message = "`params.batch` is 0; number batches from 1 on";
        return Err(Status::invalid_argument(message));
    }

    let text = sent.entries.get();
    let entries = entries_in(text)?;
    let once = store.append_batch(&sent.producer, sent.batch, &entries, text)?;
    Ok(Placed {
        once,
        entries: entries.len() as u64,
    })
}

fn check_producer(name: &str) -> Result<(), Status> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=PRODUCER_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_fine) {
        return Ok(());
    }

    Err(Status::invalid_argument(format!(
        "`params.producer` has {} bytes and must have 1 to {PRODUCER_BYTES_MAX}: letters, digits, `.`, `_` and `-`",
        name.len()
    )))
}

fn entries_in(text: &str) -> Result<Vec<Append>, Status> {
    let raw = RawJson::parse(text)
        .map_err(|_| Status::invalid_argument("`params.entries` is not valid JSON"))?;
    let Ok(entries) = raw.decode::<Vec<Append>>() else {
        return Err(first_mistake(text));
    };

    if (1..=BATCH_ENTRIES_MAX).contains(&entries.len()) {
        return Ok(entries);
    }
    Err(Status::invalid_argument(format!(
        "`params.entries` has {} entries and must have 1 to {BATCH_ENTRIES_MAX}",
        entries.len()
    )))
}

/// Says which entry is wrong, and why, as `append` would.
fn first_mistake(text: &str) -> Status {
    let mut mistake = None;
    let walked = Entries(&mut mistake).deserialize(&mut Deserializer::from_str(text));

    mistake.unwrap_or_else(|| match walked {
        Ok(()) => Status::invalid_argument("`params.entries` does not fit the command"),
        Err(_) => Status::invalid_argument("`params.entries` must be an array of entries"),
    })
}

/// Walks over entries to the first that is wrong, and keeps none of them: in a line there may be half a million.
struct Entries<'a>(&'a mut Option<Status>);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        for index in 0.. {
            let Some(entry) = entries.next_element::<&RawValue>()? else {
                break;
            };
            let Ok(params) = RawJson::parse(entry.get()) else {
                continue;
            };

            let request = Request::new(APPEND_BATCH, params);
            if let Err(status) = Params::<Append>::from_request(&request, &()) {
                *self.0 = Some(at_index(index, &status));
                return Err(A::Error::custom("an entry is wrong"));
            }
        }

        Ok(())
    }
}

/// The mistake of an entry's params, as one of the batch.
fn at_index(index: usize, status: &Status) -> Status {
    let message = status.message();
    let (path, reason) = message
        .strip_prefix("`params")
        .and_then(|rest| rest.split_once('`'))
        .unwrap_or(("", message));

    let field = path.strip_prefix('.').filter(|field| !field.is_empty());
    Status::invalid_argument(format!("`params.entries[{index}]{path}`{reason}"))
        .with_details(&json!({ "index": index, "field": field }))
}
