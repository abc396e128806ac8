//! The turns of the crowd of one runtime: their order, and those that were called.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::task::Waker;

use super::Turn;

/// The places of a crowd.
pub(super) struct Turns {
    /// How many may be called at one time.
    most: usize,
    /// The number of the place that was given out last.
    last: u64,
    /// The places that were called. There are a few for each thread.
    called: Vec<Called>,
    /// The places of those that are not called yet.
    waiting: BTreeMap<NonZeroU64, Waker>,
    /// Whether a task looks now and then for those that do not come.
    pub(super) is_watched: bool,
}

/// A place that was called.
struct Called {
    number: NonZeroU64,
    state: State,
}

/// What has become of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has not come yet.
    New,
    /// It had not come at a look.
    Late,
    /// It has come, and does its work: it gives its turn back when its task returns.
    Begun,
}

/// What a place comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// Its turn.
    Now,
    /// It was not called yet.
    Later,
    /// It was called and did not come in time: another one has its turn.
    Lost,
}

impl Turns {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            last: 0,
            called: Vec::new(),
            waiting: BTreeMap::new(),
            is_watched: false,
        }
    }

    /// Begins the turn of this place, if it was called.
    pub(super) fn begin(&mut self, number: NonZeroU64, waker: &Waker) -> Begin {
        if let Some(known) = self.waiting.get_mut(&number) {
            known.clone_from(waker);
            return Begin::Later;
        }

        let mut called = self.called.iter_mut();
        match called.find(|called| called.number == number) {
            Some(called) => {
                called.state = State::Begun;
                Begin::Now
            }
            None => Begin::Lost,
        }
    }

    /// A new place, which has its turn at once if others are not to be waited for.
    pub(super) fn join(&mut self, waker: &Waker) -> (NonZeroU64, Turn) {
        if self.called.len() >= self.most || self.is_waited_for() {
            return (self.wait(waker), Turn::Later);
        }

        let number = self.next_number();
        let state = State::Begun;
        self.called.push(Called { number, state });
        (number, Turn::Now)
    }

    /// A new place behind all others.
    pub(super) fn wait(&mut self, waker: &Waker) -> NonZeroU64 {
        let number = self.next_number();
        self.waiting.insert(number, waker.clone());
        number
    }

    fn next_number(&mut self) -> NonZeroU64 {
        self.last += 1;
        NonZeroU64::new(self.last).expect("it was raised just now")
    }

    /// Takes a place away, with its turn if it has one.
    pub(super) fn give_back(&mut self, number: NonZeroU64) {
        if self.waiting.remove(&number).is_none() {
            self.called.retain(|called| called.number != number);
        }
    }

    /// Calls the next one, if it may have its turn now.
    pub(super) fn call(&mut self) -> Option<Waker> {
        if self.called.len() >= self.most {
            return None;
        }

        let (number, waker) = self.waiting.pop_first()?;
        let state = State::New;
        self.called.push(Called { number, state });
        Some(waker)
    }

    /// Whether a place waits for its turn.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes their turns from those that were called before the last look and have not come, and calls others.
    pub(super) fn look(&mut self) -> Vec<Waker> {
        self.called.retain_mut(|called| {
            let is_lost = called.state == State::Late;
            if called.state == State::New {
                called.state = State::Late;
            }
            !is_lost
        });

        std::iter::from_fn(|| self.call()).collect()
    }
}
