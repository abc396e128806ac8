use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a command. 0-99 are built in ([`builtins`](crate::builtins)), 100 and up belong to services.
///
/// Source: docs/protocol.md, "Request" and "Built-in commands". Append-only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CmdId(u32);

impl CmdId {
    /// The lowest number that belongs to services.
    pub const FIRST_OF_SERVICES: Self = Self(100);

    /// The command with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number as it is on the wire.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Whether this number belongs to the protocol and not to a service.
    pub const fn is_built_in(self) -> bool {
        self.0 < Self::FIRST_OF_SERVICES.0
    }
}

impl From<u32> for CmdId {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl fmt::Display for CmdId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CmdId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
