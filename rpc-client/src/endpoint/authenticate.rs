//! The first call of a connection whose client has a token: who it is.

use std::fmt::{self, Write as _};
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rpc_core::{CmdId, Code, RawJson, Request};
use serde::Serialize;
use tokio::time::Instant;

use super::dialing::Outage;
use super::tried::Tried;
use crate::config::Config;
use crate::connection::{CallKind, Connection, Due, Refused};
use crate::error::{Cause, Error};

/// Longest file of a token, in bytes; no token comes near it.
const FILE_BYTES_MAX: u64 = 4096;

/// A token of the program's own. Its `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct Token(pub(crate) Arc<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why a connection is not taken into use.
pub(crate) enum ConnectFailure {
    /// The server's own word on the token, and when it may be asked again.
    Token(Cause, Option<Duration>),
    /// Anything else: another attempt may fare better.
    Failed(Cause),
}

impl ConnectFailure {
    /// There was no answer in time from any address that was tried.
    pub(crate) fn no_answer(config: &Config, tried: &Tried) -> Self {
        let limit = config.timeouts.connect_timeout_ms;
        let mut message =
            format!("cannot connect: no answer within `timeouts.connect_timeout_ms` of {limit} ms");
        if !tried.is_empty() {
            let _ = write!(message, " ({tried})");
        }

        Self::Failed(Cause::new(message))
    }

    /// The connection was over before anything could be sent.
    pub(crate) fn of_over(connection: &Connection) -> Self {
        let over = connection.over();
        let cause = over.cause().cloned();
        Self::Failed(cause.unwrap_or_else(|| Cause::new("the connection is over")))
    }

    /// As a failure of connecting, which fails since then.
    pub(super) fn since(self, since: Instant) -> Outage {
        let (last, is_final, retry_after) = match self {
            Self::Failed(last) => (last, false, None),
            Self::Token(last, retry_after) => (last, true, retry_after),
        };
        Outage {
            since,
            last,
            is_final,
            retry_after,
        }
    }

    /// Writes it into the log.
    pub(crate) fn log(&self, address: &str) {
        match self {
            Self::Failed(last) => {
                tracing::debug!(%address, reason = %last.message, "connecting failed");
            }
            Self::Token(last, _) => {
                tracing::warn!(%address, reason = %last.message, "not authenticated");
            }
        }
    }
}

/// Authenticates this client, if it has a token. A server that knows no tokens (code 12) is one that wants
/// none.
pub(crate) async fn authenticate(
    connection: &Arc<Connection>,
    config: &Config,
    token: Option<&Token>,
) -> Result<(), ConnectFailure> {
    let token = match (token, &config.pool.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(file)) => {
            read(file).map_err(|message| ConnectFailure::Failed(Cause::new(message)))?
        }
        (None, None) => return Ok(()),
    };

    let Err(error) = call(connection, config, &token).await else {
        return Ok(());
    };

    match error.code() {
        Code::UNIMPLEMENTED => {
            tracing::debug!(
                address = error.address(),
                "the server has no tokens; calling without authentication"
            );
            Ok(())
        }
        code => Err(match error.status() {
            Some(status) => {
                let message = format!("the server refuses this client's token: {status}");
                let cause = Cause::with_source(message, status.clone()).with_code(code);
                ConnectFailure::Token(cause, status.retry_after())
            }
            // The connection ended first: that says nothing of the token.
            None => ConnectFailure::Failed(error.cause().cloned().unwrap_or_else(|| {
                Cause::with_source("the connection cannot be authenticated", error.clone())
            })),
        }),
    }
}

async fn call(connection: &Arc<Connection>, config: &Config, token: &Token) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Authenticate<'a> {
        token: &'a str,
    }

    let params = RawJson::serialize(&Authenticate { token: &token.0 }).expect("a string is JSON");
    let request = Request::new(CmdId::AUTHENTICATE, params);

    let kind = if config.pool.ordered {
        CallKind::Ordered
    } else {
        CallKind::Multiplexed
    };

    let mut pending = None;
    poll_fn(|cx| {
        if pending.is_none() {
            let started = Arc::clone(connection).try_start(&request, Due::Never, kind, cx.waker());
            match started {
                Ok(call) => pending = Some(call),
                Err(Refused { connection, .. }) => return Poll::Ready(Err(connection.over())),
            }
        }

        let call = pending.as_mut().expect("it was started");
        std::pin::Pin::new(call).poll(cx).map_ok(drop)
    })
    .await
}

fn read(file: &Path) -> Result<Token, String> {
    let wrong = |what: &dyn fmt::Display| format!("{}: {what}", file.display());
    let about = std::fs::metadata(file).map_err(|error| wrong(&error))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(wrong(&format!(
            "is longer than {FILE_BYTES_MAX} bytes, too long for a token"
        )));
    }

    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    match text.trim() {
        "" => Err(wrong(&"is empty; it must hold the token")),
        token => Ok(Token(token.into())),
    }
}
