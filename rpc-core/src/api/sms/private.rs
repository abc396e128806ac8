//! Reads numbers and texts so that no error repeats them. The errors of serde repeat a value of the wrong type.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A string that no error repeats.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl TextVisitor {
    fn refused<E: Error>(kind: &str) -> Result<String, E> {
        Err(E::custom(format_args!(
            "invalid type: {kind}, expected a string"
        )))
    }
}

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<String, E> {
        Ok(text)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<String, E> {
        Self::refused("a number")
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<String, E> {
        Self::refused("a number")
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<String, E> {
        Self::refused("a number")
    }
}

pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Text::deserialize(deserializer).map(|Text(text)| text)
}

pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let text = Option::<Text>::deserialize(deserializer)?;
    Ok(text.map(|Text(text)| text))
}

/// Names and values.
pub(super) fn values<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let values = BTreeMap::<String, Text>::deserialize(deserializer)?;
    let values = values.into_iter().map(|(name, Text(value))| (name, value));
    Ok(values.collect())
}

#[cfg(test)]
mod tests {
    use crate::api::sms::{List, OptOut, Send};

    #[test]
    fn a_number_or_text_of_the_wrong_type_is_not_repeated() {
        for json in [
            r#"{"to":8613800138000,"text":"a"}"#,
            r#"{"to":-8613800138000,"text":"a"}"#,
            r#"{"to":8613800138000.5,"text":"a"}"#,
            r#"{"to":"+1","text":13800138000}"#,
            r#"{"to":"+1","template":"a","vars":{"code":13800138000}}"#,
        ] {
            let error = serde_json::from_str::<Send>(json).err().unwrap();
            let error = error.to_string();
            assert!(
                error.contains("expected a string") && !error.contains("13800138"),
                "{error}"
            );
        }

        let opt_out = serde_json::from_str::<OptOut>(r#"{"to":13800138000,"action":"get"}"#);
        assert!(!opt_out.err().unwrap().to_string().contains("13800138"));
        let list = serde_json::from_str::<List>(r#"{"to":13800138000}"#);
        assert!(!list.err().unwrap().to_string().contains("13800138"));
    }

    #[test]
    fn what_is_right_is_read_as_before() {
        let json = r#"{"to":"+1","text":"a\n","vars":{"b":"c"}}"#;
        let send: Send = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&send).unwrap(), json);

        let nothing: Send = serde_json::from_str(r#"{"to":"+1","text":null}"#).unwrap();
        assert_eq!((nothing.text, nothing.vars.len()), (None, 0));
    }
}
