//! A layer that records a span for each call.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use futures::stream;
use rpc_core::frame::ItemStream;
use rpc_core::trace::{TraceContext, TraceParent};
use rpc_core::{Body, Code, Descriptor, Outcome, Reply, Request, Service, Status};
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

/// A span for each call, which continues the caller's trace: see [`Router::traced`](crate::Router::traced).
pub(crate) struct Traced<S> {
    inner: Arc<S>,
    names: Arc<Names>,
}

struct Names {
    /// `log.append`, which is what the span is called.
    full: String,
    command: Descriptor,
}

impl<S> Traced<S> {
    pub(crate) fn new(inner: S, command: &Descriptor) -> Self {
        let names = Names {
            full: command.name(),
            command: command.clone(),
        };

        Self {
            inner: Arc::new(inner),
            names: Arc::new(names),
        }
    }
}

impl<S: Service> Service for Traced<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        // A call that is prepared and never polled has no span.
        let (inner, names, request) = (
            Arc::clone(&self.inner),
            Arc::clone(&self.names),
            request.into_owned(),
        );

        async move {
            let (span, trace) = open_span(&request, &names);
            let mut request = request;
            request.meta = trace.written_to(&request.meta);

            let call = span.in_scope(|| inner.call(request));
            let outcome = call.instrument(span.clone()).await;
            close(span, outcome)
        }
    }
}

/// The call's span, and what the calls carry that its handler makes.
fn open_span(request: &Request<'_>, names: &Names) -> (Span, TraceContext) {
    let span = tracing::info_span!(
        target: "rpc_server::trace",
        "call",
        otel.name = names.full,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "ndjson",
        rpc.service = &*names.command.service,
        rpc.method = &*names.command.method,
        // Signed, here and below: other numbers come to a collector as text.
        rpc.cmdid = i64::from(request.cmdid.number()),
        rpc.code = Empty,
        network.peer.address = request.scope.peer().map(|peer| display(&peer.address)),
        trace = Empty,
    );

    let caller = TraceContext::of(request);
    let own = || match &caller {
        Some(TraceContext { parent, state, .. }) => {
            let mut trace = TraceContext::new(parent.child());
            trace.state.clone_from(state);
            trace
        }
        None => TraceContext::new(TraceParent::root()),
    };

    let trace = recorded(&span, caller.as_ref()).unwrap_or_else(own);
    span.record(
        "trace",
        display(format_args!("{:032x}", trace.parent.trace_id())),
    );

    (span, trace)
}

/// The trace by which a collector knows the span, where one is told of it.
#[cfg(feature = "otel")]
fn recorded(span: &Span, caller: Option<&TraceContext>) -> Option<TraceContext> {
    if let Some(caller) = caller {
        rpc_core::trace::otel::set_parent(span, caller);
    }
    rpc_core::trace::otel::trace_of(span)
}

#[cfg(not(feature = "otel"))]
fn recorded(_span: &Span, _caller: Option<&TraceContext>) -> Option<TraceContext> {
    None
}

/// Notes how the call ended. A stream keeps the span open to its own end.
fn close(span: Span, outcome: Outcome) -> Outcome {
    let note = |span: &Span, outcome: Result<(), &Status>| match outcome {
        Ok(()) => {
            span.record("rpc.code", 0);
        }
        Err(status) => {
            span.record("rpc.code", i64::from(status.code().number()));
            if is_fault_of_server(status.code()) {
                span.record("otel.status_code", "ERROR");
            }
        }
    };

    match outcome.map(Reply::into_body) {
        Ok(Body::Stream(mut items)) => {
            let in_span = stream::poll_fn(move |cx| {
                let next = span.in_scope(|| items.as_mut().poll_next(cx));
                match &next {
                    Poll::Ready(None) => note(&span, Ok(())),
                    Poll::Ready(Some(Err(status))) => note(&span, Err(status)),
                    _ => {}
                }

                next
            });

            let items: ItemStream = Box::pin(in_span);
            Ok(Body::Stream(items).into())
        }
        Ok(body) => {
            note(&span, Ok(()));
            Ok(body.into())
        }
        Err(status) => {
            note(&span, Err(&status));
            Err(status)
        }
    }
}

/// A mistake of the caller is not an error of the span; which codes those are is OpenTelemetry's convention for gRPC's.
fn is_fault_of_server(code: Code) -> bool {
    let faults = [
        Code::UNKNOWN,
        Code::DEADLINE_EXCEEDED,
        Code::UNIMPLEMENTED,
        Code::INTERNAL,
        Code::UNAVAILABLE,
        Code::DATA_LOSS,
    ];

    faults.contains(&code)
}
