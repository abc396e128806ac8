//! The loggers among the layers of `tracing_subscriber`: which lines they take, and which they leave to the others.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::Layer as Lines;
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::output::{Output, PlainFields};
use super::{Loggers, SPAN_TARGET};

/// The target of the access log.
const ACCESS: &str = "rpc_server::access";

/// The command that a span is of, among what the registry keeps with the span.
struct CommandOfSpan(u32);

impl Loggers {
    /// The layer that writes the lines of commands that have a logger. Its place is the first after the registry.
    pub fn layer(&self) -> impl Layer<Registry> + Send + Sync + use<> {
        let writing = Writing {
            loggers: self.clone(),
            fields: vec![
                Lines::default()
                    .fmt_fields(PlainFields::default())
                    .with_writer(std::io::sink)
                    .boxed(),
                Lines::default().json().with_writer(std::io::sink).boxed(),
            ],
        };

        writing.with_filter(OfLoggers(self.clone()))
    }

    /// The filter for the server's own log: it leaves out the lines that a logger writes to the console itself.
    pub fn others<S>(&self) -> impl Filter<S> + Send + Sync + use<S>
    where
        S: tracing::Subscriber + for<'s> LookupSpan<'s>,
    {
        Others(self.clone())
    }

    /// The highest level of all loggers.
    fn level_max(&self) -> LevelFilter {
        let levels = self.current();
        levels
            .iter()
            .map(|logger| logger.level)
            .max()
            .unwrap_or(LevelFilter::OFF)
    }

    fn has_any_on_console(&self) -> bool {
        self.current().iter().any(|logger| logger.is_on_console())
    }
}

/// The command in whose span this is logged.
fn command_around<S>(cx: &Context<'_, S>) -> Option<u32>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
{
    let current = cx.lookup_current()?;
    current.scope().find_map(|span| {
        span.extensions()
            .get::<CommandOfSpan>()
            .map(|command| command.0)
    })
}

/// The command that a line of the access log is about.
fn command_in(event: &Event<'_>) -> Option<u32> {
    if event.metadata().target() != ACCESS {
        return None;
    }

    let mut cmdid = CmdidField(None);
    event.record(&mut cmdid);
    cmdid.0
}

/// The field `cmdid` of a span or event.
struct CmdidField(Option<u32>);

impl Visit for CmdidField {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "cmdid" {
            self.0 = u32::try_from(value).ok();
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}

/// Writes what the filter lets pass.
struct Writing {
    loggers: Loggers,
    /// They write nothing: each notes the fields of spans in its format, for the outputs that there are now and for those
    /// of later settings.
    fields: Vec<Output>,
}

impl Layer<Registry> for Writing {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, Registry>) {
        for fields in &self.fields {
            fields.on_new_span(attributes, id, cx.clone());
        }

        if attributes.metadata().target() != SPAN_TARGET {
            return;
        }

        let mut cmdid = CmdidField(None);
        attributes.record(&mut cmdid);
        if let (Some(span), Some(cmdid)) = (cx.span(id), cmdid.0) {
            span.extensions_mut().insert(CommandOfSpan(cmdid));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, Registry>) {
        for fields in &self.fields {
            fields.on_record(id, values, cx.clone());
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, Registry>) {
        let Some(cmdid) = command_in(event).or_else(|| command_around(&cx)) else {
            return;
        };
        let Some(logger) = self.loggers.of(cmdid) else {
            return;
        };

        if *event.metadata().level() <= logger.level {
            for output in &logger.outputs {
                output.on_event(event, cx.clone());
            }
        }
    }
}

/// The lines of commands that have a logger, and the spans around them.
struct OfLoggers(Loggers);

impl Filter<Registry> for OfLoggers {
    fn enabled(&self, metadata: &Metadata<'_>, cx: &Context<'_, Registry>) -> bool {
        if *metadata.level() > self.0.level_max() {
            return false;
        }

        metadata.target() == SPAN_TARGET
            || metadata.target() == ACCESS
            || command_around(cx)
                .and_then(|cmdid| self.0.of(cmdid))
                .is_some_and(|logger| *metadata.level() <= logger.level)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match *metadata.level() <= self.0.level_max() {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.level_max())
    }
}

/// All lines but those that a logger writes to the console.
struct Others(Loggers);

impl<S> Filter<S> for Others
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
{
    fn enabled(&self, metadata: &Metadata<'_>, cx: &Context<'_, S>) -> bool {
        if metadata.is_span() || !self.0.has_any_on_console() {
            return true;
        }

        !command_around(cx).is_some_and(|cmdid| self.is_elsewhere(cmdid))
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.is_span() || !self.0.has_any_on_console() {
            true => Interest::always(),
            false => Interest::sometimes(),
        }
    }

    fn event_enabled(&self, event: &Event<'_>, _cx: &Context<'_, S>) -> bool {
        !self.0.has_any_on_console()
            || !command_in(event).is_some_and(|cmdid| self.is_elsewhere(cmdid))
    }
}

impl Others {
    fn is_elsewhere(&self, cmdid: u32) -> bool {
        let logger = self.0.of(cmdid);
        logger.is_some_and(|logger| logger.is_on_console())
    }
}
