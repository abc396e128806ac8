//! Starting calls on a connection: a frame goes into the shared output, and a slot waits for its reply.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use rpc_core::frame::{RequestEncoder, encode_request};
use rpc_core::{CmdId, RawJson, Request};
use tokio::time::Instant;

use super::pending::PendingCall;
use super::{Connection, Refusal};

/// The relation of a call to the others of its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// With an id and one reply, whatever the others do.
    #[default]
    Multiplexed,
    /// Without an id: its reply comes in its turn.
    Ordered,
    /// With an id and any number of items, for which it gives credit.
    Stream,
}

impl CallKind {
    pub(crate) fn is_ordered(self) -> bool {
        self == Self::Ordered
    }
}

/// When a call's time is up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Due {
    Never,
    At(Instant),
    /// Counted from when the driver sees the call, which is at once, and looks at the clock for many calls.
    In(Duration),
}

impl From<Option<Instant>> for Due {
    fn from(deadline: Option<Instant>) -> Self {
        deadline.map_or(Self::Never, Self::At)
    }
}

/// What a call is sent as.
pub(crate) trait Frame {
    /// Its command.
    fn cmdid(&self) -> CmdId;

    /// Writes its line. Only an ordered call has no id.
    fn write(&self, output: &mut Vec<u8>, encoder: &mut RequestEncoder, id: Option<u64>);
}

impl Frame for Request<'_> {
    fn cmdid(&self) -> CmdId {
        self.cmdid
    }

    fn write(&self, output: &mut Vec<u8>, _: &mut RequestEncoder, id: Option<u64>) {
        encode_request(output, id, self);
    }
}

/// The request of most calls: an id, a time limit and params, written without the general encoder.
pub(crate) struct FastRequest<'p> {
    pub(crate) cmdid: CmdId,
    pub(crate) limit: Duration,
    pub(crate) params: &'p RawJson<'p>,
}

impl Frame for FastRequest<'_> {
    #[inline]
    fn cmdid(&self) -> CmdId {
        self.cmdid
    }

    #[inline]
    fn write(&self, output: &mut Vec<u8>, encoder: &mut RequestEncoder, id: Option<u64>) {
        let id = id.expect("it is multiplexed");
        encoder.encode(output, id, self.cmdid, self.limit, self.params);
    }
}

/// A call that could not be started, and the connection that it was for.
pub(crate) struct Refused {
    pub(crate) connection: Arc<Connection>,
    pub(crate) refusal: Refusal,
}

impl Connection {
    /// Puts a call's frame into the output and takes a slot for its reply. `waker` is told of the reply, until the
    /// call is polled with another one.
    #[inline]
    pub(crate) fn try_start(
        self: Arc<Self>,
        frame: &impl Frame,
        due: Due,
        kind: CallKind,
        waker: &Waker,
    ) -> Result<PendingCall, Refused> {
        let config = &self.0.common.config;
        let opened = self.0.lock().start_call(config, frame, due, kind, waker);

        match opened {
            Ok(id) => Ok(PendingCall::new(self, id)),
            Err(refusal) => Err(Refused {
                connection: self,
                refusal,
            }),
        }
    }

    /// Puts a oneway call's frame into the output. With an id of its own it runs beside other calls;
    /// without one it takes its turn in their order.
    pub(crate) fn notify(&self, request: &Request<'_>, kind: CallKind) -> Result<(), Refusal> {
        let mut state = self.0.lock();
        state.admit(&self.0.common.config)?;

        let id = if kind.is_ordered() && !request.oneway {
            // A server that may not know `oneway` answers: its reply finds the place of a call given up.
            let Some((id, _)) = state.calls.open_ordered() else {
                return Err(Refusal::Full);
            };
            state.calls.close(id);
            None
        } else if kind.is_ordered() {
            None
        } else {
            let Some((id, _)) = state.calls.open() else {
                return Err(Refusal::Full);
            };
            state.uses_ids = true;
            // Nothing will answer it.
            state.calls.close(id);
            Some(id)
        };

        state.append(|output| encode_request(output, id, request));
        state.reached.oneway = state.appended;
        Ok(())
    }

    /// Resolves when there may be room again after [`Refusal::Full`].
    pub(crate) async fn wait_for_room(&self, kind: CallKind) {
        let notified = self.0.room.notified();
        tokio::pin!(notified);
        // Registered before the second look, so that room made in between is not missed; and counted
        // under the same lock as that look, so that whatever makes room later tells.
        notified.as_mut().enable();

        {
            let mut state = self.0.lock();
            if state.is_over() || state.has_room(&self.0.common.config, kind) {
                return;
            }
            state.waiting_for_room += 1;
        }

        notified.await;
    }
}
