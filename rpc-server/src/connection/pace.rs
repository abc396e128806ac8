//! The pace of a connection: its share of the thread's time, and when replies are written.

use std::ops::RangeInclusive;

use tokio::time::Instant;

use super::crowd::Crowd;
use super::stream::StepTime;

/// Frames that are executed before their replies are written: a quarter of those that were read, or half of
/// them on a runtime of one thread, within these bounds. So the peer works on the first replies while this
/// side works on the next requests, instead of each waiting for the other's whole window.
const FRAMES_PER_WRITE: RangeInclusive<usize> = 16..=128;

/// Frames after which a connection looks whether its share of the thread's time is used up.
const FRAMES_PER_LOOK: usize = 16;

/// A frame that takes as long as many others.
const LONG_FRAME: usize = 16 * 1024;

/// Replies that are made before they are written, and time is looked at, however few frames they belong to.
const BYTES_PER_WRITE: usize = 64 * 1024;

/// Ends of calls after which a connection looks at the time; as much as one of them counts each 4 KiB. The first ones may
/// take long: it looks after one, two, four and eight of them as well.
const STEPS_PER_LOOK: u16 = 16;

/// The time of a connection's turn.
pub(super) struct Clock {
    /// The time as of the last look: once for a chunk of lines, not once for each.
    now: Instant,
    /// When this turn has used up its share of the thread's time; none before it has executed anything.
    share_ends: Option<Instant>,
    /// Steps of this turn.
    steps: u16,
    /// The number of steps at which the time is looked at.
    look_at: u16,
    /// How many writes one read's replies are divided into.
    writes_per_read: u32,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            now,
            share_ends: None,
            steps: 0,
            look_at: 0,
            writes_per_read: if is_on_one_thread() { 2 } else { 4 },
        }
    }

    #[inline]
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Looks at the time.
    #[inline]
    pub(super) fn look(&mut self) -> Instant {
        self.now = Instant::now();
        self.now
    }

    /// A new turn has its whole share.
    pub(super) fn begin_turn(&mut self) {
        self.share_ends = None;
        self.steps = 0;
        self.look_at = 1;
    }

    /// The share of this turn begins to be used, unless it has begun.
    #[inline]
    pub(super) fn begin_share(&mut self, crowd: &Crowd) {
        self.share_ends
            .get_or_insert_with(|| self.now + crowd.share());
    }

    /// Counts the end of a call, which has led to `bytes` of output, and looks at the time now and then.
    #[inline]
    pub(super) fn count_step(&mut self, bytes: usize, crowd: &Crowd) {
        let of_bytes = u16::try_from(bytes / 4_096).unwrap_or(u16::MAX);
        self.steps = self.steps.saturating_add(1).saturating_add(of_bytes);
        if self.steps < self.look_at {
            return;
        }

        self.look_at = self.steps.saturating_add(self.steps.min(STEPS_PER_LOOK));
        self.look();
        self.begin_share(crowd);
    }

    /// Takes the time of a stream's items, which has looked at it, from this turn's share.
    #[inline]
    pub(super) fn spend(&mut self, time: StepTime, crowd: &Crowd) {
        self.share_ends
            .get_or_insert_with(|| time.begun + crowd.share());
        self.now = time.now;
    }

    /// Whether the other tasks of the thread come first now.
    #[inline]
    pub(super) fn is_share_used_up(&self) -> bool {
        self.share_ends.is_some_and(|end| self.now >= end)
    }

    /// The pace of lines of which `bytes` were read, with so much output before them.
    #[inline]
    pub(super) fn pace(&self, bytes: usize, output: usize) -> Pace {
        Pace {
            bytes,
            writes_per_read: self.writes_per_read as usize,
            frames: 0,
            output_at_write: output,
            frames_per_write: None,
        }
    }
}

fn is_on_one_thread() -> bool {
    tokio::runtime::Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() == 1)
}

/// How far the lines of one read have come, which says when the next look at the time and the next write are due.
pub(super) struct Pace {
    /// What the read brought, with the part of a line before it.
    bytes: usize,
    writes_per_read: usize,
    /// Frames that were executed.
    frames: usize,
    /// How much output there was after the last write.
    output_at_write: usize,
    /// None before the first frame, whose length decides.
    frames_per_write: Option<usize>,
}

/// What is due after a frame.
pub(super) struct Due {
    pub(super) look: bool,
    pub(super) write: bool,
}

impl Pace {
    /// Counts a frame of this `length`, after which there is so much output.
    #[inline]
    pub(super) fn count(&mut self, length: usize, output: usize) -> Due {
        self.frames += 1;
        let is_much = output >= self.output_at_write + BYTES_PER_WRITE;

        // As many as they would be if all were as long as the first one: counting them costs more.
        let frames_per_write = *self.frames_per_write.get_or_insert_with(|| {
            let (least, most) = FRAMES_PER_WRITE.into_inner();
            (self.bytes / length / self.writes_per_read).clamp(least, most)
        });

        Due {
            look: is_much || length >= LONG_FRAME || self.frames.is_multiple_of(FRAMES_PER_LOOK),
            write: is_much || self.frames.is_multiple_of(frames_per_write),
        }
    }

    /// Notes that the output was written, and how much is left.
    #[inline]
    pub(super) fn wrote(&mut self, output: usize) {
        self.output_at_write = output;
    }
}

#[cfg(test)]
mod tests;
