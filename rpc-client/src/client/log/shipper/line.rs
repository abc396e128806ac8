//! Entries written as JSON, in a buffer of the thread.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use rpc_core::api::log::{Append, Fields, Level};
use serde::Serialize;

/// Largest buffer in bytes that a thread keeps.
const KEPT_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An entry as it is sent.
#[derive(Serialize)]
struct Line<'a> {
    level: Level,
    service: &'a str,
    message: &'a str,
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a Fields>,
}

/// Calls `used` with an empty buffer. A call within a call, by a `Debug` that logs, has a new buffer.
pub(in super::super) fn with_buffer<T>(used: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = BUFFER.take();
    buffer.clear();
    let result = used(&mut buffer);

    if buffer.capacity() <= KEPT_BYTES_MAX {
        BUFFER.set(buffer);
    }
    result
}

/// Appends an entry as JSON. One without a time has the current one: it would otherwise get the time of its receipt, which
/// may be much later.
pub(super) fn write(buffer: &mut Vec<u8>, entry: &Append) {
    let line = Line {
        level: entry.level,
        service: &entry.service,
        message: &entry.message,
        ts: entry.ts.unwrap_or_else(now_ms),
        trace: entry.trace.as_deref(),
        fields: entry.fields.as_ref(),
    };
    serde_json::to_writer(buffer, &line).expect("strings and numbers have a JSON form");
}

/// Milliseconds since 1970; 0 with a clock before that.
pub(in super::super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
