//! Parts: what a gateway makes of a long message, and which of them it has taken.

/// Largest number of parts: the header that joins them has a byte for their number.
pub const PARTS_MAX: usize = 255;

/// The parts that a gateway has made of a message, as its answer tells of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Their number; 0 where the answer is about the whole message.
    pub count: u32,
    /// Those that the gateway has accepted, each with its name for it, if it has one. Of a whole message at most one.
    pub accepted: Vec<Option<String>>,
}

impl Parts {
    /// A whole message that was accepted.
    pub fn whole(reference: Option<String>) -> Self {
        Self {
            count: 0,
            accepted: vec![reference],
        }
    }

    /// The number of parts that were accepted.
    pub fn sent(&self) -> u32 {
        u32::try_from(self.accepted.len()).unwrap_or(u32::MAX)
    }

    /// The gateway's names for those that it has accepted.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.accepted.iter().filter_map(Option::as_deref)
    }
}
