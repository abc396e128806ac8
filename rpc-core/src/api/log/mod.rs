//! The log service: entries appended, numbered, on disk, and read back with a cursor.

mod batch;
mod emit;
mod entry;
#[doc(hidden)]
pub mod fast;
mod fields;
mod read;
mod service;
mod stats;
mod tail;

pub use batch::{AppendBatch, BATCH_ENTRIES_MAX, BatchAppended, BatchError, PRODUCER_BYTES_MAX};
pub use emit::{Emit, Flushed};
pub use entry::{Append, AppendRef, Appended, Entry, Level, TS_MAX};
pub use fields::{FIELDS_DEPTH_MAX, Fields, FieldsRef};
pub use read::{
    CONTAINS_BYTES_MAX, Extent, FIELDS_BYTES_MAX, LEVEL_BYTES_MAX, LOG_BYTES_MAX, Order, Page,
    Read, SERVICE_BYTES_MAX, TEXT_BYTES_MAX, TRACE_BYTES_MAX,
};
pub use service::{
    APPEND, APPEND_BATCH, EMIT, FLUSH, Log, LogBlockingClient, LogClient, LogServer, LogService,
    READ, STATS, TAIL,
};
pub use stats::{LogStats, ServiceStats, Spread};
pub use tail::{TAIL_LAST_MAX, Tail, Tailed};
