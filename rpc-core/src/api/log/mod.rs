//! The log service: entries appended, numbered, on disk, and read back with a cursor.

mod entry;
mod fields;
mod read;

use crate::frame::CmdId;

pub use entry::{Append, Appended, Entry, Level, TS_MAX};
pub use fields::{FIELDS_DEPTH_MAX, Fields};
pub use read::{
    CONTAINS_BYTES_MAX, Extent, LEVEL_BYTES_MAX, LOG_BYTES_MAX, Page, Read, SERVICE_BYTES_MAX,
    TEXT_BYTES_MAX, TRACE_BYTES_MAX,
};

/// Params [`Append`], data [`Appended`]: writes an entry and answers once it is on disk.
pub const APPEND: CmdId = CmdId::new(1001);

/// Params [`Read`], data [`Page`]: entries behind a cursor, waiting for them where there are none.
pub const READ: CmdId = CmdId::new(1002);
