//! Entries as the files have them.

use std::borrow::Cow;

use rpc_core::api::log::Level;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::members;
use super::repeats::{BatchOf, KeyOf};

/// What a line must hold to be an entry, and all that filters look at.
#[derive(Debug, Deserialize)]
pub(super) struct EntryRef<'a> {
    pub(super) seq: u64,
    pub(super) ts: u64,
    pub(super) level: Level,
    #[serde(borrow)]
    pub(super) service: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) trace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) fields: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) key: Option<KeyOf<'a>>,
    #[serde(borrow, default)]
    batch: Option<Cow<'a, str>>,
}

impl<'a> EntryRef<'a> {
    /// The entry of a line, or `None` if the line is damaged.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_str(str::from_utf8(line).ok()?).ok()
    }
}

impl EntryRef<'_> {
    /// The batch whose first entry this is. One that makes no sense counts as missing.
    pub(super) fn batch(&self) -> Option<BatchOf> {
        self.batch.as_ref()?.parse().ok()
    }

    /// Whether a text is part of the message, the service, the trace, or in a text of the fields at any depth.
    pub(super) fn has_text(&self, text: &str) -> bool {
        let in_trace = self
            .trace
            .as_ref()
            .is_some_and(|trace| trace.contains(text));
        if in_trace || self.message.contains(text) || self.service.contains(text) {
            return true;
        }

        let fields = self.fields;
        fields.is_some_and(|fields| members::have_text(fields, text))
    }
}
