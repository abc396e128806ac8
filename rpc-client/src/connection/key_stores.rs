//! The server's word on repeated calls, and the stores that it keeps `idempotency-key`s in, as `describe` names them:
//! asked for once a connection and command, before the first call that has a key.

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

/// What a server says of the repetition of a command's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// The command may run twice without harm.
    Harmless,
    /// The store of this name has the keys of its calls.
    KnownTo(Arc<str>),
    /// Nothing, so that a repetition may not be recognised.
    Unknown,
}

/// What a connection knows of its server's stores: an entry for each command that was called over it with a key.
#[derive(Default)]
pub(super) struct KeyStores(Mutex<Vec<(CmdId, Cell)>>);

/// What is known of a command, once its server has answered.
type Cell = Arc<OnceCell<Repetition>>;

/// Commands that a connection remembers. A client's own services have fewer; one that passes the requests of others on
/// asks again for those that it has called the longest time ago.
const COMMANDS_MAX: usize = 256;

impl KeyStores {
    fn cell(&self, cmdid: CmdId) -> Cell {
        // One step under the lock, so a panic elsewhere leaves nothing half done.
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = cells.iter().find(|(of, _)| *of == cmdid) {
            return Arc::clone(cell);
        }

        if cells.len() == COMMANDS_MAX {
            cells.remove(0);
        }
        let cell = Cell::default();
        cells.push((cmdid, Arc::clone(&cell)));
        cell
    }
}

impl Connection {
    /// What the server of this connection says of repetitions of a command's calls.
    ///
    /// # Errors
    /// Where the connection ends first, or the server rejects the question. Of the call nothing was sent.
    ///
    /// # Cancel safety
    /// Of several callers that wait, another one asks.
    pub(crate) async fn repetition(self: &Arc<Self>, cmdid: CmdId) -> Result<Repetition, Error> {
        let cell = self.0.key_stores.cell(cmdid);
        let told = cell.get_or_try_init(|| self.ask_for_repetition(cmdid));
        told.await.cloned()
    }

    async fn ask_for_repetition(self: &Arc<Self>, cmdid: CmdId) -> Result<Repetition, Error> {
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
            Ok(Some(data)) => Ok(Repetition::in_description(&data)),
            Ok(None) => Ok(Repetition::Unknown),
            Err(error) => match error.status() {
                // It may say so later.
                Some(status) if status.is_rejected() => Err(error),
                Some(_) => Ok(Repetition::Unknown),
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

impl Repetition {
    /// What a description of one command says.
    fn in_description(description: &RawJson<'_>) -> Self {
        #[derive(Deserialize)]
        struct Description {
            commands: Vec<Command>,
        }

        #[derive(Deserialize)]
        struct Command {
            #[serde(default)]
            idempotent: bool,
            dedup: Option<Dedup>,
        }

        let Ok(Description { commands }) = description.decode() else {
            return Self::Unknown;
        };

        match commands.into_iter().next() {
            Some(Command {
                dedup: Some(Dedup {
                    store: Some(store), ..
                }),
                ..
            }) => Self::KnownTo(Arc::from(store)),
            Some(Command {
                idempotent: true, ..
            }) => Self::Harmless,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(description: &str) -> Repetition {
        Repetition::in_description(&RawJson::parse(description).unwrap())
    }

    #[test]
    fn a_store_is_known_only_where_the_server_names_it() {
        let named = r#"{"protocol":1,"commands":[{"cmdid":100,"dedup":{"store":"a-1"}}]}"#;
        assert_eq!(told(named), Repetition::KnownTo("a-1".into()));

        let idempotent = r#"{"commands":[{"cmdid":100,"idempotent":true}]}"#;
        assert_eq!(told(idempotent), Repetition::Harmless);

        for unnamed in [
            r#"{"commands":[{"cmdid":100,"dedup":{}}]}"#,
            r#"{"commands":[{"cmdid":100,"idempotent":false}]}"#,
            r#"{"commands":[]}"#,
            r#"{"commands":7}"#,
            "true",
        ] {
            assert_eq!(told(unnamed), Repetition::Unknown, "{unnamed}");
        }
    }

    #[test]
    fn of_many_commands_those_that_were_called_first_are_forgotten() {
        let stores = KeyStores::default();
        let commands = 100..100 + u32::try_from(2 * COMMANDS_MAX).unwrap();
        for cmdid in commands.clone() {
            stores.cell(CmdId::new(cmdid));
        }

        let known = stores.0.lock().unwrap().clone();
        assert_eq!(known.len(), COMMANDS_MAX);
        let (last, cell) = known.last().unwrap();
        assert_eq!(last.number(), commands.end - 1);
        assert!(Arc::ptr_eq(cell, &stores.cell(*last)));
    }
}
