//! [`RawJson`]: one JSON value as text.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::buffers::Scratch;
use super::by_name;
use super::scan::{Scanner, SyntaxError};
use super::unverified::Unverified;
use super::write::{keep_on_one_line, push_value};

/// One JSON value as text that is valid and holds no line break: `params` and `data` before they are
/// decoded into a type.
///
/// ```
/// use rpc_core::RawJson;
///
/// let raw = RawJson::serialize(&[1, 2, 3]).unwrap();
/// assert_eq!(raw.as_str(), "[1,2,3]");
/// assert_eq!(raw.decode::<Vec<u8>>().unwrap(), [1, 2, 3]);
/// assert!(RawJson::parse("{\"a\":}").is_err());
/// ```
#[derive(Clone)]
pub struct RawJson<'a>(Text<'a>);

#[derive(Clone)]
enum Text<'a> {
    Borrowed(&'a str),
    /// Part of a line that has not been scanned.
    Unverified(&'a Unverified<'a>),
    Owned(Scratch),
}

impl RawJson<'static> {
    /// `{}`, what `params` are where the field is missing.
    pub const EMPTY_OBJECT: Self = Self(Text::Borrowed("{}"));
    /// `null`.
    pub const NULL: Self = Self(Text::Borrowed("null"));

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// Where the value has no JSON form: a map whose keys are no strings, or a `Serialize` that
    /// fails by itself.
    pub fn serialize(value: &(impl Serialize + ?Sized)) -> Result<Self, serde_json::Error> {
        Ok(Self(Text::Owned(Scratch::write(|bytes| {
            push_value(bytes, value)
        })?)))
    }

    /// Appends a value as JSON on one line, where a text has more parts than one value.
    ///
    /// ```
    /// let mut line = b"{\"name\":".to_vec();
    /// rpc_core::RawJson::push(&mut line, "a \"b\"")?;
    /// assert_eq!(line, br#"{"name":"a \"b\"""#);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`serialize`](Self::serialize). A part of the value may have been appended.
    pub fn push(
        out: &mut Vec<u8>,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), serde_json::Error> {
        push_value(out, value)
    }

    /// Takes bytes of a line, and checks that they are exactly one JSON value; otherwise gives them back.
    pub(crate) fn verified(bytes: Scratch) -> Result<Self, Scratch> {
        let is_text = std::str::from_utf8(bytes.as_bytes()).is_ok();
        let mut scanner = Scanner::new(bytes.as_bytes());
        // One level is the frame's own.
        let is_one_value = is_text && scanner.value(1).is_ok() && scanner.peek().is_none();

        match is_one_value {
            true => Ok(Self(Text::Owned(bytes))),
            false => Err(bytes),
        }
    }

    /// Takes text from elsewhere, and checks it.
    ///
    /// # Errors
    /// Where the text is not exactly one JSON value, or is nested deeper than a frame may be.
    pub fn parse(text: &str) -> Result<Self, InvalidJson> {
        let mut scanner = Scanner::new(text.as_bytes());
        let whole = (|| {
            scanner.skip_white_space();

            // One level is the frame's own.
            let value = scanner.value(1)?;
            scanner.skip_white_space();

            if scanner.peek().is_some() {
                scanner.error("unexpected text after the value")
            } else {
                Ok(value)
            }
        })();

        let mut bytes = whole.map_err(InvalidJson)?.to_vec();
        keep_on_one_line(&mut bytes);
        let text = String::from_utf8(bytes).expect("a JSON value cut out of a str is a str");
        Ok(Self(Text::Owned(Scratch::from(text))))
    }
}

impl<'a> RawJson<'a> {
    /// For text that a scanner has just passed, and that lay within one line.
    pub(crate) fn checked(text: &'a str) -> Self {
        Self(Text::Borrowed(text))
    }

    pub(crate) fn unverified(text: &'a Unverified<'a>) -> Self {
        Self(Text::Unverified(text))
    }

