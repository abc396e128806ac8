//! Reading and writing of [`Meta`].

use std::collections::BTreeMap;
use std::fmt;

use super::json::RawJson;
use super::message::Meta;

/// The metadata by which a caller asks for the times of its call: `"1"` (docs/protocol.md, "Timing").
pub const TIMING: &str = "timing";

impl<'a> Meta<'a> {
    /// For an object that is known to hold strings only.
    pub(crate) fn checked(object: RawJson<'a>) -> Self {
        Self(Some(object))
    }

    /// Metadata of these entries; `None` without entries.
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

    /// Whether the caller asks where the time of its call goes ([`TIMING`]).
    pub fn asks_for_timing(&self) -> bool {
        self.0.as_ref().is_some_and(|object| {
            let text = object.as_bytes();
            // Most metadata says nothing of it, and is not decoded for that. A name may be written with escapes.
            let may_ask = memchr::memchr(b'\\', text).is_some()
                || memchr::memmem::find(text, TIMING.as_bytes()).is_some();
            may_ask && self.get(TIMING).as_deref() == Some("1")
        })
    }

    /// The same metadata with these entries, instead of the earlier ones under their keys; an empty
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;

    #[test]
    fn a_caller_asks_for_timing_by_the_value_1_however_the_name_is_written() {
        for (meta, asks) in [
            (r#"{"timing":"1"}"#, true),
            (r#"{"traceparent":"00-ab","\u0074iming":"1"}"#, true),
            (r#"{"timing":"0"}"#, false),
            (r#"{"timing":"1","timing":"0"}"#, false),
            (r#"{"timings":"1"}"#, false),
            (r#"{"a":"timing","b":"1"}"#, false),
            ("{}", false),
        ] {
            let line = format!(r#"{{"cmdid":0,"meta":{meta}}}"#);
            let request = Request::decode(line.as_bytes()).unwrap();
            assert_eq!(request.meta.asks_for_timing(), asks, "{meta}");
        }
        assert!(!Meta::default().asks_for_timing());
    }
}
