//! The header of the line before, which the next line usually repeats.

use std::time::Duration;

use super::cursor::Cursor;
use crate::frame::message::{CmdId, ID_MAX};

/// The text between the `id` of a request and its params.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) cmdid: CmdId,
    pub(super) timestamp: Option<i64>,
    pub(super) timeout: Option<Duration>,
    pub(super) oneway: bool,
}

impl Header {
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let cmdid = cursor.integer_of(b"\"cmdid\":", u64::from(u32::MAX))?;
        let timestamp = cursor.integer_of(b"\"timestamp\":", ID_MAX)?;
        let timeout_ms = cursor.integer_of(b"\"timeout_ms\":", ID_MAX)?;
        let oneway = cursor.truth_of(b"\"oneway\":")?;
        cursor.take(b"\"params\":").then_some(())?;

        let cmdid = CmdId::new(u32::try_from(cmdid?).ok()?);
        if oneway && cmdid.is_control() {
            // No handler takes it, and the calls around it keep their header.
            return None;
        }

        Some(Self {
            cmdid,
            timestamp: timestamp.and_then(|timestamp| i64::try_from(timestamp).ok()),
            timeout: timeout_ms.map(Duration::from_millis),
            oneway,
        })
    }
}

/// What stood between `id` and params in the line before: calls of one command with one time limit differ in
/// their ids and params only. For [`Request::read_after`](super::Request::read_after).
#[derive(Debug, Clone)]
pub struct HeaderCache {
    text: [u8; Self::TEXT_BYTES],
    /// None before the first line.
    read: Option<(Header, u8)>,
}

impl Default for HeaderCache {
    fn default() -> Self {
        Self {
            text: [0; Self::TEXT_BYTES],
            read: None,
        }
    }
}

impl HeaderCache {
    /// Room for `"cmdid":4294967295,"timestamp":1732233600,"timeout_ms":86400000,"oneway":true,"params":`, with spaces.
    const TEXT_BYTES: usize = 96;

    pub(super) fn header_of(&mut self, cursor: &mut Cursor<'_>) -> Option<Header> {
        if let Some((header, length)) = self.read
            && let Some(rest) = cursor.0.strip_prefix(&self.text[..length.into()])
        {
            cursor.0 = rest;
            return Some(header);
        }

        let before = cursor.0;
        let header = Header::read(cursor)?;

        // That all of it has been looked at, and nothing behind it, is what makes equal text an equal header.
        let text = &before[..before.len() - cursor.0.len()];
        if let (Some(kept), Ok(length)) =
            (self.text.get_mut(..text.len()), u8::try_from(text.len()))
        {
            kept.copy_from_slice(text);
            self.read = Some((header, length));
        }

        Some(header)
    }
}
