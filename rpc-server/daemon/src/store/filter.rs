use rpc_core::api::log::Level;

use super::entry::EntryRef;

/// The entries that a reader wants. The default wants all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    /// Only entries of this level or above.
    pub(crate) level: Option<Level>,
    /// Only entries of this service.
    pub(crate) service: Option<String>,
    /// Only entries with this in their message.
    pub(crate) contains: Option<String>,
    /// What else has to hold, which few readers ask for.
    pub(crate) rest: Rest,
}

/// Conditions that need the whole of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Rest {
    /// Only entries with this in their message, service, trace, or a text of their fields.
    pub(crate) text: Option<String>,
    /// Only entries of this trace.
    pub(crate) trace: Option<String>,
    /// Only entries of this time or a later one, in milliseconds since 1970.
    pub(crate) from: Option<u64>,
    /// Only entries of an earlier time, in milliseconds since 1970.
    pub(crate) to: Option<u64>,
}

impl Filter {
    pub(super) fn matches(&self, entry: &EntryRef<'_>) -> bool {
        self.level.is_none_or(|level| entry.level >= level)
            && self
                .service
                .as_ref()
                .is_none_or(|service| entry.service == *service)
            && self
                .contains
                .as_ref()
                .is_none_or(|text| entry.message.contains(text.as_str()))
            && self.rest.matches(entry)
    }

    /// Whether the level and the service of an entry decide, so that nothing else of it need be looked at.
    pub(super) fn is_by_name(&self) -> bool {
        self.contains.is_none() && self.rest.is_empty()
    }
}

impl Rest {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn matches(&self, entry: &EntryRef<'_>) -> bool {
        self.from.is_none_or(|from| entry.ts >= from)
            && self.to.is_none_or(|to| entry.ts < to)
            && self
                .trace
                .as_ref()
                .is_none_or(|trace| entry.trace.as_ref() == Some(&trace.as_str().into()))
            && self.text.as_ref().is_none_or(|text| entry.has_text(text))
    }
}
