//! Indexes of segments: which stretches of a file may have what a reader wants.
//!
//! An index has a frame for each MiB of a segment, with the times, levels and services of its entries. A reader that asks for
//! some of them alone does not read the frames that have none. The index of the open segment is in memory; that of a
//! closed one is a file next to it, `N.idx`, and is made again where it is missing or damaged.

mod brief;
mod builder;
mod file;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use rpc_core::api::log::Level;
use serde::{Deserialize, Serialize};

use super::Filter;
use super::lines::Stretch;

pub(super) use brief::Brief;
pub(super) use builder::build_missing;
pub(super) use file::{read, remove, write};

/// Bytes of lines at which a frame is full.
pub(super) const FRAME_BYTES: u64 = 1024 * 1024;

/// Number of services of a frame that are named. One with more may have any.
const SERVICES_MAX: usize = 32;

/// The frames of a segment, in their order and without a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    frames: Vec<Frame>,
}

/// Lines that follow on one another, and what their entries have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frame {
    /// The number of the first entry.
    seq: u64,
    /// The number of the last entry.
    last: u64,
    /// Where the first line begins.
    offset: u64,
    /// Where the last line ends.
    end: u64,
    /// The earliest time of an entry.
    from: u64,
    /// The latest time of an entry.
    to: u64,
    /// The gravest level of an entry.
    level: Level,
    /// The services of the entries; `None` if they are too many.
    services: Option<Vec<String>>,
}

impl Frame {
    fn new(brief: &Brief<'_>, offset: u64, end: u64) -> Self {
        Self {
            seq: brief.seq,
            last: brief.seq,
            offset,
            end,
            from: brief.ts,
            to: brief.ts,
            level: brief.level,
            services: Some(vec![brief.service.to_string()]),
        }
    }

    /// Adds an entry whose line ends at `end`.
    fn add(&mut self, brief: &Brief<'_>, end: u64) {
        self.end = end;
        self.last = brief.seq;
        self.from = self.from.min(brief.ts);
        self.to = self.to.max(brief.ts);
        self.level = self.level.max(brief.level);
        self.add_service(&brief.service);
    }

    fn add_service(&mut self, service: &str) {
        let Some(services) = &mut self.services else {
            return;
        };
        // Mostly the same as before.
        if services.iter().rev().any(|known| known == service) {
            return;
        }

        match services.len() < SERVICES_MAX {
            true => services.push(service.to_owned()),
            false => self.services = None,
        }
    }

    /// Adds the frame behind this one.
    fn merge(&mut self, next: &Self) {
        self.end = next.end;
        self.last = next.last;
        self.from = self.from.min(next.from);
        self.to = self.to.max(next.to);
        self.level = self.level.max(next.level);
        match &next.services {
            Some(services) => {
                for service in services {
                    self.add_service(service);
                }
            }
            None => self.services = None,
        }
    }

    /// Whether one of the entries may pass. What else a filter asks for is not looked at.
    pub(super) fn may_pass(&self, filter: &Filter) -> bool {
        let of_service = |services: &Vec<String>| {
            let wanted = filter.service.as_ref();
            wanted.is_none_or(|service| services.contains(service))
        };

        filter.level.is_none_or(|level| self.level >= level)
            && filter.rest.from.is_none_or(|from| self.to >= from)
            && filter.rest.to.is_none_or(|to| self.from < to)
            && self.services.as_ref().is_none_or(of_service)
    }
}

impl Index {
    /// That of lines that begin at 0, for where they begin at `offset`.
    pub(super) fn moved_to(mut self, offset: u64) -> Self {
        for frame in &mut self.frames {
            frame.offset += offset;
            frame.end += offset;
        }
        self
    }

    /// Adds an entry whose line ends at `end`. The bytes between it and the entry before belong to it.
    pub(super) fn add(&mut self, brief: &Brief<'_>, end: u64) {
        let offset = self.end();
        match self.frames.last_mut() {
            Some(frame) if frame.end - frame.offset < FRAME_BYTES => frame.add(brief, end),
            _ => self.frames.push(Frame::new(brief, offset, end)),
        }
    }

    /// Adds the frames of the lines behind these.
    pub(super) fn append(&mut self, next: Self) {
        let mut next = next.frames.into_iter();
        if let Some(frame) = self.frames.last_mut()
            && frame.end - frame.offset < FRAME_BYTES
            && let Some(first) = next.next()
        {
            frame.merge(&first);
        }
        self.frames.extend(next);
    }

    /// Where the frames end, in their order.
    #[cfg(feature = "zstd")]
    pub(super) fn ends(&self) -> Vec<u64> {
        self.frames.iter().map(|frame| frame.end).collect()
    }

    /// Where the last line ends.
    pub(super) fn end(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.end)
    }

    /// Makes the index one of `len` bytes with numbers up to `last`: of a file that was cut off, or ends with what makes
    /// no sense. `None` if it has no entries.
    pub(super) fn fitted(mut self, len: u64, last: u64) -> Option<Self> {
        self.frames
            .retain(|frame| frame.offset < len && frame.seq <= last);
        let frame = self.frames.last_mut()?;
        frame.end = len;
        frame.last = frame.last.min(last);
        Some(self)
    }

    /// All frames as one; `None` if the index is empty.
    pub(super) fn summary(&self) -> Option<Frame> {
        let (first, others) = self.frames.split_first()?;
        let mut sum = first.clone();
        for frame in others {
            sum.merge(frame);
        }
        Some(sum)
    }

    /// The parts of a segment that may have entries which pass, in their order.
    pub(super) fn stretches(&self, filter: &Filter, whole: &Stretch) -> Vec<Stretch> {
        let mut found: Vec<Stretch> = Vec::new();
        let frames = self.frames.iter();
        for frame in frames.take_while(|frame| frame.offset < whole.end) {
            if !frame.may_pass(filter) {
                continue;
            }

            let (end, last) = (frame.end.min(whole.end), frame.last.min(whole.last));
            match found.last_mut() {
                Some(before) if before.end == frame.offset => {
                    before.end = end;
                    before.last = last;
                }
                _ => found.push(Stretch {
                    offset: frame.offset,
                    seq: frame.seq,
                    end,
                    last,
                }),
            }
        }

        // What the index does not have yet.
        if let Some(frame) = self.frames.last()
            && frame.end < whole.end
        {
            found.push(Stretch {
                offset: frame.end,
                seq: frame.last + 1,
                end: whole.end,
                last: whole.last,
            });
        }
        found
    }

    /// Whether it is one of a file of `len` bytes with these numbers.
    fn is_of(&self, len: u64, first: u64, last: u64) -> bool {
        let mut before = (0, first.saturating_sub(1));
        let is_in_order = self.frames.iter().all(|frame| {
            let (offset, seq) = std::mem::replace(&mut before, (frame.end, frame.last));
            frame.offset == offset
                && frame.end > offset
                && frame.seq > seq
                && frame.last >= frame.seq
        });
        is_in_order && !self.frames.is_empty() && before.0 == len && before.1 <= last
    }
}

/// A name that may have been escaped.
type Name<'a> = Cow<'a, str>;
