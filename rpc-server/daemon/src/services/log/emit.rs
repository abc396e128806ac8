//! `emit`, `flush` and `stats`: entries without an answer, and what has become of them.

use std::sync::Arc;

use rpc_core::api::log::{BATCH_ENTRIES_MAX, Emit, Flushed, LogStats};
use rpc_core::{Context, Status};
use rpc_server::{FromRequest, Params, Request, State};
use serde::Deserialize;

use super::Connection;
use crate::store::{LogEngine, NewEntries, Overflow, StoreError};

/// The entries of the params, as the lines that they become.
pub(super) struct Emitted(NewEntries);

impl<S> FromRequest<S> for Emitted {
    fn from_request(request: &Request<'_>, state: &S) -> Result<Self, Status> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Several {
            entries: NewEntries,
        }

        if let Some(entries) = request.params.read_by(NewEntries::read) {
            return Ok(Self(entries));
        }
        if let Ok(Several { entries }) = request.params.decode() {
            return Ok(Self(entries));
        }

        // A single entry, or a mistake.
        let Params(emit) = Params::<Emit>::from_request(request, state)?;
        Ok(Self(NewEntries::from(&emit.entries)))
    }
}

/// The entries have their places in the log at the first poll, as one of `append` has.
pub(super) async fn emit(
    State(store): State<Arc<dyn LogEngine>>,
    Connection(peer): Connection,
    context: Context,
    Emitted(entries): Emitted,
) -> Result<(), Status> {
    let count = entries.len();
    if !(1..=BATCH_ENTRIES_MAX).contains(&count) {
        return Err(Status::invalid_argument(format!(
            "`params.entries` has {count} entries and must have 1 to {BATCH_ENTRIES_MAX}"
        )));
    }

    let overflow = if context.is_oneway() {
        Overflow::Drop
    } else {
        Overflow::Refuse
    };
    let emitter = store.emitter(peer.as_ref());
    Ok(store.emit(&emitter, entries, overflow)?)
}

/// Its place is behind the emits whose lines came before.
pub(super) async fn flush(
    State(store): State<Arc<dyn LogEngine>>,
    Connection(peer): Connection,
) -> Result<Flushed, Status> {
    // What the disk did not take is counted.
    if let Err(error @ StoreError::Closed) = store.flushed()?.await {
        return Err(error.into());
    }

    let emitted = store.emitter(peer.as_ref()).emitted();
    Ok(Flushed {
        seq: store.last(),
        emitted: emitted.written,
        dropped: emitted.dropped,
    })
}

pub(super) async fn stats(State(store): State<Arc<dyn LogEngine>>) -> Result<LogStats, Status> {
    Ok(store.stats())
}
