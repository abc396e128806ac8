//! tornado-TCP's own test command.

use crate::frame::CmdId;

/// Takes any params, logs them, and answers code 0 without data.
pub const TEST: CmdId = CmdId::new(10_000);
