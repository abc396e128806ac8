//! Batches of entries of the journal.

use super::entry::Entry;
use super::state::Place;

/// Maximum number of entries in a batch.
pub(super) const BATCH_ENTRIES_MAX: usize = 1_000;

/// Maximum number of bytes of a batch as JSON, by which it fits into a line of 1 MiB. The largest entry fits.
pub(super) const JSON_BYTES_MAX: usize = 768 << 10;

/// Entries on their way into the log.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// As JSON, without the end of the array.
    text: String,
    count: usize,
    /// The last one.
    place: Option<Place>,
}

/// A batch that gets no further entries.
#[derive(Debug)]
pub(super) struct Sealed {
    /// The entries as JSON.
    pub(super) entries: String,
    /// The last entry that was looked at.
    pub(super) place: Place,
}

impl Batch {
    /// Whether there is room for another entry.
    pub(super) fn has_room_for(&self, entry: &Entry) -> bool {
        let separators = 2;
        self.count < BATCH_ENTRIES_MAX
            && self.text.len() + entry.json.len() + separators <= JSON_BYTES_MAX
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.text.push(if self.count == 0 { '[' } else { ',' });
        self.text.push_str(&entry.json);
        self.count += 1;
        self.place = Some(entry.place);
    }

    /// The batch as it is sent; `None` if it has no entry.
    pub(super) fn seal(mut self) -> Option<Sealed> {
        self.text.push(']');
        let entries = self.text;
        self.place.map(|place| Sealed { entries, place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: usize, length: usize) -> Entry {
        Entry {
            json: "x".repeat(length),
            place: Place {
                cursor: number.to_string(),
                ts: 0,
            },
        }
    }

    #[test]
    fn a_batch_is_full_by_its_entries_or_its_bytes_and_ends_behind_its_last_entry() {
        let check = |length: usize, expected: usize| {
            let mut batch = Batch::default();
            let mut count = 0;
            while batch.has_room_for(&entry(count, length)) {
                batch.push(entry(count, length));
                count += 1;
            }
            assert_eq!(count, expected);

            let sealed = batch.seal().unwrap();
            assert!(sealed.entries.len() <= JSON_BYTES_MAX);
            assert_eq!(sealed.entries.matches(',').count(), count - 1);
            assert_eq!(sealed.place.cursor, (count - 1).to_string());
        };

        check(10, BATCH_ENTRIES_MAX);
        check(JSON_BYTES_MAX / 2 - 2, 2);
        check(JSON_BYTES_MAX - 2, 1);
        assert!(Batch::default().seal().is_none());
    }
}
