//! The thread that asks the filters of waiting readers.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::super::segments::Segments;
use super::super::walk::WalkPosition;
use super::side::Found;
use super::slice::Slice;
use super::{Kind, State, Waiting};

/// Number of filters that are taken from the list under one lock.
const FILTERS_AT_ONCE: usize = 64;

/// How long filters are asked one by one before there is a pause of the same length. Entries that come are
/// matched by name in between, and other threads have at least half of a processor that they share with this one.
const TURN: Duration = Duration::from_millis(2);

/// The thread that wakes readers.
pub(in crate::store) struct Matcher {
    waiting: Arc<Waiting>,
    segments: Arc<Segments>,
    /// What was read last: both kinds of filters are mostly asked about the same entries.
    slice: Option<Arc<Slice>>,
    place: Option<WalkPosition>,
    /// The filters that are being asked one by one.
    pass: Option<Pass>,
}

/// Asking one filter after another about a slice.
struct Pass {
    slice: Arc<Slice>,
    /// The last group that was asked.
    group: u64,
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Asking filters of this kind about the entries behind `after`, up to `last`.
    Match {
        kind: Kind,
        after: u64,
        last: u64,
    },
    /// Going on with the pass.
    GoOn,
    End,
}

impl Matcher {
    pub(in crate::store) fn new(waiting: Arc<Waiting>, segments: Arc<Segments>) -> Self {
        Self {
            waiting,
            segments,
            slice: None,
            place: None,
            pass: None,
        }
    }

    /// Wakes readers until none waits any more.
    pub(in crate::store) fn run(mut self) {
        let mut rest = Duration::ZERO;
        loop {
            let task = self.waiting.next_task(self.pass.as_ref(), rest);
            rest = Duration::ZERO;

            match task {
                Task::End => return,
                Task::GoOn => rest = self.go_on(),
                Task::Match { kind, after, last } => match self.slice(after, last) {
                    Some(slice) if kind == Kind::ByName => self.match_by_name(&slice),
                    Some(slice) => self.pass = Some(Pass { slice, group: 0 }),
                    None => self.wake_all(kind, last),
                },
            }
        }
    }

    /// The next entries; `None` if they cannot be read.
    fn slice(&mut self, after: u64, last: u64) -> Option<Arc<Slice>> {
        if let Some(slice) = self.slice.as_ref().filter(|slice| slice.after == after) {
            return Some(Arc::clone(slice));
        }

        // Each reader that is woken reads for itself, and tells its caller what is wrong.
        let slice = Slice::read(&self.segments, after, last, &mut self.place).ok()?;
        let slice = Arc::new(slice);
        self.slice = Some(Arc::clone(&slice));
        Some(slice)
    }

    fn match_by_name(&self, slice: &Slice) {
        for (filter, found) in slice.filters_by_name() {
            let group = self.waiting.lock().by_name.group_of(&filter);
            if let Some(group) = group {
                self.wake(Kind::ByName, group, found);
            }
        }

        self.done(Kind::ByName, slice.end);
    }

    /// Asks filters one by one until a turn is over or all were asked; returns how long to rest.
    fn go_on(&mut self) -> Duration {
        let Some(mut pass) = self.pass.take() else {
            return Duration::ZERO;
        };

        let begun = Instant::now();
        loop {
            let groups = self
                .waiting
                .lock()
                .by_text
                .groups_after(pass.group, FILTERS_AT_ONCE);
            if groups.is_empty() {
                self.done(Kind::ByText, pass.slice.end);
                return begun.elapsed().min(TURN);
            }

            for (group, filter) in groups {
                if let Some(found) = pass.slice.find(&filter) {
                    self.wake(Kind::ByText, group, found);
                }
                pass.group = group;

                // A filter that looks into long entries may take as long as a turn by itself.
                if begun.elapsed() >= TURN {
                    self.pass = Some(pass);
                    return TURN;
                }
            }
        }
    }

    /// Wakes the readers of a group that wait for one of the entries found.
    fn wake(&self, kind: Kind, group: u64, found: Found) {
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let woken = self.waiting.lock().side(kind).wake(group, found, from);
            woken.wakes.into_iter().for_each(super::side::Wake::wake);
            cursor = woken.cursor;
        }
    }

    /// Wakes all readers of a kind: the entries up to `last` cannot be matched.
    fn wake_all(&mut self, kind: Kind, last: u64) {
        let all = Found { first: 1, last };
        let mut group = 0;

        loop {
            let groups = self
                .waiting
                .lock()
                .side(kind)
                .groups_after(group, FILTERS_AT_ONCE);
            let Some((last, _)) = groups.last() else {
                break;
            };

            group = *last;
            for (group, _) in groups {
                self.wake(kind, group, all);
            }
        }

        self.done(kind, last);
    }

    fn done(&self, kind: Kind, end: u64) {
        let mut state = self.waiting.lock();
        let side = state.side(kind);
        side.done = side.done.max(end);
    }
}

impl Drop for Matcher {
    /// After a panic there may be readers left, who would wait to the end of their time.
    fn drop(&mut self) {
        self.waiting.end();
    }
}

impl Waiting {
    /// Waits for something to do. Asking filters one by one has the time `rest` before it goes on.
    fn next_task(&self, pass: Option<&Pass>, rest: Duration) -> Task {
        let until = Instant::now() + rest;
        let mut state = self.lock();

        loop {
            let left = until.saturating_duration_since(Instant::now());
            if let Some(task) = state.task(pass, left) {
                return task;
            }

            // As in `lock`: a panic elsewhere has left the data whole.
            state = if left.is_zero() {
                let waited = self.changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

impl State {
    /// What there is to do, with a pass under way that still rests for that long.
    fn task(&self, pass: Option<&Pass>, rest: Duration) -> Option<Task> {
        let last = self.last;
        if self.ended {
            return Some(Task::End);
        }

        if !self.by_name.is_empty() && self.by_name.done < last {
            let (kind, after) = (Kind::ByName, self.by_name.done);
            return Some(Task::Match { kind, after, last });
        }

        if !rest.is_zero() {
            return None;
        }

        if pass.is_some() {
            return Some(Task::GoOn);
        }

        let is_behind = !self.by_text.is_empty() && self.by_text.done < last;
        is_behind.then_some(Task::Match {
            kind: Kind::ByText,
            after: self.by_text.done,
            last,
        })
    }
}
