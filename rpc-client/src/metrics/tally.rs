//! The ends of calls on one connection, noted until the client is told.

use rpc_core::CmdId;
use tokio::time::Instant;

use super::{End, Metrics};

/// Calls of one command that were seen by the driver in one turn and ended alike in another.
pub(super) struct Run {
    pub(super) cmdid: CmdId,
    pub(super) end: End,
    /// When they were begun; of those that had no answer it is not noted.
    pub(super) begun: Option<Instant>,
    pub(super) calls: u64,
}

/// The runs of one connection. It is told at the end of each delivery, and so has no more of them than that has
/// replies.
#[derive(Default)]
pub(crate) struct Tally {
    runs: Vec<Run>,
}

impl Tally {
    /// A reply has ended a call that was `begun` then.
    #[inline]
    pub(crate) fn answered(&mut self, cmdid: CmdId, end: End, begun: Option<Instant>) {
        match self.runs.last_mut() {
            Some(run) if run.cmdid == cmdid && run.end == end && run.begun == begun => {
                run.calls += 1;
            }
            _ => self.begin_run(cmdid, end, begun),
        }
    }

    /// A call has ended without a reply.
    pub(crate) fn unanswered(&mut self, cmdid: CmdId, end: End) {
        let same = |run: &&mut Run| run.cmdid == cmdid && run.end == end;
        match self.runs.iter_mut().find(same) {
            Some(run) => run.calls += 1,
            None => self.begin_run(cmdid, end, None),
        }
    }

    fn begin_run(&mut self, cmdid: CmdId, end: End, begun: Option<Instant>) {
        self.runs.push(Run {
            cmdid,
            end,
            begun,
            calls: 1,
        });
    }

    /// Adds what it has counted to the metrics of the client, as of now.
    pub(crate) fn publish(&mut self, metrics: &Metrics) {
        if !self.runs.is_empty() {
            metrics.take(self.runs.drain(..), Instant::now());
        }
    }
}
