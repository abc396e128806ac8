//! The members of an entry that its line has as they came.

use std::borrow::Cow;

use rpc_core::RawJson;
use rpc_core::api::log::{AppendRef, FieldsRef, Level};
use serde::Serialize;

/// Bytes of a body beside its texts, about.
const BODY_BYTES: usize = 64;

/// Where the texts of an entry come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// JSON, which borrows its texts where nothing in them is escaped: then nothing must be.
    Json,
    Memory,
}

/// Appends the members `level` to `fields` of an entry.
pub(super) fn push_body(body: &mut Vec<u8>, entry: &AppendRef<'_>, source: Source) {
    let fields = entry.fields.as_ref().map(FieldsRef::as_str);
    let trace = entry.trace.as_ref();
    let texts = [&*entry.service, &*entry.message].into_iter();
    let texts = texts.chain(trace.map(|text| &**text)).chain(fields);
    body.reserve(BODY_BYTES + texts.map(str::len).sum::<usize>());

    body.extend_from_slice(level_member(entry.level));
    push_text(body, &entry.service, source);
    body.extend_from_slice(b",\"message\":");
    push_text(body, &entry.message, source);
    if let Some(trace) = trace {
        body.extend_from_slice(b",\"trace\":");
        push_text(body, trace, source);
    }
    if let Some(fields) = fields {
        body.extend_from_slice(b",\"fields\":");
        body.extend_from_slice(fields.as_bytes());
    }
}

/// The member `level`, and what comes between it and the service.
fn level_member(level: Level) -> &'static [u8] {
    match level {
        Level::Trace => b"\"level\":\"trace\",\"service\":",
        Level::Debug => b"\"level\":\"debug\",\"service\":",
        Level::Info => b"\"level\":\"info\",\"service\":",
        Level::Warn => b"\"level\":\"warn\",\"service\":",
        Level::Error => b"\"level\":\"error\",\"service\":",
        Level::Fatal => b"\"level\":\"fatal\",\"service\":",
    }
}

#[allow(clippy::ptr_arg, reason = "it matters whether it is borrowed")]
fn push_text(out: &mut Vec<u8>, text: &Cow<'_, str>, source: Source) {
    match (text, source) {
        (Cow::Borrowed(text), Source::Json) => {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
        (text, _) => push(out, &**text),
    }
}

pub(super) fn push(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Only a map with keys that are not strings could fail.
    RawJson::push(out, value).expect("numbers and strings always encode");
}
