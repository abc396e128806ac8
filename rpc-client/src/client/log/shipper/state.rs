//! The state of a queue: chunks of entries, places, and counters. It has no lock and wakes nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use rpc_core::api::log::Level;
use tokio::time::Instant;

use super::config::{ENTRY_BYTES_MAX, ShipperConfig};
use super::stats::{Dropped, Shipped, ShipperStats};
use crate::time::after;

/// Entries, or a batch of them: their JSON with commas between them.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) text: Vec<u8>,
    pub(super) entries: usize,
    /// The place of its first entry among all that were taken into the queue, ever.
    pub(super) first: u64,
    /// Entries for which it is counted until it has ended as a whole. A batch may lose some that the log refuses.
    pub(super) places: usize,
    /// Bytes for which it is counted until then.
    pub(super) bytes: usize,
    /// Dropped entries of which some of its entries tell.
    told: u64,
    /// The number of the entries that do.
    notes: u64,
    since: Option<Instant>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Sent,
    Refused,
}

/// What a caller waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Awaited {
    /// The end of the entries before a place.
    Before(u64),
    /// The end of the worker.
    Close,
}

#[derive(Default)]
pub(super) struct State {
    /// Chunks that are full, before the open one.
    full: VecDeque<Chunk>,
    open: Chunk,
    /// The first place and the number of places of each batch under way.
    under_way: Vec<(u64, usize)>,
    /// Entries that wait or are under way, and their bytes.
    entries: usize,
    bytes: usize,
    taken: u64,
    sent: u64,
    dropped: u64,
    refused: u64,
    pub(super) resent: u64,
    /// Dropped entries of which the log was told, or will be by an entry in the queue, or is not to be.
    told: u64,
    /// Whether the last batch was refused: the log is not told of dropped entries then, since that would be refused, too.
    is_refused: bool,
    /// Entries before this place do not wait for others.
    flush_before: u64,
    /// When the worker ends, since the shipper was closed.
    pub(super) end: Option<Instant>,
    is_over: bool,
    pub(super) last_error: Option<Arc<str>>,
}

impl State {
    /// Whether an entry may be taken.
    pub(super) fn room_for(
        &self,
        level: Level,
        bytes: usize,
        config: &ShipperConfig,
    ) -> Result<(), Dropped> {
        if self.end.is_some() {
            return Err(Dropped::Closed);
        }
        if bytes > ENTRY_BYTES_MAX {
            return Err(Dropped::TooLong { bytes });
        }

        if self.has_room(level, bytes, config) {
            Ok(())
        } else {
            Err(Dropped::Full)
        }
    }

    /// Whether there is room for an entry; the last eighth is for errors.
    pub(super) fn has_room(&self, level: Level, bytes: usize, config: &ShipperConfig) -> bool {
        let without_reserve = |max: usize| match level {
            Level::Error | Level::Fatal => max,
            _ => max - max / 8,
        };
        self.entries < without_reserve(config.queue_entries_max)
            && self.bytes + bytes <= without_reserve(config.queue_bytes_max)
    }

    /// Takes an entry; returns whether the worker has something new to look at.
    pub(super) fn take(&mut self, line: &[u8], config: &ShipperConfig) -> bool {
        let has_closed =
            self.open.entries > 0 && self.open.text.len() + 1 + line.len() > config.batch_bytes_max;
        if has_closed {
            self.close_open();
        }

        let open = &mut self.open;
        let is_first = open.entries == 0;
        if is_first {
            open.first = self.taken;
            open.since = Some(Instant::now());
        } else {
            open.text.push(b',');
        }
        open.text.extend_from_slice(line);
        open.entries += 1;

        self.taken += 1;
        self.entries += 1;
        self.bytes += line.len();

        let is_full = self.open.entries >= config.batch_entries_max;
        if is_full {
            self.close_open();
        }
        has_closed || is_first || is_full
    }

