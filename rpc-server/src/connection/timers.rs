//! The timers of a connection: a deadline for each, and one sleep for the earliest of them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// What must happen in time. Of several timers that are due, the first one in this order is handled first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// The peer takes some of the output.
    Write,
    /// The line under way ends.
    Line,
    /// A flood of cheap lines is read on.
    Throttle,
    /// The first good line comes.
    FirstFrame,
    /// A connection without work gets some.
    Idle,
    /// The phase on the way out is over.
    Phase,
    /// The connection goes a step further on its way out, whatever goes on in it, but not before its first good line.
    Retire,
    /// The peer shows who it is.
    Authentication,
    /// A peer that is not read from is looked for: it may be gone.
    Probe,
    /// Memory for a long line is looked for again.
    Memory,
}

impl Timer {
    const ALL: [Self; 10] = [
        Self::Write,
        Self::Line,
        Self::Throttle,
        Self::FirstFrame,
        Self::Idle,
        Self::Phase,
        Self::Retire,
        Self::Authentication,
        Self::Probe,
        Self::Memory,
    ];

    fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Whether it ends a connection whose peer has not done something in time.
    fn blames_the_peer(self) -> bool {
        match self {
            Self::Write | Self::Line | Self::FirstFrame | Self::Authentication => true,
            Self::Throttle
            | Self::Idle
            | Self::Phase
            | Self::Retire
            | Self::Probe
            | Self::Memory => false,
        }
    }
}

/// How late a timer may be handled before that is the fault of this side: the process was stopped, or its thread was
/// busy. As long the peer then gets in addition, in which what it has sent in time is seen.
const LATE: Duration = Duration::from_millis(100);

/// The deadline of each timer. It has no clock: the time is an argument.
#[derive(Debug, Default)]
pub(super) struct TimerTable {
    /// None before the first one is set: a connection at rest has none as a rule.
    deadlines: Option<Box<Deadlines>>,
    /// A bit for each timer whose deadline was put off because this side was late.
    put_off: u16,
}

type Deadlines = [Option<Instant>; Timer::ALL.len()];

/// What has become of the timers at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// None is due.
    None,
    /// This one is due, and is not set any more.
    Due(Timer),
    /// One is due that this side has come to too late to blame the peer: it was put off, once.
    PutOff,
}

impl TimerTable {
    /// Sets a timer, replacing the deadline that it had.
    pub(super) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines.get_or_insert_default()[timer as usize] = Some(deadline);
        self.put_off &= !timer.bit();
    }

    /// Sets a timer that is not set.
    pub(super) fn set_once(&mut self, timer: Timer, deadline: impl FnOnce() -> Instant) {
        let deadlines = self.deadlines.get_or_insert_default();
        deadlines[timer as usize].get_or_insert_with(deadline);
    }

    #[inline]
    pub(super) fn stop(&mut self, timer: Timer) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines[timer as usize] = None;
            self.put_off &= !timer.bit();
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.deadline(timer).is_some()
    }

    fn deadline(&self, timer: Timer) -> Option<Instant> {
        self.deadlines.as_ref()?[timer as usize]
    }

    /// The earliest deadline.
    #[inline]
    fn next(&self) -> Option<Instant> {
        let deadlines = self.deadlines.as_ref()?;
        deadlines.iter().flatten().min().copied()
    }

    /// Gives the table back where no timer is set.
    #[inline]
    pub(super) fn release(&mut self) {
        if self.deadlines.is_some() && self.next().is_none() {
            self.deadlines = None;
        }
    }

    /// Stops the first timer that is due, or puts it off.
    pub(super) fn expire(&mut self, now: Instant) -> Expiry {
        for timer in Timer::ALL {
            let Some(deadline) = self.deadline(timer).filter(|at| *at <= now) else {
                continue;
            };

            let is_late = now.saturating_duration_since(deadline) > LATE;
            if is_late && timer.blames_the_peer() && self.put_off & timer.bit() == 0 {
                self.set(timer, now + LATE);
                self.put_off |= timer.bit();
                return Expiry::PutOff;
            }

            self.stop(timer);
            return Expiry::Due(timer);
        }

        Expiry::None
    }
}

/// The sleep of a connection. It allocates while a timer is set.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when the earliest timer may be due; an idle connection without timers has no sleep.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, timers: &TimerTable) -> Poll<()> {
        let Some(next) = timers.next() else {
            self.0 = None;
            return Poll::Pending;
        };

        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));

        // A sleep that ends too early is set anew then: cheaper than moving it with every line.
        if next < sleep.deadline() {
            sleep.as_mut().reset(next);
        }

        ready!(sleep.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_timer_has_the_place_of_its_number() {
        for (place, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, place);
        }
    }

    #[test]
    fn timers_that_are_due_expire_once_and_in_their_order() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut timers = TimerTable::default();
        assert_eq!((timers.next(), timers.expire(start)), (None, Expiry::None));

        timers.set(Timer::Retire, after(1));
        timers.set(Timer::Line, after(2));
        timers.set_once(Timer::Line, || after(9));
        timers.set(Timer::Idle, after(3));
        assert_eq!(timers.next(), Some(after(1)));
        assert_eq!(timers.expire(start), Expiry::None);

        assert_eq!(timers.expire(after(2)), Expiry::Due(Timer::Line));
        assert_eq!(timers.expire(after(2)), Expiry::Due(Timer::Retire));
        assert_eq!(timers.expire(after(2)), Expiry::None);

        timers.release();
        assert!(timers.is_set(Timer::Idle));
        timers.stop(Timer::Idle);
        assert_eq!(timers.next(), None);
        timers.release();
        assert!(timers.deadlines.is_none(), "nothing is held for no timer");
    }

    #[test]
    fn a_peer_is_not_blamed_for_a_pause_of_this_side() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut timers = TimerTable::default();

        timers.set(Timer::Line, after(1_000));
        timers.set(Timer::Retire, after(1_000));
        assert_eq!(timers.expire(after(5_000)), Expiry::PutOff);
        assert_eq!(timers.expire(after(5_000)), Expiry::Due(Timer::Retire));
        assert_eq!(timers.next(), Some(after(5_100)));

        // What had come in time was seen in between, or is not there. It is put off once.
        assert_eq!(timers.expire(after(9_000)), Expiry::Due(Timer::Line));

        // A deadline of its own is put off again.
        timers.set(Timer::Line, after(10_000));
        assert_eq!(timers.expire(after(12_000)), Expiry::PutOff);
        timers.stop(Timer::Line);
        assert_eq!(timers.next(), None);
    }
}
