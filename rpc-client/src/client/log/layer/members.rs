//! The fields of spans and events, as members of a JSON object.

use std::cell::Cell;
use std::error::Error;
use std::fmt::Debug;

use tracing::field::{Field, Visit};

use super::value::{format_into, push_float, push_number, push_text};

/// The field that is the entry's message, and the one that is its trace.
const MESSAGE: &str = "message";
const TRACE: &str = "trace";

/// The methods of [`Visit`] for values that are neither texts nor formatted: each is a member as it is.
macro_rules! record_scalars {
    () => {
        fn record_f64(&mut self, field: &Field, value: f64) {
            self.add(field, |text| push_float(text, value));
        }

        fn record_i64(&mut self, field: &Field, value: i64) {
            self.add(field, |text| push_number(text, &value));
        }

        fn record_u64(&mut self, field: &Field, value: u64) {
            self.add(field, |text| push_number(text, &value));
        }

        fn record_i128(&mut self, field: &Field, value: i128) {
            self.add(field, |text| push_number(text, &value));
        }

        fn record_u128(&mut self, field: &Field, value: u128) {
            self.add(field, |text| push_number(text, &value));
        }

        fn record_bool(&mut self, field: &Field, value: bool) {
            self.add(field, |text| push_number(text, &value));
        }
    };
}

/// The fields of a span, each as `"name":value`.
#[derive(Default)]
pub(super) struct SpanFields {
    text: Vec<u8>,
    members: Vec<Member>,
    trace: Option<String>,
}

/// A name, and the end of its member in the text; it begins where the one before ends.
struct Member {
    name: &'static str,
    end: usize,
}

impl SpanFields {
    /// Takes values that were recorded later; they replace those of the same names.
    pub(super) fn update(&mut self, recorded: Self) {
        let mut start = 0;
        for Member { name, end } in recorded.members {
            self.remove(name);
            self.text.extend_from_slice(&recorded.text[start..end]);
            self.members.push(Member {
                name,
                end: self.text.len(),
            });
            start = end;
        }

        if recorded.trace.is_some() {
            self.trace = recorded.trace;
        }
    }

    fn remove(&mut self, name: &str) {
        let Some(at) = self.members.iter().position(|member| member.name == name) else {
            return;
        };

        let start = self.start(at);
        let end = self.members.remove(at).end;
        self.text.drain(start..end);
        for later in &mut self.members[at..] {
            later.end -= end - start;
        }
    }

    fn start(&self, at: usize) -> usize {
        match at.checked_sub(1) {
            None => 0,
            Some(before) => self.members[before].end,
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let members = self.members.iter().enumerate();
        members.map(|(at, member)| (member.name, &self.text[self.start(at)..member.end]))
    }

    fn add(&mut self, field: &Field, write: impl FnOnce(&mut Vec<u8>)) {
        let name = plain(field.name());
        self.remove(name);
        push_name(&mut self.text, name);
        write(&mut self.text);
        self.members.push(Member {
            name,
            end: self.text.len(),
        });
    }
}

impl Visit for SpanFields {
    record_scalars!();

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            TRACE => self.trace = Some(value.to_owned()),
            _ => self.add(field, |text| push_text(text, value)),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut written = String::new();
        format_into(&mut written, value);
        self.record_str(field, &written);
    }
}

/// What an event's fields need besides the entry, kept by the thread.
#[derive(Default)]
struct Scratch {
    names: Vec<&'static str>,
    written: String,
    message: String,
    trace: String,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch {
        names: Vec::new(),
        written: String::new(),
        message: String::new(),
        trace: String::new(),
    }) };
}

/// The fields of an event, written into its entry: the first value of a name is the one that counts.
pub(super) struct EventFields<'a> {
    buffer: &'a mut Vec<u8>,
    scratch: Scratch,
}

impl<'a> EventFields<'a> {
    /// Calls `fill` with fields that are written behind the opening brace of their object.
    pub(super) fn with(buffer: &'a mut Vec<u8>, fill: impl FnOnce(&mut Self)) {
        let mut scratch = SCRATCH.take();
        scratch.names.clear();
        scratch.message.clear();
        scratch.trace.clear();

        let mut fields = Self { buffer, scratch };
        fill(&mut fields);
        SCRATCH.set(fields.scratch);
    }

    /// Adds those fields of a span around the event whose names are not there yet.
    pub(super) fn inherit(&mut self, span: &SpanFields) {
        for (name, member) in span.iter() {
            if self.begin(name) {
                self.buffer.extend_from_slice(member);
            }
        }
        if let Some(trace) = &span.trace {
            self.set_trace(trace);
        }
    }

    pub(super) fn add_text(&mut self, name: &'static str, text: &str) {
        if self.begin(name) {
            push_name(self.buffer, name);
            push_text(self.buffer, text);
        }
    }

    #[cfg(feature = "otel")]
    pub(super) fn add_trace(&mut self, trace: u128) {
        if self.scratch.trace.is_empty() {
            self.scratch.trace = format!("{trace:032x}");
        }
    }

    fn set_trace(&mut self, trace: &str) {
        if self.scratch.trace.is_empty() {
            self.scratch.trace.push_str(trace);
        }
    }

    /// Ends the object and the entry. An event without a message has its name for one.
    pub(super) fn end(&mut self, name: &str) {
        let Scratch { message, trace, .. } = &self.scratch;
        self.buffer.extend_from_slice(br#"},"message":"#);
        push_text(self.buffer, if message.is_empty() { name } else { message });

        if !trace.is_empty() {
            self.buffer.extend_from_slice(br#","trace":"#);
            push_text(self.buffer, trace);
        }
        self.buffer.push(b'}');
    }

    /// Whether a member of this name may follow, which it does behind its comma.
    fn begin(&mut self, name: &'static str) -> bool {
        let names = &mut self.scratch.names;
        if names.contains(&name) {
            return false;
        }
        if !names.is_empty() {
            self.buffer.push(b',');
        }
        names.push(name);
        true
    }

    fn add(&mut self, field: &Field, write: impl FnOnce(&mut Vec<u8>)) {
        let name = plain(field.name());
        if self.begin(name) {
            push_name(self.buffer, name);
            write(self.buffer);
        }
    }
}

impl Visit for EventFields<'_> {
    record_scalars!();

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            MESSAGE => self.scratch.message.push_str(value),
            TRACE => self.set_trace(value),
            _ => self.add(field, |text| push_text(text, value)),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == MESSAGE {
            return format_into(&mut self.scratch.message, value);
        }

        let mut written = std::mem::take(&mut self.scratch.written);
        written.clear();
        format_into(&mut written, value);
        self.record_str(field, &written);
        self.scratch.written = written;
    }
}

fn push_name(text: &mut Vec<u8>, name: &str) {
    push_text(text, name);
    text.push(b':');
}

/// A name as it was meant: `r#type` is `type`.
fn plain(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}
