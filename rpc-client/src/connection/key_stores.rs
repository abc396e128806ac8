//! The stores that a server keeps `idempotency-key`s in, as `describe` names them: asked for once a connection and
//! command, before the first call that has a key.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use rpc_core::descriptor::Dedup;
use rpc_core::{CmdId, RawJson, Request};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::pending::PendingCall;
use super::{CallKind, Connection, Due, Refusal, Refused};
use crate::error::{Cause, Error, Kind};

/// What a connection knows of its server's stores. It has an entry for each command with `dedup` that was called over
/// it, of which a client has as many as its services have methods.
#[derive(Default)]
pub(super) struct KeyStores(Mutex<Vec<(CmdId, Cell)>>);

/// The store of a command: `None` where the server names none, so that a repetition may not be recognised.
type Cell = Arc<OnceCell<Option<Arc<str>>>>;

impl KeyStores {
    fn cell(&self, cmdid: CmdId) -> Cell {
        // One step under the lock, so a panic elsewhere leaves nothing half done.
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = cells.iter().find(|(of, _)| *of == cmdid) {
            return Arc::clone(cell);
        }

        let cell = Cell::default();
        cells.push((cmdid, Arc::clone(&cell)));
        cell
    }
}

impl Connection {
    /// The store that the server of this connection keeps the keys of a command in, where it names one.
    ///
    /// # Errors
    /// Where the connection ends first, or the server rejects the question. Of the call nothing was sent.
    ///
    /// # Cancel safety
    /// Of several callers that wait, another one asks.
    pub(crate) async fn key_store(
        self: &Arc<Self>,
        cmdid: CmdId,
    ) -> Result<Option<Arc<str>>, Error> {
        let cell = self.0.key_stores.cell(cmdid);
        let store = cell.get_or_try_init(|| self.ask_for_key_store(cmdid)).await;
        store.cloned()
    }

    async fn ask_for_key_store(self: &Arc<Self>, cmdid: CmdId) -> Result<Option<Arc<str>>, Error> {
        #[derive(Serialize)]
        struct Params {
            cmdid: CmdId,
        }

        let params = RawJson::serialize(&Params { cmdid }).expect("a number is JSON");
        let request = Request::new(CmdId::DESCRIBE, params);
        let answer = match self.begin(&request).await {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };

        match answer {
            Ok(data) => Ok(data.and_then(|data| store_in(&data))),
            Err(error) => match error.status() {
                // It may say so later.
                Some(status) if status.is_rejected() => Err(error),
                Some(_) => Ok(None),
                None => Err(self.unasked(error)),
            },
        }
    }

    /// Starts a multiplexed call without a deadline as soon as there is room for it.
    async fn begin(self: &Arc<Self>, request: &Request<'_>) -> Result<PendingCall, Error> {
        const KIND: CallKind = CallKind::Multiplexed;

        loop {
            let started = poll_fn(|cx| {
                let connection = Arc::clone(self);
                Poll::Ready(connection.try_start(request, Due::Never, KIND, cx.waker()))
            });
            match started.await {
                Ok(pending) => return Ok(pending),
                Err(Refused { refusal, .. }) => match refusal {
                    Refusal::Over => return Err(self.over()),
                    Refusal::Full => self.wait_for_room(KIND).await,
                },
            }
        }
    }

    /// The failure of a call that was not sent, because the question before it has no answer.
    fn unasked(&self, error: Error) -> Error {
        let cause = error.cause().cloned();
        let cause = cause.unwrap_or_else(|| {
            Cause::with_source("the server was not asked for its store of keys", error)
        });
        self.0.error(Kind::NotSent(cause))
    }
}

/// The store of the only command of a description.
fn store_in(description: &RawJson<'_>) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Description {
        commands: Vec<Command>,
    }

    #[derive(Deserialize)]
    struct Command {
        dedup: Option<Dedup>,
    }

    let Description { commands } = description.decode().ok()?;
    let dedup = commands.into_iter().next()?.dedup?;
    dedup.store.map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(description: &str) -> Option<Arc<str>> {
        store_in(&RawJson::parse(description).unwrap())
    }

    #[test]
    fn a_store_is_known_only_where_the_server_names_it() {
        let named = r#"{"protocol":1,"commands":[{"cmdid":100,"dedup":{"store":"a-1"}}]}"#;
        assert_eq!(store(named).as_deref(), Some("a-1"));

        for unnamed in [
            r#"{"commands":[{"cmdid":100,"dedup":{}}]}"#,
            r#"{"commands":[{"cmdid":100,"idempotent":true}]}"#,
            r#"{"commands":[]}"#,
            r#"{"commands":7}"#,
            "true",
        ] {
            assert_eq!(store(unnamed), None, "{unnamed}");
        }
    }
}