    fn close_open(&mut self) {
        let mut chunk = std::mem::take(&mut self.open);
        chunk.places = chunk.entries;
        // The commas between the entries are not counted.
        chunk.bytes = chunk.text.len() - (chunk.entries - 1);
        self.open.text.reserve(chunk.text.len().min(64 << 10));
        self.full.push_back(chunk);
    }

    /// Dropped entries of which the log is to be told now.
    pub(super) fn untold(&self) -> u64 {
        if self.is_refused {
            0
        } else {
            self.dropped - self.told
        }
    }

    /// Takes the entry that tells of this number of dropped ones.
    pub(super) fn take_note(&mut self, line: &[u8], untold: u64, config: &ShipperConfig) {
        self.take(line, config);
        self.told += untold;

        // A chunk that this entry has filled is the last of the full ones.
        let chunk = match self.open.entries {
            0 => self.full.back_mut(),
            _ => Some(&mut self.open),
        };
        if let Some(chunk) = chunk {
            chunk.told += untold;
            chunk.notes += 1;
        }
    }

    /// The next batch: a full chunk, or the open one if its entries have waited long enough.
    pub(super) fn next_batch(&mut self, now: Instant, config: &ShipperConfig) -> Option<Chunk> {
        if self.full.is_empty() {
            let is_due = self.due(config).is_some_and(|due| now >= due);
            let is_wanted = self.flush_before > self.open.first || self.end.is_some();
            if self.open.entries == 0 || !(is_due || is_wanted) {
                return None;
            }
            self.close_open();
        }

        let batch = self.full.pop_front()?;
        self.under_way.push((batch.first, batch.places));
        Some(batch)
    }

    /// When the open chunk is sent even if it is not full.
    pub(super) fn due(&self, config: &ShipperConfig) -> Option<Instant> {
        Some(after(self.open.since?, config.batch_age_max()))
    }

    pub(super) fn drop_one(&mut self) {
        self.dropped += 1;
    }

    /// An entry was dropped of which the log is not told: the last entry about dropped ones would never be the last while
    /// others still push.
    pub(super) fn drop_untold(&mut self) {
        self.dropped += 1;
        self.told += 1;
    }

    /// An entry of a batch was refused; the batch is sent again without it.
    pub(super) fn refuse_one(&mut self) {
        self.dropped += 1;
        self.refused += 1;
    }

    /// A batch has ended.
    pub(super) fn settle(&mut self, batch: &Chunk, fate: Fate) {
        self.entries -= batch.places;
        self.bytes -= batch.bytes;
        let place = (batch.first, batch.places);
        self.under_way.retain(|under_way| *under_way != place);

        let entries = batch.entries as u64;
        self.is_refused = fate == Fate::Refused;
        match fate {
            Fate::Sent => self.sent += entries,
            Fate::Refused => {
                // Entries about dropped ones are not counted; the log is told of those again.
                let lost = entries.saturating_sub(batch.notes);
                self.dropped += lost;
                self.refused += lost;
                self.told -= batch.told;
            }
        }
    }

    /// Has everything that waits sent without waiting for more; returns the place behind it.
    pub(super) fn begin_flush(&mut self) -> u64 {
        self.flush_before = self.taken;
        self.taken
    }

    /// Whether nothing is left to send.
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(super) fn has_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    pub(super) fn set_over(&mut self) {
        self.is_over = true;
        self.end.get_or_insert_with(Instant::now);
    }

    /// What became of the entries, and whether that is what is waited for.
    pub(super) fn look(&self, awaited: Awaited) -> (Shipped, bool) {
        let unsent = match awaited {
            Awaited::Before(place) => self.unsent_before(place),
            Awaited::Close => self.entries as u64,
        };
        let shipped = Shipped {
            sent: self.sent,
            dropped: self.dropped,
            unsent,
        };

        let is_done = match awaited {
            Awaited::Before(_) => unsent == 0,
            Awaited::Close => false,
        };
        (shipped, is_done || self.is_over)
    }

    fn unsent_before(&self, place: u64) -> u64 {
        let open = (self.open.first, self.open.entries);
        let full = self.full.iter().map(|chunk| (chunk.first, chunk.entries));
        let pieces = self.under_way.iter().copied().chain(full).chain([open]);
        let before = pieces.map(|(first, entries)| {
            let end = (first + entries as u64).min(place);
            end.saturating_sub(first)
        });
        before.sum()
    }

