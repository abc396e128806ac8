//! Cursors of resumable streams: the place in a stream from which a further call goes on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::frame::RawJson;

/// A member of a cursor: where an item has it, and which param takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The member of an item's `data`.
    pub cursor: Cow<'static, str>,
    /// The param of the call that goes on behind the item.
    pub param: Cow<'static, str>,
}

impl Resume {
    /// The member `cursor` of an item is the param `param` of the call that goes on behind it.
    pub const fn new(cursor: &'static str, param: &'static str) -> Self {
        Self {
            cursor: Cow::Borrowed(cursor),
            param: Cow::Borrowed(param),
        }
    }
}

/// A place in a stream: the params that a call has which goes on from there.
///
/// ```
/// use rpc_core::{Cursor, RawJson, Resume};
///
/// let members = [Resume::new("next", "after")];
/// let cursor = Cursor::behind(&members, br#"{"entries":[],"next":17}"#).unwrap();
/// assert_eq!(cursor.to_string(), r#"{"after":17}"#);
///
/// let params = RawJson::parse(r#"{"log":"a","after":3}"#).unwrap();
/// assert_eq!(cursor.params(&params).as_str(), r#"{"after":17,"log":"a"}"#);
/// ```
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Cursor(BTreeMap<String, Box<RawValue>>);

impl Cursor {
    /// The place behind this item. None where it has no such members.
    pub fn behind(members: &[Resume], item: &[u8]) -> Option<Self> {
        let item: BTreeMap<&str, &RawValue> = serde_json::from_slice(item).ok()?;
        let found = members.iter().map(|member| {
            let value = item.get(&*member.cursor)?;
            Some((member.param.to_string(), (*value).to_owned()))
        });
        found.collect::<Option<_>>().map(Self)
    }

    /// Reads what [`to_string`](ToString::to_string) writes. None where it is not an object of exactly the params of
    /// these members.
    pub fn parse(members: &[Resume], text: &str) -> Option<Self> {
        let params: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).ok()?;
        let is_right = params.len() == members.len()
            && members
                .iter()
                .all(|member| params.contains_key(&*member.param));
        is_right.then_some(Self(params))
    }

    /// The params with those of this place. Params that are not an object, as those of a method with one argument may
    /// be, are the value of a cursor that has only one.
    pub fn params(&self, params: &RawJson<'_>) -> RawJson<'static> {
        let text = params.as_str();
        let own = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text);

        let written = match (own, self.0.values().next()) {
            (Err(_), Some(value)) if self.0.len() == 1 => RawJson::parse(value.get()).ok(),
            (own, _) => {
                let mut all = own.unwrap_or_default();
                all.extend(self.0.clone());
                RawJson::serialize(&all).ok()
            }
        };
        written.unwrap_or_else(|| params.clone().into_owned())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: [Resume; 2] = [Resume::new("log", "log"), Resume::new("next", "after")];

    #[test]
    fn a_cursor_is_taken_of_an_item_and_put_into_the_params() {
        let item = br#"{"next":17,"log":"a\"b","entries":[{"next":1}]}"#;
        let cursor = Cursor::behind(&MEMBERS, item).unwrap();
        assert_eq!(cursor.to_string(), r#"{"after":17,"log":"a\"b"}"#);

        let params = |text| cursor.params(&RawJson::parse(text).unwrap());
        assert_eq!(
            params(r#"{"limit":5,"after":0}"#).as_str(),
            r#"{"after":17,"limit":5,"log":"a\"b"}"#
        );
        assert_eq!(params("{}").as_str(), r#"{"after":17,"log":"a\"b"}"#);

        for item in [&b"17"[..], b"{\"next\":17}", b"[]", b"{"] {
            assert!(Cursor::behind(&MEMBERS, item).is_none());
        }
    }

    #[test]
    fn a_method_with_one_argument_takes_the_value_itself() {
        let members = [Resume::new("next", "after")];
        let cursor = Cursor::behind(&members, b"{\"next\":17}").unwrap();
        let params = |text| cursor.params(&RawJson::parse(text).unwrap());
        assert_eq!(params("3").as_str(), "17");
        assert_eq!(params("{\"after\":3}").as_str(), "{\"after\":17}");
    }

    #[test]
    fn what_a_peer_gives_back_has_the_params_of_the_cursor_and_no_others() {
        let parse = |text| Cursor::parse(&MEMBERS, text).map(|cursor| cursor.to_string());
        let whole = r#"{"after":17,"log":"a"}"#;
        assert_eq!(parse(whole).as_deref(), Some(whole));
        for wrong in [
            r#"{"after":17}"#,
            r#"{"after":17,"log":"a","limit":1}"#,
            r#"{"after":17,"limit":1}"#,
            "17",
            "",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
