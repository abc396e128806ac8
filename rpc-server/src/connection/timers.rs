//! The timers of a connection: a deadline for each, and one sleep for the earliest of them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

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
    /// The connection goes a step further on its way out, whatever goes on in it.
    Retire,
    /// The peer shows who it is.
    Authentication,
}

impl Timer {
    const ALL: [Self; 8] = [
        Self::Write,
        Self::Line,
        Self::Throttle,
        Self::FirstFrame,
        Self::Idle,
        Self::Phase,
        Self::Retire,
        Self::Authentication,
    ];
}

/// The deadline of each timer. It has no clock: the time is an argument.
#[derive(Debug, Default)]
pub(super) struct TimerTable([Option<Instant>; Timer::ALL.len()]);

impl TimerTable {
    /// Sets a timer, in the place of the deadline that it had.
    pub(super) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.0[timer as usize] = Some(deadline);
    }

    /// Sets a timer that is not set.
    pub(super) fn set_once(&mut self, timer: Timer, deadline: impl FnOnce() -> Instant) {
        self.0[timer as usize].get_or_insert_with(deadline);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
    }

    /// The earliest deadline.
    fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }

    /// Stops the first timer that is due, and returns it.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let is_due = |timer: &Timer| self.0[*timer as usize].is_some_and(|at| at <= now);
        let due = Timer::ALL.into_iter().find(is_due)?;
        self.stop(due);
        Some(due)
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
        assert_eq!((timers.next(), timers.expire(start)), (None, None));

        timers.set(Timer::Retire, after(1));
        timers.set(Timer::Line, after(2));
        timers.set_once(Timer::Line, || after(9));
        timers.set(Timer::Idle, after(3));
        assert_eq!(timers.next(), Some(after(1)));
        assert_eq!(timers.expire(start), None);

        assert_eq!(timers.expire(after(2)), Some(Timer::Line));
        assert_eq!(timers.expire(after(2)), Some(Timer::Retire));
        assert_eq!(timers.expire(after(2)), None);

        assert!(timers.is_set(Timer::Idle));
        timers.stop(Timer::Idle);
        assert_eq!(timers.next(), None);
    }
}
