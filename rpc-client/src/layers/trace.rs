//! A layer with a span and an event for each call.

use std::future::Future;

use rpc_core::{CmdId, Layer, Outcome, Request, Service};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// A span for each call, and an event at its end with `cmdid`, `code`, `elapsed_ms` and `rejected`:
/// at level debug for success, warn for a failure, debug for a call that its caller gave up.
///
/// Neither params, data nor the texts of failures are shown: any of them may hold what is not for a
/// log. Of a streaming call the beginning is traced.
///
/// ```
/// use rpc_client::{Client, layers::Trace};
///
/// let client = Client::new("127.0.0.1:8889").layer(Trace);
/// # let _ = client;
/// ```
///
/// With the feature `otel` the span is OpenTelemetry's as well, where a layer of `tracing-opentelemetry` is
/// installed: a child of the span that the call is made in, or of the request's own `traceparent`, and
/// the request carries it to the server.
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
        let span =
            tracing::info_span!("rpc_call", %cmdid, otel.kind = "client", otel.status_code = Empty);
        #[cfg(feature = "otel")]
        let request = continue_trace(&span, request);
        let call = self.0.call(request);

        async move {
            let mut traced = Traced {
                span: span.clone(),
                cmdid,
                started: Instant::now(),
                is_over: false,
            };

            let outcome = call.instrument(span).await;
            traced.end(&outcome);
            outcome
        }
    }
}

/// Puts the span into its trace, and the trace into the request.
#[cfg(feature = "otel")]
fn continue_trace<'r>(span: &Span, mut request: Request<'r>) -> Request<'r> {
    use rpc_core::trace::{TraceContext, otel};

    if let Some(caller) = TraceContext::of(&request) {
        otel::set_parent(span, &caller);
    }
    if let Some(trace) = otel::trace_of(span) {
        request.meta = trace.written_to(&request.meta);
    }
    request
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
                self.span.record("otel.status_code", "ERROR");
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
            self.span
                .in_scope(|| tracing::debug!(%cmdid, elapsed_ms, "a call was given up"));
        }
    }
}
