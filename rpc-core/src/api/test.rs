//! tornado-TCP's own test command.

use crate::frame::CmdId;

/// Accepts any params, logs them, and replies with code 0 and no data.
pub const TEST: CmdId = CmdId::new(10_000);
