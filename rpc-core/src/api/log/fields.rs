//! The fields of an entry: JSON that is kept unchanged.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Error;
use serde_json::value::RawValue;

/// Maximum depth of objects and arrays in [`Fields`], whose own object is the first level. JSON readers refuse text
/// that is deeper than a limit of their own, which is 128 in `serde_json`.
pub const FIELDS_DEPTH_MAX: usize = 64;

/// Further data of an entry: a JSON object, kept as it was written.
///
/// Numbers keep their digits, and members keep their order. A name may occur only once, because a reader would see only
/// one of two members with the same name.
///
/// ```
/// use rpc_core::api::log::Fields;
///
/// let fields: Fields = r#"{"order":12345678901234567890123,"price":1.50}"#.parse()?;
/// assert_eq!(fields.get("order").unwrap().get(), "12345678901234567890123");
///
/// let fields = Fields::of(&serde_json::json!({ "user": 4211 }))?;
/// assert_eq!(fields.as_str(), r#"{"user":4211}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Fields(Box<RawValue>);

impl Fields {
    /// Writes a value that is an object in JSON: a struct, a map, an object made by `json!`.
    ///
    /// # Errors
    /// The value has no JSON form or is not an object; otherwise as [`FromStr`].
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        Self::try_from(serde_json::value::to_raw_value(value)?)
    }

    /// The JSON text, on one line.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The JSON text, as `serde_json` has it.
    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }

    /// The value of one field as it was written; `None` if there is no such field.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    }

    /// Each name with its value as it was written, by name.
    pub fn iter(&self) -> impl Iterator<Item = (String, &RawValue)> {
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_str(self.as_str()).unwrap_or_default();
        members.into_iter()
    }

    /// Decodes the object.
    ///
    /// # Errors
    /// Those of `serde_json`, with the first value that does not fit.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.as_str())
    }
}

impl TryFrom<Box<RawValue>> for Fields {
    type Error = Error;

    /// # Errors
    /// As [`FromStr`].
    fn try_from(raw: Box<RawValue>) -> Result<Self, Error> {
        let changed = match checked(raw.get())? {
            Cow::Borrowed(_) => return Ok(Self(raw)),
            Cow::Owned(changed) => changed,
        };

        RawValue::from_string(changed).map(Self)
    }
}

/// The text of fields on one line, of JSON text that is one value.
fn checked(text: &str) -> Result<Cow<'_, str>, Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    Object.deserialize(&mut reader)?;

    if !text.contains(['\n', '\r']) {
        return Ok(Cow::Borrowed(text));
    }

    // Inside a string a line break is always escaped, so these are all between tokens.
    Ok(Cow::Owned(text.replace(['\n', '\r'], " ")))
}

impl FromStr for Fields {
    type Err = Error;

    /// # Errors
    /// Text that is not one JSON object, is nested deeper than [`FIELDS_DEPTH_MAX`], has a name twice, or holds what no
    /// reader can take: half a surrogate pair, a number out of range.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::try_from(RawValue::from_string(text.trim().to_owned())?)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::try_from(raw).map_err(D::Error::custom)
    }
}

/// [`Fields`] that belong to a text from which they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldsRef<'a>(Cow<'a, str>);

impl<'a> FieldsRef<'a> {
    /// Reads text that is one JSON value.
    pub(super) fn read(text: &'a str) -> Result<Self, Error> {
        checked(text).map(Self)
    }

    /// The JSON text, on one line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a Fields> for FieldsRef<'a> {
    fn from(fields: &'a Fields) -> Self {
        Self(Cow::Borrowed(fields.as_str()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for FieldsRef<'a> {
    /// Refuses what [`Fields`] refuse, for the same reasons.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Self::read(raw.get()).map_err(D::Error::custom)
    }
}

impl PartialEq for Fields {
    /// Compares the text.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Fields {}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Fields {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fields".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object", "additionalProperties": true })
    }
}

/// Reads the object itself, whose names must differ.
struct Object;

impl<'de> DeserializeSeed<'de> for Object {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(Name(name)) = members.next_key::<Name<'de>>()? {
            if names.has(&name) {
                return Err(A::Error::custom(format_args!(
                    "the field `{name}` comes twice; give each field a name of its own"
                )));
            }

