//! Classes of messages.

use serde::{Deserialize, Serialize};

/// What a message is for. Limits, quiet hours and expiry depend on it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A code that someone waits for. Its text is shown to nobody.
    Otp,
    /// An answer to what someone did.
    #[default]
    Transactional,
    /// Advertising.
    Marketing,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Otp, Self::Transactional, Self::Marketing];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Otp => "otp",
            Self::Transactional => "transactional",
            Self::Marketing => "marketing",
        }
    }
}
