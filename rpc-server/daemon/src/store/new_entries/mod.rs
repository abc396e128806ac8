//! Entries on their way to the queue, as the lines that they will be.

mod batch;
mod body;
mod parts;
#[cfg(test)]
mod tests;

use std::fmt;

use rpc_core::api::log::{Append, AppendRef, Level, fast};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::Serialize;

use super::emits::Amount;
use super::index::{Brief, Index};
use super::lines::{LINE_END, WRITE_END};
use super::repeats::KeyOf;

pub(crate) use batch::NewBatch;
use body::{Source, push, push_body};
use parts::Parts;

/// The member with the time of receipt, up to its value.
const RX: &[u8] = b",\"rx\":";

/// Bytes of a line beside its body and its numbers, but for the sequence number: `{"ts":,}` and the newline.
const FRAME_BYTES: usize = 9;

/// Entries that are written together, in this order.
///
/// An entry is turned into the body of its line while it is read: its texts are copied from where they came to where the
/// writer takes them from. What the log itself says of the entry, its number and times, is put around the body by
/// [`write`](Self::write), under the lock of the queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewEntries {
    parts: Parts,
    /// The time of receipt, in milliseconds since 1970.
    received: u64,
}

/// The place of the first line of some entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum FirstLine {
    /// It is the first one that is written after a sync.
    BeginsWrite,
    /// It is behind others, or nothing is synced.
    #[default]
    GoesOn,
}

#[derive(Debug, Clone, Copy)]
struct NewEntry {
    body_bytes: usize,
    /// The length of its line, once the time of receipt is known: with the newline, without its number and without what
    /// the first line has besides.
    line_bytes: usize,
    /// Its own time.
    ts: Option<u64>,
    level: Level,
    /// The place of the service.
    service: usize,
}

impl NewEntries {
    /// No entries, with room where the thread has some.
    fn empty() -> Self {
        Self {
            parts: Parts::take(),
            received: 0,
        }
    }

    /// No entries, with room for those of params of this length.
    fn with_room(params_bytes: usize) -> Self {
        let mut new = Self::empty();
        new.parts.bodies.reserve(params_bytes);
        new
    }

    /// Reads the params of `append` in their usual form, which costs less than by serde.
    pub(crate) fn read_one(params: &str) -> Option<Self> {
        let entry = fast::entry(params)?;
        let mut new = Self::empty();
        new.push(&entry, Source::Json);
        Some(new)
    }

    /// Reads the params of `emit` in their usual form.
    pub(crate) fn read(params: &str) -> Option<Self> {
        let mut new = Self::with_room(params.len());
        fast::emit(params, |entry| new.push(entry, Source::Json))?;
        Some(new)
    }

    fn push(&mut self, entry: &AppendRef<'_>, source: Source) {
        let parts = &mut self.parts;
        let before = parts.bodies.len();
        push_body(&mut parts.bodies, entry, source);

        let service = parts.place_of(&entry.service);
        parts.entries.push(NewEntry {
            body_bytes: parts.bodies.len() - before,
            line_bytes: 0,
            ts: entry.ts,
            level: entry.level,
            service,
        });
    }

    /// Has the first line tell of the key that its entry came with.
    pub(super) fn with_key(self, key: &KeyOf<'_>) -> Self {
        self.with_origin("key", key)
    }

    fn with_origin(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Self {
        let origin = &mut self.parts.origin;
        origin.extend_from_slice(b",\"");
        origin.extend_from_slice(name.as_bytes());
        origin.extend_from_slice(b"\":");
        push(origin, value);
        self
    }

    /// Notes when they came, by which the lengths of their lines are known.
    pub(super) fn received_at(mut self, ms: u64) -> Self {
        self.received = ms;
        self.parts.receipt.clear();
        self.parts.receipt.extend_from_slice(RX);
        push(&mut self.parts.receipt, &ms);
        self.add_up();
        self
    }

    /// Adds up the lengths of the lines, and what each service has.
    fn add_up(&mut self) {
        let parts = &mut self.parts;
        for of in &mut parts.services {
            (of.entries, of.bytes) = (0, 0);
        }

        let received = digits(self.received);
        let mut origin = parts.origin.len();
        for entry in &mut parts.entries {
            let times = match entry.ts {
                Some(ts) => digits(ts) + RX.len() + received,
                None => received,
            };
            entry.line_bytes = FRAME_BYTES + times + entry.body_bytes;

            let of = &mut parts.services[entry.service];
            of.entries += 1;
            of.bytes += (entry.line_bytes + std::mem::take(&mut origin)) as u64;
        }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.parts.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.entries.is_empty()
    }

    /// The length of each line, without its number.
    pub(super) fn line_bytes(&self) -> impl Iterator<Item = usize> {
        let origins = std::iter::once(self.parts.origin.len()).chain(std::iter::repeat(0));
        let entries = self.parts.entries.iter().zip(origins);
        entries.map(|(entry, origin)| entry.line_bytes + origin)
    }

    /// The service of each entry, with the length of its line.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        let parts = &self.parts;
        let services = parts.entries.iter().map(|entry| entry.service);
        let names = services.map(|place| parts.name_of(&parts.services[place]));
        names.zip(self.line_bytes())
    }

