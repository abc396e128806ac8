//! The watch over the turns of a crowd: a connection that was called and does not come, because its task does not poll
//! it or hangs in a handler, loses its turn to the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::Lane;
use super::turns::Turns;

/// Time between two looks. A connection that was called before the first and has not come by the second has had its
/// runtime's time for that.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Looks at the turns of a lane, for as long as connections wait there.
pub(super) struct Watch {
    /// None when that is over.
    lane: Option<Arc<Lane>>,
}

impl Watch {
    /// The watch over these turns of the lane, if it is wanted and does not exist yet.
    pub(super) fn begin(lane: &Arc<Lane>, turns: &mut Turns) -> Option<Self> {
        if turns.is_watched || !turns.is_waited_for() {
            return None;
        }

        turns.is_watched = true;
        let lane = Some(Arc::clone(lane));
        Some(Self { lane })
    }

    /// Runs a watch in a task of its own. Outside a runtime it is dropped, and the next connection to wait tries again.
    pub(super) fn spawn(watch: Option<Self>) {
        if let (Some(watch), Ok(runtime)) = (watch, Handle::try_current()) {
            runtime.spawn(watch.run());
        }
    }

    async fn run(mut self) {
        while let Some(lane) = &self.lane {
            tokio::time::sleep(LOOK_PAUSE).await;

            let mut turns = lane.turns();
            let called = turns.look();
            let goes_on = turns.is_waited_for();
            turns.is_watched = goes_on;
            drop(turns);

            for waker in called {
                waker.wake();
            }
            if !goes_on {
                self.lane = None;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The runtime ends before the crowd.
        if let Some(lane) = &self.lane {
            lane.turns().is_watched = false;
        }
    }
}
