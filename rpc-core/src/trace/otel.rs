//! The same trace as OpenTelemetry knows it, by way of `tracing` spans.
//!
//! Where no layer of `tracing-opentelemetry` is installed, spans have no ids of their own, and what is
//! asked here is answered with nothing.

use std::str::FromStr;

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tracing::span::Id;
use tracing::{Dispatch, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{TraceContext, TraceParent};

/// Makes the caller's span, in another process, the parent of a span that has not been entered yet.
pub fn set_parent(span: &Span, caller: &TraceContext) {
    let TraceContext { parent, state } = caller;

    // An invalid state is dropped, as the standard has it; the trace goes on.
    let state = state
        .as_deref()
        .and_then(|state| TraceState::from_str(state).ok())
        .unwrap_or_default();

    let context = SpanContext::new(
        TraceId::from(parent.trace_id()),
        SpanId::from(parent.span_id()),
        TraceFlags::new(parent.flags()),
        true,
        state,
    );

    // It fails if spans are not recorded, which is as good.
    let _ = span.set_parent(Context::new().with_remote_span_context(context));
}

/// What the calls that are made in a span carry.
pub fn trace_of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let context = context.span().span_context().clone();

    let trace_id = u128::from_be_bytes(context.trace_id().to_bytes());
    let span_id = u64::from_be_bytes(context.span_id().to_bytes());
    let parent = TraceParent::new(trace_id, span_id, context.trace_flags().to_u8())?;
    let state = Some(context.trace_state().header()).filter(|state| !state.is_empty());

    Some(TraceContext { parent, state })
}

/// The id of the trace that a span belongs to, for layers: they have its id and the subscriber.
pub fn trace_id_of(span: &Id, subscriber: &Dispatch) -> Option<u128> {
    let context = tracing_opentelemetry::get_otel_context(span, subscriber)?;
    let context = context.span().span_context().clone();
    let is_valid = context.is_valid();
    is_valid.then(|| u128::from_be_bytes(context.trace_id().to_bytes()))
}
