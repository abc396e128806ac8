use std::future::Future;

use rpc_core::{CmdId, Layer, Outcome, Request, Service};
use tokio::time::Instant;
use tracing::{Instrument, Span};

/// A span for each call, and an event at its end with `cmdid`, `code`, `elapsed_ms` and `rejected`:
/// at level debug for success, warn for a failure, debug for a call that its caller gave up.
///
/// Neither params, data nor the texts of failures are shown: any of them may hold what is not for a
/// log. Of a streaming call the beginning is traced.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trace;

impl<S: Service> Layer<S> for Trace {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> TraceService<S> {
        TraceService(inner)
    }
}

/// See [`Trace`].
#[derive(Debug, Clone)]
pub struct TraceService<S>(S);

impl<S: Service> Service for TraceService<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let cmdid = request.cmdid;
        let call = self.0.call(request);
        async move {
            let span = tracing::debug_span!("rpc_call", %cmdid);
            let mut traced = Traced { span: span.clone(), cmdid, started: Instant::now(), is_over: false };
            let outcome = call.instrument(span).await;
            traced.end(&outcome);
            outcome
        }
    }
}

/// A call from its first poll to its end.
struct Traced {
    span: Span,
    cmdid: CmdId,
    started: Instant,
    is_over: bool,
}

impl Traced {
    fn end(&mut self, outcome: &Outcome) {
        self.is_over = true;
        let (cmdid, elapsed_ms) = (self.cmdid, self.elapsed_ms());
        self.span.in_scope(|| match outcome {
            Ok(_) => tracing::debug!(%cmdid, code = 0, elapsed_ms, "called"),
            Err(status) => {
                let (code, rejected) = (status.code().number(), status.is_rejected());
                tracing::warn!(%cmdid, code, rejected, elapsed_ms, "a call failed");
            }
        });
    }

    fn elapsed_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1_000.0
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.is_over {
            let (cmdid, elapsed_ms) = (self.cmdid, self.elapsed_ms());
            self.span.in_scope(|| tracing::debug!(%cmdid, elapsed_ms, "a call was given up"));
        }
    }
}
