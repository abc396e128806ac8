//! A call as its handler sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cancellation, Parent, Peer};
use crate::frame::{CmdId, Meta, Request};

/// All that is known of the call besides its params.
#[derive(Clone)]
pub struct Context {
    peer: Option<Arc<Peer>>,
    cmdid: CmdId,
    id: Option<u64>,
    timestamp: i64,
    deadline: Option<Instant>,
    timeout: Option<Duration>,
    oneway: bool,
    credit: Option<u64>,
    meta: Meta<'static>,
    cancellation: Cancellation,
}

impl Context {
    /// The context of this request. `now` tells the time in Unix seconds; it is asked only where the
    /// request does not say when it was made.
    pub fn of(request: &Request<'_>, now: impl FnOnce() -> i64) -> Self {
        Self {
            peer: request.scope.peer().cloned(),
            cmdid: request.cmdid,
            id: request.id,
            timestamp: request.timestamp.unwrap_or_else(now),
            deadline: request.scope.deadline,
            timeout: request.timeout,
            oneway: request.oneway,
            credit: request.credit,
            meta: request.meta.clone().into_owned(),
            cancellation: request.scope.cancellation(),
        }
    }

    /// The other end of the call's connection; `None` for a call that came over no connection.
    ///
    /// A handler that collects much data for its caller counts it with [`Peer::hold`]:
    ///
    /// ```
    /// use rpc_core::{Context, Status};
    ///
    /// async fn rows(context: Context) -> Result<usize, Status> {
    ///     let rows = vec![0_u64; 10_000];
    ///     let _held = context.peer().map(|peer| peer.hold(size_of_val(&rows[..])));
    ///
    ///     Ok(rows.len())
    /// }
    /// # let _ = rows;
    /// ```
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// Who the caller has shown to be, by its certificate or a token; `None` where it has shown nothing.
    pub fn identity(&self) -> Option<&str> {
        self.peer()?.identity()
    }

    /// The command.
    pub fn cmdid(&self) -> CmdId {
        self.cmdid
    }

    /// The call's id; `None` for an ordered call.
    pub fn id(&self) -> Option<u64> {
        self.id
    }

    /// When the request was made, in Unix seconds by the caller's clock; where the caller did not
    /// say, the time of receipt by ours.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// When the call ends with code 4, if it has not ended before.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How long the caller said, at the time of receipt, that it waits.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether no reply will be sent.
    pub fn is_oneway(&self) -> bool {
        self.oneway
    }

    /// How many items of a stream the caller takes before it gives more credit.
    pub fn credit(&self) -> Option<u64> {
        self.credit
    }

    /// One value of the metadata.
    pub fn meta(&self, key: &str) -> Option<String> {
        self.meta.get(key)
    }

    /// All metadata.
    pub fn meta_entries(&self) -> BTreeMap<String, String> {
        self.meta.entries()
    }

    /// Tells when the call is over, so that its result is not needed.
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }
}

/// What the calls that a handler makes inherit; the client's `within` takes it.
impl Parent for Context {
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn meta(&self, key: &str) -> Option<String> {
        self.meta.get(key)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("peer", &self.peer)
            .field("cmdid", &self.cmdid)
            .field("id", &self.id)
            .field("timestamp", &self.timestamp)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
