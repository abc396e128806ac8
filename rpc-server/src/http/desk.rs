//! The state of an HTTP connection: the connection in memory that executes its calls, and the bytes that it holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rpc_core::{Peer, Request, Status};

use super::line::Line;
use super::session::Session;
use super::watch::Watch;
use super::{Http, Open};
use crate::access::Policy;
use crate::limit::{Holder, MemoryShare};
use crate::metrics::ConnectionMetrics;
use crate::shutdown::Stage;

/// The state of one connection. The connection's task alone uses it: the lock is never waited for.
pub(super) struct Desk {
    pub(super) http: Arc<Http>,
    pub(super) policy: Arc<Policy>,
    pub(super) peer: Arc<Peer>,
    pub(super) watch: Arc<Watch>,
    state: Mutex<State>,
}

struct State {
    open: Open,
    session: Option<Session>,
    /// Counts the connection among those that are open, until a session does.
    connection_metrics: Option<ConnectionMetrics>,
    /// Bytes of requests and replies on their way. None before there are any to speak of.
    share: Option<MemoryShare>,
}

/// Whether a connection goes on between requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Between {
    GoesOn,
    Ends,
}

/// Fewer bytes are not counted: reading buffers have as many.
const COUNTED_BYTES: usize = 4 * 1024;

impl Desk {
    pub(super) fn new(
        http: &Arc<Http>,
        policy: &Arc<Policy>,
        peer: &Arc<Peer>,
        open: Open,
        connection_metrics: ConnectionMetrics,
    ) -> Self {
        Self {
            http: Arc::clone(http),
            policy: Arc::clone(policy),
            peer: Arc::clone(peer),
            watch: Arc::default(),
            state: Mutex::new(State {
                open,
                session: None,
                connection_metrics: Some(connection_metrics),
                share: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the session ready for a call with this token. Returns whether the token is to be shown first.
    pub(super) fn prepare(&self, token: Option<&str>) -> bool {
        let mut state = self.lock();
        let is_ready = state
            .session
            .as_ref()
            .is_some_and(|session| session.is_for(token));
        if is_ready {
            return false;
        }

        // One caller's session is over before another one's begins.
        state.session = None;
        let session = Session::open(&state.open, &self.peer, token.map(str::to_owned));
        state.session = Some(session);
        state.connection_metrics = None;
        token.is_some()
    }

    /// Shows the session's token.
    pub(super) fn authenticate(&self) {
        if let Some(session) = &mut self.lock().session {
            session.authenticate();
        }
    }

    /// Begins a call.
    pub(super) fn begin(&self, request: &Request<'_>) {
        let mut state = self.lock();
        if let Some(session) = &mut state.session {
            session.begin(request);
        }
        state.hold(0);
    }

    /// The next line about the call; none where the session has ended without it.
    pub(super) fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Option<Line>> {
        let mut state = self.lock();
        let Some(session) = &mut state.session else {
            return Poll::Ready(None);
        };

        let answer = session.poll_answer(cx);
        let held = session.held_bytes();
        let data = match &answer {
            Poll::Ready(Some(Line::Success(Some(data)) | Line::Item(data))) => data.len(),
            _ => 0,
        };
        state.hold(held + data);
        answer
    }

    /// Ends the session: its calls are cut.
    pub(super) fn end_session(&self) {
        self.lock().session = None;
    }

    /// Whether the session takes no further calls.
    pub(super) fn is_leaving(&self) -> bool {
        let state = self.lock();
        state.session.as_ref().is_none_or(Session::is_leaving)
    }

    /// Whether there is a session.
    pub(super) fn has_session(&self) -> bool {
        self.lock().session.is_some()
    }

    /// Lets the session do what it has to do while no request is under way.
    pub(super) fn poll_between(&self, cx: &mut Context<'_>) -> Between {
        if self.watch.is_busy() {
            return Between::GoesOn;
        }

        let mut state = self.lock();
        let ends = match &mut state.session {
            Some(session) => {
                session.poll_idle(cx);
                session.is_leaving()
            }
            None => self.http.reporter.stop.stage() != Stage::Serving,
        };
        match ends {
            true => Between::Ends,
            false => Between::GoesOn,
        }
    }

    /// Counts the bytes of a request that is being read.
    ///
    /// # Errors
    /// There is no memory for them.
    pub(super) fn hold_request(&self, bytes: usize) -> Result<(), Status> {
        let memory = &self.http.reporter.memory;
        let holder = Holder::of(bytes, memory.share());
        if bytes >= COUNTED_BYTES && !memory.has_room_for(0, holder) {
            memory.log();
            return Err(memory.refusal().with_rejected());
        }

        let mut state = self.lock();
        if bytes >= COUNTED_BYTES && state.share.is_none() {
            state.share = Some(MemoryShare::none(memory, self.peer.connection));
        }
        state.hold(bytes);
        Ok(())
    }
}

impl State {
    fn hold(&mut self, bytes: usize) {
        if let Some(share) = &mut self.share {
            share.publish(bytes);
        }
    }
}
