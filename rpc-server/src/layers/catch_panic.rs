//! A layer that turns a panic of a handler into code 13.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use futures::FutureExt;
use futures::future::{Either, ready};
use rpc_core::{CmdId, Outcome, Request, Service, Status};

use super::Fault;
use crate::peer_log::LogThrottle;

/// Handlers panic in this process, for whichever server they are called: a throttle with each of them would cost each
/// call something.
static PANICS: LazyLock<LogThrottle> =
    LazyLock::new(|| LogThrottle::new("handlers that panicked", tracing::Level::ERROR, 100));

/// Turns a panic of the handler, or of the decoding of its params, into code 13. The panic's text
/// goes to the log and never to the peer.
pub(crate) struct CatchPanic<S>(pub(crate) S);

impl<S: Service> Service for CatchPanic<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let cmdid = request.cmdid;

        // Unwind safety: the future is dropped after a panic, and what it shares with other calls
        // is behind locks that poison or atomics.
        match catch_unwind(AssertUnwindSafe(|| self.0.call(request))) {
            Ok(future) => Either::Left(AssertUnwindSafe(future).catch_unwind().map(
                move |finished| {
                    finished.unwrap_or_else(|panic| Err(report_panic(cmdid, panic.as_ref())))
                },
            )),
            Err(panic) => Either::Right(ready(Err(report_panic(cmdid, panic.as_ref())))),
        }
    }
}

/// Logs the text of a panic, and makes the reply, which does not have it.
pub(crate) fn report_panic(cmdid: CmdId, panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    PANICS.write(|| {
        tracing::error!(%cmdid, panic = text.unwrap_or("no text"), "a handler panicked");
    });

    Status::internal(format!(
        "the handler of cmdid {cmdid} failed; the server's log says how"
    ))
    .with_source(Fault::Panicked)
}
