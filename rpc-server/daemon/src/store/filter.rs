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
    }

    /// Whether the level and the service of an entry decide, so that its message need not be searched.
    pub(super) fn is_by_name(&self) -> bool {
        self.contains.is_none()
    }
}
