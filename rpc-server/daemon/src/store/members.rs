//! Looks into the fields of an entry: they are read as they are written, and none is kept, however many there are.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::filter::WantedField;

/// Whether an object has all of the wanted fields, which are in the order of their names.
pub(super) fn has_all(object: &RawValue, wanted: &[WantedField]) -> bool {
    let mut reader = serde_json::Deserializer::from_str(object.get());
    reader.deserialize_map(All(wanted)).unwrap_or(false)
}

/// Whether a text is part of a string of an object, at any depth. Names are not looked at.
pub(super) fn have_text(object: &RawValue, text: &str) -> bool {
    let mut reader = serde_json::Deserializer::from_str(object.get());
    HasText(text).deserialize(&mut reader).unwrap_or(false)
}

/// The name of a member.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct All<'w>(&'w [WantedField]);

impl<'de> Visitor<'de> for All<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let Self(wanted) = self;
        let mut is_there = vec![false; wanted.len()];
        while let Some(Name(name)) = members.next_key()? {
            let value: &RawValue = members.next_value()?;
            if let Ok(at) = wanted.binary_search_by(|field| field.name().cmp(&name)) {
                // Where a name comes twice, which no entry has that was checked, the last one counts.
                is_there[at] = wanted[at].has_value(value);
            }
        }

        Ok(is_there.into_iter().all(|is_there| is_there))
    }
}

/// Reads a value to its end; true once a string with the text was in it.
#[derive(Clone, Copy)]
struct HasText<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for HasText<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for HasText<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E>(self, string: &str) -> Result<bool, E> {
        Ok(string.contains(self.0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(has_text) = items.next_element_seed(self)? {
            found |= has_text;
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut found = false;
        while members.next_key::<IgnoredAny>()?.is_some() {
            found |= members.next_value_seed(self)?;
        }
        Ok(found)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn texts_are_found_at_any_depth_and_nowhere_but_in_strings() {
        let object = raw(r#"{"name":[1,{"x":"be\u0066ore"}],"n":12.5,"b":true,"e":null}"#);
        for text in ["before", "fore", ""] {
            assert!(have_text(&object, text), "{text}");
        }
        for text in ["name", "x", "12", "true", "null", "beyond"] {
            assert!(!have_text(&object, text), "{text}");
        }
        assert!(!have_text(&raw(r#"{"n":1}"#), ""));
    }

    #[test]
    fn all_wanted_fields_have_to_be_there_with_their_values() {
        let object = raw(r#"{"b":"one","\u0061":1.50,"c":{"d":1}}"#);
        let check = |wanted: &[(&str, &str)], expected: bool| {
            let wanted = wanted
                .iter()
                .map(|(name, value)| WantedField::new((*name).to_owned(), &raw(value)).unwrap());
            let wanted: Vec<WantedField> = wanted.collect();
            assert_eq!(has_all(&object, &wanted), expected, "{wanted:?}");
        };

        check(&[], true);
        check(&[("a", "1.50"), ("b", "\"one\"")], true);
        check(&[("a", "\"1.50\"")], true);
        check(&[("a", "1.5")], false);
        check(&[("a", "1.50"), ("b", "\"two\"")], false);
        check(&[("b", "\"one\""), ("d", "1")], false);
    }
}