    pub(super) fn stats(&self) -> ShipperStats {
        ShipperStats {
            sent: self.sent,
            dropped: self.dropped,
            refused: self.refused,
            queued: self.entries as u64,
            queued_bytes: self.bytes,
            resent: self.resent,
            last_error: self.last_error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ShipperConfig {
        ShipperConfig {
            queue_bytes_max: 80,
            queue_entries_max: 16,
            batch_entries_max: 4,
            batch_bytes_max: 20,
            ..ShipperConfig::default()
        }
    }

    #[test]
    fn the_last_eighth_of_the_bytes_and_of_the_entries_is_for_errors() {
        let check = |bytes: usize, info: usize, error: usize| {
            let config = config();
            let mut state = State::default();
            let mut take = |level| {
                let mut taken = 0;
                while state.room_for(level, bytes, &config) == Ok(()) {
                    state.take(&vec![b'1'; bytes], &config);
                    taken += 1;
                }
                taken
            };
            assert_eq!((take(Level::Warn), take(Level::Error)), (info, error));
        };

        check(10, 7, 1);
        check(1, 14, 2);
        check(71, 0, 1);
        check(81, 0, 0);
    }

    #[test]
    fn a_batch_ends_by_its_entries_or_bytes_and_a_long_entry_is_one_by_itself() {
        let config = config();
        let mut state = State::default();
        for text in [
            "1",
            "2",
            "3",
            "4",
            "5",
            "123456789012345",
            "1234567890123456789012",
            "6",
        ] {
            state.take(text.as_bytes(), &config);
        }
        state.begin_flush();

        let batches = std::iter::from_fn(|| state.next_batch(Instant::now(), &config));
        let batches: Vec<(String, u64)> = batches
            .map(|batch| (String::from_utf8(batch.text).unwrap(), batch.first))
            .collect();
        let expected = [
            ("1,2,3,4", 0),
            ("5,123456789012345", 4),
            ("1234567890123456789012", 6),
            ("6", 7),
        ];
        assert_eq!(batches, expected.map(|(text, first)| (text.into(), first)));
    }

    #[test]
    fn a_refused_note_is_told_again_once_a_batch_was_taken_and_counts_for_no_entry() {
        let config = config();
        let mut state = State::default();
        let send = |state: &mut State, fate| {
            state.begin_flush();
            let batch = state.next_batch(Instant::now(), &config).unwrap();
            state.settle(&batch, fate);
        };

        state.drop_one();
        state.take_note(b"1", 1, &config);
        assert_eq!(state.untold(), 0);
        send(&mut state, Fate::Refused);
        assert_eq!((state.untold(), state.stats().dropped), (0, 1));

        state.take(b"2", &config);
        send(&mut state, Fate::Sent);
        assert_eq!((state.untold(), state.stats().dropped), (1, 1));
        assert!(state.is_empty());
    }

    #[test]
    fn unsent_entries_of_a_flush_are_those_before_its_place_whatever_ends_first() {
        let config = config();
        let mut state = State::default();
        for _ in 0..8 {
            state.take(b"1", &config);
        }
        let place = state.begin_flush();
        state.take(b"1", &config);

        let first = state.next_batch(Instant::now(), &config).unwrap();
        let second = state.next_batch(Instant::now(), &config).unwrap();
        let unsent = |state: &State| state.look(Awaited::Before(place)).0.unsent;
        assert_eq!(unsent(&state), 8);
        state.settle(&second, Fate::Sent);
        assert_eq!(unsent(&state), 4);
        state.settle(&first, Fate::Sent);
        assert_eq!(
            (unsent(&state), state.look(Awaited::Before(place)).1),
            (0, true)
        );
        assert_eq!(
            state.look(Awaited::Close),
            (
                Shipped {
                    sent: 8,
                    dropped: 0,
                    unsent: 1
                },
                false
            )
        );
    }
}
