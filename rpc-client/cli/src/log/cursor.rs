//! The place of a reader in a log, and what it has lost.

use rpc_client::Error;
use rpc_core::api::log::Extent;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Page;

/// The place of a reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The log, once it is known.
    pub(super) log: Option<String>,
    /// The number that was read last.
    pub(super) after: u64,
}

impl Cursor {
    /// Says which entries were deleted before they could be read, if any were.
    pub(super) fn lost(&self, page: &Page) -> Option<String> {
        let first = page.entries.first().map(|entry| seq(entry));
        let (from, to) = (self.after.checked_add(1)?, page.oldest.checked_sub(1)?);

        // The oldest may have been deleted just after they were read for this page.
        let is_lost = from <= to && first.is_none_or(|first| first > to);
        is_lost.then(|| match from == to {
            true => format!("entry {from} was deleted before it was read"),
            false => format!("entries {from} to {to} were deleted before they were read"),
        })
    }

    /// Goes on behind a page.
    pub(super) fn move_to(&mut self, page: &Page) {
        self.log = Some(page.log.clone());
        self.after = page.next;
    }

    /// Finds a place in the log that there is, where the server says that this one is in none; returns what that means.
    pub(super) fn find_place(&mut self, error: &Error) -> Option<String> {
        let Extent { log, oldest, last } = Extent::of(error.status()?)?;
        let after = self.after;

        if self.log.as_ref().is_some_and(|known| *known != log) {
            *self = Self {
                log: Some(log),
                after: oldest.saturating_sub(1),
            };
            return Some(format!(
                "the server has another log now; entries of the old log after entry {after} are lost; continuing with \
                 the first entry of the new log, {oldest}"
            ));
        }

        // An answer that leads nowhere is the error that it says it is.
        let from = last.checked_add(1).filter(|from| *from <= after)?;
        self.after = last;
        Some(format!(
            "the log ends with entry {last}: entries {from} to {after} are lost; continuing after entry {last}"
        ))
    }
}

/// The number of an entry; 0 if it has none.
pub(super) fn seq(entry: &RawValue) -> u64 {
    #[derive(Deserialize)]
    struct Numbered {
        seq: u64,
    }

    serde_json::from_str(entry.get()).map_or(0, |Numbered { seq }| seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(oldest: u64, entries: &[u64]) -> Page {
        let entry = |seq| RawValue::from_string(format!("{{\"seq\":{seq}}}")).unwrap();
        Page {
            log: "a".into(),
            entries: entries.iter().map(entry).collect(),
            next: 100,
            oldest,
            last: 100,
            more: false,
        }
    }

    #[test]
    fn what_was_deleted_before_it_was_read_is_lost_and_what_was_read_just_before_is_not() {
        let check = |after, page: Page, expected: Option<&str>| {
            let cursor = Cursor { log: None, after };
            assert_eq!(cursor.lost(&page).as_deref(), expected);
        };

        check(4, page(5, &[5]), None);
        check(4, page(1, &[]), None);
        check(4, page(0, &[]), None);
        check(u64::MAX, page(u64::MAX, &[]), None);
        check(
            4,
            page(6, &[6]),
            Some("entry 5 was deleted before it was read"),
        );
        check(
            4,
            page(9, &[12]),
            Some("entries 5 to 8 were deleted before they were read"),
        );
        check(
            4,
            page(9, &[]),
            Some("entries 5 to 8 were deleted before they were read"),
        );
        check(4, page(9, &[5, 6, 7]), None);
    }
}
