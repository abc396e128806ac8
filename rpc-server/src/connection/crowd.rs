//! The crowd of connections that have more to do than fits into a turn: the larger it is, the shorter are the turns.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::sync::AtomicUsize;

/// How long a connection may do its work before the other tasks of its thread have their turn: one that asks for much
/// by little must not keep the others waiting.
pub(super) const SHARE: Duration = Duration::from_millis(1);

/// What is left of that where many connections have more to do than fits into a turn.
const SHARE_MIN: Duration = Duration::from_micros(50);

/// The connections of a server that wait for a further turn, because the last one was not long enough. The more there
/// are, the shorter is a turn: a connection that has little to do waits for all of theirs.
#[derive(Default)]
pub(crate) struct Crowd(AtomicUsize);

/// A connection among those that wait for a further turn.
pub(super) struct InCrowd(Arc<Crowd>);

impl Crowd {
    // Relaxed, here and below: a connection more or fewer for a moment changes little.
    pub(super) fn join(self: &Arc<Self>) -> InCrowd {
        self.0.fetch_add(1, Ordering::Relaxed);
        InCrowd(Arc::clone(self))
    }

    /// How long a turn may be now.
    #[inline]
    pub(super) fn share(&self) -> Duration {
        let waiting = u32::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        (SHARE / waiting.saturating_add(1)).max(SHARE_MIN)
    }
}

impl Drop for InCrowd {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_the_shorter_the_more_connections_wait_for_theirs() {
        let crowd = Arc::new(Crowd::default());
        assert_eq!(crowd.share(), SHARE);

        let three: Vec<_> = (0..3).map(|_| crowd.join()).collect();
        assert_eq!(crowd.share(), SHARE / 4);

        let thousand: Vec<_> = (0..1_000).map(|_| crowd.join()).collect();
        assert_eq!(crowd.share(), SHARE_MIN);
        drop((three, thousand));
        assert_eq!(crowd.share(), SHARE);
    }
}
