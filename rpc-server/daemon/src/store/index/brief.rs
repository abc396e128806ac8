//! The part of an entry that an index needs.

use rpc_core::api::log::Level;

use super::super::entry::EntryRef;
use super::Name;

/// What an index knows of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Brief<'a> {
    pub(in crate::store) seq: u64,
    pub(in crate::store) ts: u64,
    pub(in crate::store) level: Level,
    pub(in crate::store) service: Name<'a>,
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
}
