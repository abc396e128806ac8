//! Words for what the targets send and read: the end of bytes of any kind, the part of an answer.

/// How bytes of any kind end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a line break: what comes next is a line of its own.
    LineBreak,
    /// Where they end: what comes next goes on with their line.
    Open,
}

impl Ending {
    /// The choice of the lowest bit.
    pub fn chosen_by(bits: u8) -> Self {
        match bits & 1 {
            1 => Self::LineBreak,
            _ => Self::Open,
        }
    }
}

/// Which part of its call's answer a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// An item of a stream, after which more come.
    Item,
    /// The only reply, or the end of a stream.
    Last,
}