    /// Whether it is certain that this is JSON, which may have to be looked at for that.
    pub fn is_sound(&self) -> bool {
        match &self.0 {
            Text::Borrowed(_) | Text::Owned(_) => true,
            Text::Unverified(text) => text.is_sound(),
        }
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Borrowed(text) => text,
            Text::Unverified(text) => text.as_str(),
            Text::Owned(text) => text.as_str(),
        }
    }

    /// The bytes of the JSON text.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Borrowed(text) => text.as_bytes(),
            Text::Unverified(text) => text.as_str().as_bytes(),
            Text::Owned(text) => text.as_bytes(),
        }
    }

    /// Decodes into a typed value that owns its parts. A struct is read from an object only, not from an
    /// array with its fields in their order ([`ByName`](super::ByName)).
    ///
    /// # Errors
    /// `serde_json`'s: the first thing that does not fit, with its column.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.decode_borrowed()
    }

    /// Decodes into a typed value that may borrow strings from this text.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_borrowed<'s, T: Deserialize<'s>>(&'s self) -> Result<T, serde_json::Error> {
        match &self.0 {
            Text::Borrowed(text) => by_name::decode(text),
            Text::Unverified(text) => text.decode(),
            Text::Owned(text) => by_name::decode(text.as_str()),
        }
    }

    /// Reads the text in a way of its own, which is faster than [`decode`](Self::decode). What `read` returns a value
    /// for counts as exactly one JSON value from then on.
    #[doc(hidden)]
    pub fn read_by<'s, T>(&'s self, read: impl FnOnce(&'s str) -> Option<T>) -> Option<T> {
        match &self.0 {
            Text::Borrowed(text) => read(text),
            Text::Unverified(text) => text.read_by(read),
            Text::Owned(text) => read(text.as_str()),
        }
    }

    /// The same JSON, free of the line that it was read from.
    pub fn into_owned(self) -> RawJson<'static> {
        RawJson(Text::Owned(match self.0 {
            Text::Borrowed(text) => Scratch::of(text),
            Text::Unverified(text) => Scratch::of(text.as_str()),
            Text::Owned(text) => text,
        }))
    }
}

impl RawJson<'static> {
    /// The same JSON without the room that its buffer may have beside it: a value that was just written may take twice
    /// its length in memory. For values that are kept for a while.
    #[must_use]
    pub fn into_compact(self) -> Self {
        Self(match self.0 {
            Text::Owned(text) => Text::Owned(text.into_compact()),
            text => text,
        })
    }

    /// Number of bytes that it takes in memory beside its own size.
    ///
    /// ```
    /// use rpc_core::RawJson;
    ///
    /// let raw = RawJson::serialize("text").unwrap().into_compact();
    /// assert_eq!(raw.memory_bytes(), "\"text\"".len());
    /// assert_eq!(RawJson::EMPTY_OBJECT.memory_bytes(), 0);
    /// ```
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Text::Borrowed(_) | Text::Unverified(_) => 0,
            Text::Owned(text) => text.capacity(),
        }
    }
}

impl From<Box<RawValue>> for RawJson<'static> {
    fn from(value: Box<RawValue>) -> Self {
        let mut bytes = String::from(Box::<str>::from(value)).into_bytes();
        keep_on_one_line(&mut bytes);
        let text = String::from_utf8(bytes).expect("only ASCII bytes were replaced, by ASCII");
        Self(Text::Owned(Scratch::from(text)))
    }
}

impl Serialize for RawJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: &RawValue =
            serde_json::from_str(self.as_str()).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

/// JSON of any form, as an argument of a typed service's method or as a part of its params.
impl<'de> Deserialize<'de> for RawJson<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Into::into)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RawJson<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnyJson".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        true.into()
    }
}

impl fmt::Debug for RawJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RawJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for RawJson<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// Text that is not one JSON value: what is wrong, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidJson(SyntaxError);

impl InvalidJson {
    /// The byte of the text at which it is no longer one JSON value, counted from 0.
    pub fn at(&self) -> usize {
        self.0.at
    }
}

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid JSON at byte {}: {}", self.0.at, self.0.what)
    }
}

impl std::error::Error for InvalidJson {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_printed_raw_json_stays_on_one_line() {
        let pretty = serde_json::to_string_pretty(&serde_json::json!({"a": ["x\ny", 1]})).unwrap();
        let boxed = RawValue::from_string(pretty.clone()).unwrap();
        let as_struct = RawJson::serialize(&boxed).unwrap();

        for raw in [
            RawJson::parse(&pretty).unwrap(),
            RawJson::from(boxed),
            as_struct,
        ] {
            assert!(!raw.as_str().contains(['\n', '\r']), "{raw}");
            assert_eq!(raw.decode::<serde_json::Value>().unwrap()["a"][0], "x\ny");
        }
    }

    #[test]
    fn parse_takes_exactly_one_value_and_leaves_the_white_space_around_it() {
        assert_eq!(RawJson::parse(" [1] \n").unwrap().as_str(), "[1]");
        assert_eq!(RawJson::parse("\"é\"").unwrap().as_str(), "\"é\"");

        let error = RawJson::parse("1 2").unwrap_err();
        assert_eq!(
            error.to_string(),
            "not valid JSON at byte 2: unexpected text after the value"
        );
        assert_eq!(error.at(), 2);

        assert!(RawJson::parse("").is_err());
    }

    #[test]
    fn a_part_of_params_is_kept_as_it_was_written() {
        let params = RawJson::parse(r#"{"a": 1.0, "b": {"n": 12345678901234567890123}}"#).unwrap();
        let whole: RawJson<'static> = params.decode().unwrap();
        assert_eq!(whole, params);

        let parts: std::collections::BTreeMap<String, RawJson<'static>> = params.decode().unwrap();
        assert_eq!(parts["a"].as_str(), "1.0");
        assert_eq!(parts["b"].as_str(), r#"{"n": 12345678901234567890123}"#);
    }
}
