//! The calls of one resumable stream, which follow one another, and where the timing of a call is put.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::LastTiming;

/// A call that was open for longer counts as one that brought an item: about the time of all back-offs of a stream, so
/// that such calls cost a server less than the tries of a stream that fails.
const OPEN_LONG: Duration = Duration::from_secs(30);

/// What the calls of one resumable stream share, or what there is to tell of one call. It travels with each of their
/// requests through every layer to the client that sends them, which has a clock and a back-off.
#[derive(Debug, Default)]
pub struct Series {
    timing: Option<LastTiming>,
    deadline: OnceLock<Instant>,
    /// Calls since the last item, or since the last one that was open for long, without the first call of the stream.
    reopenings: AtomicU32,
    /// Time in milliseconds that the server asked for when it ended the last call.
    retry_after_ms: AtomicU64,
}

impl Series {
    /// Of calls whose timing is put there.
    pub fn with_timing(timing: LastTiming) -> Self {
        Self {
            timing: Some(timing),
            ..Self::default()
        }
    }

    /// Where the timing of each call goes, if that was asked for.
    pub fn timing(&self) -> Option<&LastTiming> {
        self.timing.as_ref()
    }

    /// The deadline of all calls: that of the first one that says its own.
    pub fn deadline(&self, of_this_call: Instant) -> Instant {
        *self.deadline.get_or_init(|| of_this_call)
    }

    /// A call of the stream was lost that was open for this time. After more than 30 s the server was there: the stream
    /// had nothing to say, and the calls before this one do not count any more.
    pub fn was_open(&self, time: Duration) {
        if time > OPEN_LONG {
            self.has_gone_on();
        }
    }

    /// How many calls before this one were lost without an item: what a client's back-off grows with. 0 for the first
    /// call of the stream.
    pub fn reopenings(&self) -> u32 {
        // Relaxed, as the others: only the task that reads the stream counts, and makes the calls.
        self.reopenings.load(Ordering::Relaxed)
    }

    /// The time that the server asked for when it ended the last call; zero if it did not. It is the server's word: the
    /// client bounds it.
    pub fn retry_after(&self) -> Duration {
        Duration::from_millis(self.retry_after_ms.load(Ordering::Relaxed))
    }

    /// Another call is about to be made, after this time if the server asked for one.
    pub(crate) fn reopen(&self, retry_after: Option<Duration>) {
        let asked = retry_after.unwrap_or_default().as_millis();
        let asked = u64::try_from(asked).unwrap_or(u64::MAX);
        self.retry_after_ms.store(asked, Ordering::Relaxed);
        self.reopenings.fetch_add(1, Ordering::Relaxed);
    }

    /// An item came.
    pub(crate) fn has_gone_on(&self) {
        self.reopenings.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_open_for_long_counts_as_one_that_brought_an_item() {
        let series = Series::default();
        series.reopen(None);
        series.reopen(None);

        series.was_open(OPEN_LONG);
        assert_eq!(series.reopenings(), 2);
        series.was_open(OPEN_LONG + Duration::from_millis(1));
        assert_eq!(series.reopenings(), 0);
    }
}
