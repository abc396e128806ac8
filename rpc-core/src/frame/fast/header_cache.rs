use std::time::Duration;

use super::cursor::Glance;
use crate::frame::message::{CmdId, ID_MAX};

/// What stands between the `id` of a request and its params.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) cmdid: CmdId,
    pub(super) timestamp: Option<i64>,
    pub(super) timeout: Option<Duration>,
}

impl Head {
    fn read(glance: &mut Glance<'_>) -> Option<Self> {
        let cmdid = glance.integer_of(b"\"cmdid\":", u64::from(u32::MAX))?;
        let timestamp = glance.integer_of(b"\"timestamp\":", ID_MAX)?;
        let timeout_ms = glance.integer_of(b"\"timeout_ms\":", ID_MAX)?;
        glance.take(b"\"params\":").then_some(())?;

        Some(Self {
            cmdid: CmdId::new(u32::try_from(cmdid?).ok()?),
            timestamp: timestamp.and_then(|timestamp| i64::try_from(timestamp).ok()),
            timeout: timeout_ms.map(Duration::from_millis),
        })
    }
}

/// What stood between `id` and params in the line before: calls of one command with one time limit differ in
/// their ids and params only. For [`UsualRequest::read_after`].
#[derive(Debug, Clone)]
pub struct LastHead {
    text: [u8; Self::TEXT_BYTES],
    /// None before the first line.
    read: Option<(Head, u8)>,
}

impl Default for LastHead {
    fn default() -> Self {
        Self {
            text: [0; Self::TEXT_BYTES],
            read: None,
        }
    }
}

impl LastHead {
    /// Room for `"cmdid":4294967295,"timestamp":1732233600,"timeout_ms":86400000,"params":`, with spaces.
    const TEXT_BYTES: usize = 80;

    pub(super) fn head_of(&mut self, glance: &mut Glance<'_>) -> Option<Head> {
        if let Some((head, length)) = self.read
            && let Some(rest) = glance.0.strip_prefix(&self.text[..length.into()])
        {
            glance.0 = rest;
            return Some(head);
        }

        let before = glance.0;
        let head = Head::read(glance)?;

        // That all of it has been looked at, and nothing behind it, is what makes equal text an equal head.
        let text = &before[..before.len() - glance.0.len()];
        if let (Some(kept), Ok(length)) =
            (self.text.get_mut(..text.len()), u8::try_from(text.len()))
        {
            kept.copy_from_slice(text);
            self.read = Some((head, length));
        }

        Some(head)
    }
}