    /// What each service has; one may come more than once.
    pub(super) fn amounts(&self) -> impl Iterator<Item = Amount<'_>> {
        self.parts.services.iter().map(|of| Amount {
            service: self.parts.name_of(of),
            entries: of.entries,
            bytes: of.bytes,
        })
    }

    /// Takes out the entries that are not to be kept; `is_kept` has an element for each.
    pub(super) fn retain(&mut self, is_kept: &[bool]) {
        let Parts {
            bodies: kept_bodies,
            entries,
            ..
        } = &mut self.parts;
        let bodies = std::mem::take(kept_bodies);
        let (mut rest, mut kept) = (bodies.as_slice(), is_kept.iter());

        entries.retain(|entry| {
            let (body, behind) = rest.split_at(entry.body_bytes);
            rest = behind;
            let is_kept = kept.next().is_some_and(|is_kept| *is_kept);
            if is_kept {
                kept_bodies.extend_from_slice(body);
            }
            is_kept
        });
        self.add_up();
    }

    /// Appends their lines, with the numbers from `first` on, and adds them to the index of all `lines`.
    pub(super) fn write(
        &self,
        first: u64,
        lines: &mut Vec<u8>,
        index: &mut Index,
        mut first_line: FirstLine,
    ) {
        let parts = &self.parts;
        let (mut bodies, mut origin) = (parts.bodies.as_slice(), parts.origin.as_slice());

        for (seq, entry) in (first..).zip(&parts.entries) {
            let (body, behind) = bodies.split_at(entry.body_bytes);
            bodies = behind;
            let ts = entry.ts.unwrap_or(self.received);

            lines.extend_from_slice(b"{\"seq\":");
            push(lines, &seq);
            lines.extend_from_slice(b",\"ts\":");
            push(lines, &ts);
            lines.push(b',');
            lines.extend_from_slice(body);
            if entry.ts.is_some() {
                // The clock of the caller may be wrong.
                lines.extend_from_slice(&parts.receipt);
            }
            lines.extend_from_slice(std::mem::take(&mut origin));
            lines.extend_from_slice(match std::mem::take(&mut first_line) {
                FirstLine::BeginsWrite => WRITE_END,
                FirstLine::GoesOn => LINE_END,
            });

            let brief = Brief {
                seq,
                ts,
                level: entry.level,
                service: parts.name_of(&parts.services[entry.service]).into(),
            };
            index.add(&brief, lines.len() as u64);
        }
    }
}

impl Drop for NewEntries {
    fn drop(&mut self) {
        std::mem::take(&mut self.parts).give_back();
    }
}

impl From<&Append> for NewEntries {
    fn from(entry: &Append) -> Self {
        Self::from(std::slice::from_ref(entry))
    }
}

impl From<&[Append]> for NewEntries {
    fn from(entries: &[Append]) -> Self {
        let mut new = Self::empty();
        for entry in entries {
            new.push(&AppendRef::from(entry), Source::Memory);
        }
        new
    }
}

impl<const N: usize> From<&[Append; N]> for NewEntries {
    fn from(entries: &[Append; N]) -> Self {
        Self::from(entries.as_slice())
    }
}

impl From<&Vec<Append>> for NewEntries {
    fn from(entries: &Vec<Append>) -> Self {
        Self::from(entries.as_slice())
    }
}

impl<'de> Deserialize<'de> for NewEntries {
    /// Reads an array of entries.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut new = Self::empty();
        deserializer
            .deserialize_seq(Each(|entry: &AppendRef<'de>| new.push(entry, Source::Json)))?;
        Ok(new)
    }
}

/// Does something with each entry of an array.
struct Each<F>(F);

impl<'de, F: FnMut(&AppendRef<'de>)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element()? {
            (self.0)(&entry);
        }
        Ok(())
    }
}

/// Number of decimal digits.
fn digits(number: u64) -> usize {
    number
        .checked_ilog10()
        .map_or(1, |power| power as usize + 1)
}
