//! A layer of `tracing` that sends events to the log service, and never waits for it.
//!
//! ```no_run
//! use tracing_subscriber::layer::SubscriberExt;
//! use tracing_subscriber::util::SubscriberInitExt;
//!
//! # fn example() -> std::io::Result<()> {
//! let (layer, guard) = rpc_client::log::layer("127.0.0.1:8889")
//!     .service("order")
//!     .build()?;
//! tracing_subscriber::registry().with(layer).init();
//!
//! tracing::info!(user = 4211, "logged in");
//!
//! // At the end of the program.
//! let shipped = guard.close(std::time::Duration::from_secs(2));
//! eprintln!("{} entries were not sent", shipped.unsent);
//! # Ok(())
//! # }
//! ```
//!
//! An event becomes an entry: its message, its fields as JSON, and those of the spans around it, of which the innermost wins
//! over the others and the event's own over all. The fields `target` and `span`, the name of the innermost span, are added
//! where the event has none of these names. A field `trace` is the trace of the entry; with the feature `otel`, an event
//! without one has the trace that OpenTelemetry knows for its span.
//!
//! Values without a JSON form are their texts; of a text, the first 65,536 bytes are kept.
//!
//! The entries are sent by a [`BlockingShipper`](super::BlockingShipper), from a thread and over a connection of its own.
//! That thread has no subscriber: what its connection tells of itself is not sent.

mod builder;
mod guard;
mod members;
mod value;

use std::sync::Arc;

use rpc_core::api::log::Level;
#[cfg(feature = "otel")]
use tracing::dispatcher::WeakDispatch;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::shipper::{Queue, line};

pub use builder::{LayerBuilder, layer};
pub use guard::LogGuard;
use members::{EventFields, SpanFields};
use value::{push_number, push_text};

/// Sends events to the log; made by [`layer`].
///
/// An event costs its caller its text as JSON and a copy into the queue. If the queue is full, the event is dropped and
/// counted, and the log says how many were.
#[derive(Debug)]
pub struct LogLayer {
    queue: Arc<Queue>,
    /// The beginnings of entries, of each level.
    heads: [Vec<u8>; Level::ALL.len()],
    #[cfg(feature = "otel")]
    dispatch: std::sync::OnceLock<WeakDispatch>,
}

impl LogLayer {
    fn new(queue: Arc<Queue>) -> Self {
        let heads = Level::ALL.map(|level| {
            let mut head = format!(r#"{{"level":"{level}","service":"#).into_bytes();
            push_text(&mut head, queue.service());
            head.extend_from_slice(br#","ts":"#);
            head
        });

        Self {
            queue,
            heads,
            #[cfg(feature = "otel")]
            dispatch: std::sync::OnceLock::new(),
        }
    }

    /// Writes the entry of an event.
    fn write<S>(&self, buffer: &mut Vec<u8>, event: &Event<'_>, spans: Option<Scope<'_, S>>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let metadata = event.metadata();
        buffer.extend_from_slice(&self.heads[level_of(event) as usize]);
        push_number(buffer, &line::now_ms());
        buffer.extend_from_slice(br#","fields":{"#);

        EventFields::with(buffer, |fields| {
            event.record(fields);
            let mut innermost = None;
            for span in spans.into_iter().flatten() {
                innermost.get_or_insert((span.id(), span.name()));
                if let Some(of_span) = span.extensions().get::<SpanFields>() {
                    fields.inherit(of_span);
                }
            }

            fields.add_text("target", metadata.target());
            if let Some((id, name)) = innermost {
                fields.add_text("span", name);
                self.add_trace(fields, &id);
            }
            fields.end(metadata.name());
        });
    }

    /// Adds the trace that OpenTelemetry knows of, if the event has none.
    #[cfg(feature = "otel")]
    fn add_trace(&self, fields: &mut EventFields<'_>, span: &Id) {
        let dispatch = self.dispatch.get().and_then(WeakDispatch::upgrade);
        let trace = dispatch.and_then(|it| rpc_core::trace::otel::trace_id_of(span, &it));
        if let Some(trace) = trace {
            fields.add_trace(trace);
        }
    }

    #[cfg(not(feature = "otel"))]
    #[allow(clippy::unused_self, reason = "as with the feature `otel`")]
    fn add_trace(&self, _: &mut EventFields<'_>, _: &Id) {}
}

fn level_of(event: &Event<'_>) -> Level {
    match *event.metadata().level() {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::ERROR => Level::Error,
    }
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    #[cfg(feature = "otel")]
    fn on_register_dispatch(&self, subscriber: &tracing::Dispatch) {
        let _ = self.dispatch.set(subscriber.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };

        let mut fields = SpanFields::default();
        attributes.record(&mut fields);
        // Another layer of this kind has written the same.
        span.extensions_mut().replace(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };

        // Before the span is locked: a `Debug` may log.
        let mut recorded = SpanFields::default();
        values.record(&mut recorded);
        if let Some(fields) = span.extensions_mut().get_mut::<SpanFields>() {
            fields.update(recorded);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        line::with_buffer(|buffer| {
            self.write(buffer, event, context.event_scope(event));
            // It is counted there, and the log is told of it.
            let _ = self.queue.push_line(level_of(event), buffer);
        });
    }
}
