//! The part of an entry that an index needs, read without the rest of its line.

use std::str::FromStr;

use rpc_core::api::log::Level;

use super::super::entry::EntryRef;
use super::Name;

/// What an index knows of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Brief<'a> {
    pub(super) seq: u64,
    pub(super) ts: u64,
    pub(super) level: Level,
    pub(super) service: Name<'a>,
}

impl<'a> Brief<'a> {
    pub(in crate::store) fn of(entry: &EntryRef<'a>) -> Self {
        Self {
            seq: entry.seq,
            ts: entry.ts,
            level: entry.level,
            service: entry.service.clone(),
        }
    }

    /// That of a line which was just written: its members come in a fixed order.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let fast = Self::parse_fast(line);
        fast.or_else(|| EntryRef::parse(line).map(|entry| Self::of(&entry)))
    }

    fn parse_fast(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"{\"seq\":")?;
        let (seq, rest) = number(rest)?;
        let (ts, rest) = number(rest.strip_prefix(b",\"ts\":")?)?;
        let (level, rest) = word(rest.strip_prefix(b",\"level\":\"")?)?;
        let (service, _) = word(rest.strip_prefix(b",\"service\":\"")?)?;

        Some(Self {
            seq,
            ts,
            level: Level::from_str(level).ok()?,
            service: service.into(),
        })
    }
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    Some((str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// A text up to its quote, if nothing in it is escaped.
fn word(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.iter().position(|byte| b"\"\\".contains(byte))?;
    let rest = text[end..].strip_prefix(b"\"")?;
    Some((str::from_utf8(&text[..end]).ok()?, rest))
}
