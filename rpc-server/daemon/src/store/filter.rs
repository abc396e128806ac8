//! Filters of entries.

use rpc_core::api::log::Level;
use serde_json::value::RawValue;

use super::entry::EntryRef;
use super::members;

/// What an allocator takes beside what it is asked for, about.
const ALLOCATION_BYTES: usize = 24;

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
    /// Only entries with all of these fields, in the order of their names.
    pub(crate) fields: Vec<WantedField>,
    /// Only entries of this time or a later one, in milliseconds since 1970.
    pub(crate) from: Option<u64>,
    /// Only entries of an earlier time, in milliseconds since 1970.
    pub(crate) to: Option<u64>,
}

/// A field that an entry has to have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WantedField {
    name: String,
    value: WantedValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum WantedValue {
    /// This text, or a number that is written so.
    Text(String),
    /// A number, true, false or null that is written so.
    Written(String),
}

impl WantedField {
    /// A field with this value; `None` if the value is an array or an object.
    pub(crate) fn new(name: String, value: &RawValue) -> Option<Self> {
        let written = value.get();
        let value = if written.starts_with(['[', '{']) {
            return None;
        } else if written.starts_with('"') {
            WantedValue::Text(serde_json::from_str(written).ok()?)
        } else {
            WantedValue::Written(written.to_owned())
        };

        Some(Self { name, value })
    }

    fn text_bytes(&self) -> usize {
        let (WantedValue::Text(value) | WantedValue::Written(value)) = &self.value;
        self.name.capacity() + value.capacity() + 2 * ALLOCATION_BYTES
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a value of that name is the wanted one.
    pub(super) fn has_value(&self, value: &RawValue) -> bool {
        let found = value.get();
        match &self.value {
            WantedValue::Written(written) => written == found,
            WantedValue::Text(text) if found.starts_with('"') => {
                serde_json::from_str::<String>(found).is_ok_and(|found| found == *text)
            }
            WantedValue::Text(text) => {
                let is_number = |text: &str| {
                    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
                };
                is_number(found) && text == found
            }
        }
    }
}

impl Filter {
    /// The bytes that it takes in memory, about: a field of a few characters takes many times as much as its text.
    pub(crate) fn memory_bytes(&self) -> usize {
        let Rest {
            text,
            trace,
            fields,
            from: _,
            to: _,
        } = &self.rest;

        let texts = [&self.service, &self.contains, text, trace];
        let texts = texts.into_iter().flatten();
        let texts: usize = texts.map(|text| text.capacity() + ALLOCATION_BYTES).sum();
        let wanted: usize = fields.iter().map(WantedField::text_bytes).sum();
        size_of::<Self>() + texts + fields.capacity() * size_of::<WantedField>() + wanted
    }

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

    /// Whether it asks for something that an index knows.
    pub(super) fn is_indexed(&self) -> bool {
        let Rest { from, to, .. } = &self.rest;
        self.level.is_some() || self.service.is_some() || from.is_some() || to.is_some()
    }

    /// Whether the level and the service of an entry decide, so that the rest of it need not be looked at.
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
            && self.passes_fields(entry)
    }

    fn passes_fields(&self, entry: &EntryRef<'_>) -> bool {
        if self.fields.is_empty() {
            return true;
        }

        let fields = entry.fields;
        fields.is_some_and(|fields| members::has_all(fields, &self.fields))
    }
}
