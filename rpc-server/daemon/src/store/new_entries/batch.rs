//! Entries as a batch, told from others by their hash.

use rpc_core::api::log::{Append, AppendRef, fast};
use serde::de::{Deserialize, Deserializer};

use super::super::repeats::{BatchOf, EntriesHash, text_hash};
use super::{Each, NewEntries, Source};

/// Entries that are written together or not at all, once.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewBatch {
    entries: NewEntries,
    hash: EntriesHash,
    /// The hash of the text of the entries, if that was noted.
    text_hash: Option<u64>,
}

impl NewBatch {
    fn empty() -> Self {
        Self {
            entries: NewEntries::empty(),
            ..Self::default()
        }
    }

    fn push(&mut self, entry: &AppendRef<'_>, source: Source) {
        self.hash.add(entry);
        self.entries.push(entry, source);
    }

    /// Reads the params of `append_batch` in their usual form: the producer, the number, and the entries.
    pub(crate) fn read(params: &str) -> Option<(String, u64, Self)> {
        let mut new = Self {
            entries: NewEntries::with_room(params.len()),
            ..Self::default()
        };
        let (producer, number) = fast::batch(params, |entry| new.push(entry, Source::Json))?;
        Some((producer.into_owned(), number, new))
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells these entries from those of another batch.
    pub(in crate::store) fn hash(&self) -> u64 {
        self.hash.number()
    }

    /// Notes the text of the entries. Older versions have told batches apart by its hash.
    pub(crate) fn note_text(&mut self, text: &str) {
        self.text_hash = Some(text_hash(text));
    }

    /// What an older version has written as the hash of these entries, if their text was noted.
    pub(in crate::store) fn text_hash(&self) -> Option<u64> {
        self.text_hash
    }

    /// The entries, of which the first tells of the batch.
    pub(in crate::store) fn into_entries(self, batch: &BatchOf) -> NewEntries {
        self.entries.with_origin("batch", &batch.to_string())
    }
}

impl From<&[Append]> for NewBatch {
    fn from(entries: &[Append]) -> Self {
        let mut new = Self::empty();
        for entry in entries {
            new.push(&AppendRef::from(entry), Source::Memory);
        }
        new
    }
}

impl<'de> Deserialize<'de> for NewBatch {
    /// Reads an array of entries.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut new = Self::empty();
        deserializer
            .deserialize_seq(Each(|entry: &AppendRef<'de>| new.push(entry, Source::Json)))?;
        Ok(new)
    }
}
