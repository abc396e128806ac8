//! Reading and writing of [`Meta`].

use std::collections::BTreeMap;
use std::fmt;

use super::json::RawJson;
use super::message::Meta;

impl<'a> Meta<'a> {
    /// For an object that is known to hold strings only.
    pub(crate) fn checked(object: RawJson<'a>) -> Self {
        Self(Some(object))
    }

    /// Metadata of these entries; none where there are none.
    pub fn from_entries(entries: &BTreeMap<String, String>) -> Meta<'static> {
        if entries.is_empty() {
            return Meta(None);
        }

        Meta(Some(
            RawJson::serialize(entries).expect("a map of strings is JSON"),
        ))
    }

    /// Whether the request had none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The value under `key`. Of a repeated key, the last value.
    pub fn get(&self, key: &str) -> Option<String> {
        self.entries().remove(key)
    }

    /// The same metadata with these entries, in the place of what was there under their keys; an empty
    /// value takes an entry away.
    #[must_use]
    pub fn with<'e>(&self, entries: impl IntoIterator<Item = (&'e str, &'e str)>) -> Meta<'static> {
        let mut all = self.entries();
        all.extend(
            entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        all.retain(|_, value| !value.is_empty());
        Meta::from_entries(&all)
    }

    /// All entries, by key.
    pub fn entries(&self) -> BTreeMap<String, String> {
        let decode =
            |object: &RawJson<'_>| object.decode().expect("checked when the frame was read");
        self.0.as_ref().map(decode).unwrap_or_default()
    }

    /// The JSON object, where the request had one.
    pub fn as_raw(&self) -> Option<&RawJson<'a>> {
        self.0.as_ref()
    }

    /// The same metadata, free of the line that it was read from.
    pub fn into_owned(self) -> Meta<'static> {
        Meta(self.0.map(RawJson::into_owned))
    }
}

impl fmt::Debug for Meta<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(object) => object.fmt(f),
            None => f.write_str("{}"),
        }
    }
}
