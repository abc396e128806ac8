//! `append_batch`: entries that are written together or not at all.

use std::fmt;
use std::sync::Arc;

use rpc_core::api::log::{
    APPEND_BATCH, Append, AppendRef, BATCH_ENTRIES_MAX, BatchAppended, PRODUCER_BYTES_MAX,
};
use rpc_core::{RawJson, Status};
use rpc_server::{FromRequest, Params, Request, State};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, json};

use crate::store::{LogEngine, NewBatch, Once};

/// The params, with the entries as the lines that they become.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentBatch {
    producer: String,
    batch: u64,
    entries: NewBatch,
}

impl FromRequest<Arc<dyn LogEngine>> for SentBatch {
    fn from_request(request: &Request<'_>, store: &Arc<dyn LogEngine>) -> Result<Self, Status> {
        let mut sent = match request.params.read_by(NewBatch::read) {
            Some((producer, batch, entries)) => Self {
                producer,
                batch,
                entries,
            },
            None => request.params.decode().map_err(|_| mistake_in(request))?,
        };

        // Only then, since the hash of the text costs more than all else.
        if store.has_other_batch(&sent.producer, sent.batch, &sent.entries) {
            sent.entries.note_text(text_of_entries(request));
        }
        Ok(sent)
    }
}

/// The batch has its place in the log at the first poll, as an entry has.
pub(super) async fn append_batch(
    State(store): State<Arc<dyn LogEngine>>,
    sent: SentBatch,
) -> Result<BatchAppended, Status> {
    let Placed { once, entries } = place(&*store, sent)?;

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
fn place(store: &dyn LogEngine, sent: SentBatch) -> Result<Placed, Status> {
    check_name(&sent.producer, sent.batch)?;
    let count = sent.entries.len();
    if !(1..=BATCH_ENTRIES_MAX).contains(&count) {
        return Err(Status::invalid_argument(format!(
            "`params.entries` has {count} entries and must have 1 to {BATCH_ENTRIES_MAX}"
        )));
    }

    let once = store.append_batch(&sent.producer, sent.batch, sent.entries)?;
    Ok(Placed {
        once,
        entries: count as u64,
    })
}

/// Whether a batch has a producer and a number as it must.
fn check_name(producer: &str, number: u64) -> Result<(), Status> {
    check_producer(producer)?;
    if number == 0 {
        let message = "`params.batch` is 0; number batches from 1 on";
        return Err(Status::invalid_argument(message));
    }
    Ok(())
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

/// Says what is wrong with params that cannot be read: a member of theirs, or else an entry.
fn mistake_in(request: &Request<'_>) -> Status {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, expecting = "struct AppendBatch")]
    struct Members {
        producer: String,
        batch: u64,
        entries: IgnoredAny,
    }

    let Members {
        producer,
        batch,
        entries: IgnoredAny,
    } = match Params::<Members>::from_request(request, &()) {
        Ok(Params(members)) => members,
        Err(status) => return status,
    };
    if let Err(status) = check_name(&producer, batch) {
        return status;
    }

    first_mistake(text_of_entries(request))
}

/// The entries as they were sent.
fn text_of_entries<'r>(request: &'r Request<'_>) -> &'r str {
    #[derive(Deserialize)]
    struct Sent<'a> {
        #[serde(borrow)]
        entries: &'a RawValue,
    }

    let sent = request.params.decode_borrowed::<Sent<'_>>();
    sent.map_or("", |sent| sent.entries.get())
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
            if is_entry(entry) {
                continue;
            }
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

/// Whether a text is an entry, at the cost of reading it. Saying what is wrong costs many times as much, and is for one that
/// is not.
fn is_entry(text: &RawValue) -> bool {
    // An array with the values of the members in their order would do for the type alone.
    text.get().starts_with('{') && serde_json::from_str::<AppendRef<'_>>(text.get()).is_ok()
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