            names.add(name);
            members.next_value_seed(Nested { depth: 1 })?;
        }

        Ok(())
    }
}

/// The name of a field, which is copied only if something in it is escaped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Number of names that are compared one by one. It is faster than hashing, and most entries have fewer.
const NAMES_COMPARED: usize = 16;

/// The names that have come.
#[derive(Default)]
struct Names<'a> {
    first: Vec<Cow<'a, str>>,
    others: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    fn has(&self, name: &str) -> bool {
        self.first.iter().any(|known| known == name) || self.others.contains(name)
    }

    fn add(&mut self, name: Cow<'a, str>) {
        if self.first.len() < NAMES_COMPARED {
            self.first.push(name);
        } else {
            self.others.insert(name);
        }
    }
}

/// Reads a value inside of `depth` objects and arrays, all of it: what is only skipped is not checked.
#[derive(Clone, Copy)]
struct Nested {
    depth: usize,
}

impl Nested {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == FIELDS_DEPTH_MAX {
            return Err(E::custom(format_args!(
                "more than {FIELDS_DEPTH_MAX} levels deep"
            )));
        }

        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while members.next_key::<Name<'de>>()?.is_some() {
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_stays_as_it_was_written_on_one_line() {
        let check = |text: &str, kept: &str| {
            let fields: Fields = text.parse().expect(text);
            assert_eq!(fields.as_str(), kept);
            let again: Fields =
                serde_json::from_str(&serde_json::to_string(&fields).unwrap()).unwrap();
            assert_eq!(again, fields);
        };

        check("{}", "{}");
        check(
            r#"{"b":12345678901234567890123,"a":1.50,"c":{"x":1, "x":2}}"#,
            r#"{"b":12345678901234567890123,"a":1.50,"c":{"x":1, "x":2}}"#,
        );
        check("{\"a\"\r\n:\t[1,\n2]}\n", "{\"a\"  :\t[1, 2]}");
        check(r#"{"a":"\n\ud83d\ude00"}"#, r#"{"a":"\n\ud83d\ude00"}"#);
    }

    #[test]
    fn text_that_a_reader_could_not_take_as_it_is_is_refused() {
        let deep = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let refused = |text: &str, why: &str| {
            let shown: String = text.chars().take(80).collect();
            let error = text.parse::<Fields>().expect_err(&shown).to_string();
            assert!(error.contains(why), "{shown}: {error}");
        };

        assert!(deep(FIELDS_DEPTH_MAX).parse::<Fields>().is_ok());
        refused(&deep(FIELDS_DEPTH_MAX + 1), "more than 64 levels deep");
        refused(&deep(100_000), "more than 64 levels deep");
        refused(r#"{"a":1,"b":2,"a":1}"#, "the field `a` comes twice");
        refused(r#"{"a":1,"\u0061":2}"#, "the field `a` comes twice");
        let many = |last: &str| {
            let names: Vec<String> = (0..40).map(|n| format!("\"n{n}\":1")).collect();
            format!("{{{},\"{last}\":2}}", names.join(","))
        };
        refused(&many("n0"), "the field `n0` comes twice");
        refused(&many("n39"), "the field `n39` comes twice");
        assert!(many("n40").parse::<Fields>().is_ok());
        refused(r#"{"\ud800":1}"#, "hex escape");
        refused(r#"{"a":{"\ud800":1}}"#, "hex escape");
        refused(r#"{"a":"\ud800"}"#, "hex escape");
        refused(r#"{"a":1e999}"#, "out of range");
        for text in ["1", "[]", "\"\"", "null"] {
            refused(text, "expected an object");
        }
        refused("", "EOF");
        refused("{} {}", "trailing");
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        #[derive(Deserialize)]
        struct Known {
            user: u32,
        }

        let fields: Fields = r#"{"user":4211,"\u0061":[1, 2]}"#.parse().unwrap();
        assert_eq!(fields.get("a").map(RawValue::get), Some("[1, 2]"));
        assert_eq!(fields.get("user").map(RawValue::get), Some("4211"));
        assert!(fields.get("order").is_none());
        assert_eq!(fields.decode::<Known>().unwrap().user, 4211);
    }
}
