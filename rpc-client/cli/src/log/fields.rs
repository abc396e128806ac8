//! Fields of entries: `KEY=TEXT` or `KEY:=JSON`.

use rpc_client::RawJson;
use serde::{Serialize, Serializer};

use crate::call::key_value;

/// Fields with keys that differ. Their JSON is not read into values, which would change large numbers.
pub(super) struct Fields(pub(super) Vec<Field>);

#[derive(Clone, PartialEq)]
pub(super) struct Field {
    pub(super) key: String,
    json: RawJson<'static>,
}

impl Fields {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|Field { key, json }| (key, json)))
    }
}

/// `KEY=TEXT` or `KEY:=JSON`.
pub(super) fn field(text: &str) -> Result<Field, String> {
    let (key, value) = key_value(text)?;
    match key.strip_suffix(':') {
        Some("") => Err("it must be KEY=TEXT or KEY:=JSON".into()),
        Some(key) => match RawJson::parse(&value) {
            Ok(json) => Ok(Field {
                key: key.to_owned(),
                json,
            }),
            Err(error) => Err(format!("`{value}` is not valid JSON: {error}")),
        },
        None => match RawJson::serialize(&value) {
            Ok(json) => Ok(Field { key, json }),
            Err(error) => Err(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_text_unless_it_says_json() {
        let check = |text: &str, key: &str, json: &str| {
            let field = field(text).unwrap();
            assert_eq!((field.key.as_str(), field.json.as_str()), (key, json));
        };

        check("user=4211", "user", "\"4211\"");
        check("user:=4211", "user", "4211");
        check("url=http://h/?a=b", "url", "\"http://h/?a=b\"");
        check("empty=", "empty", "\"\"");
        check("tags:=[\"a\"]", "tags", "[\"a\"]");
        check(
            "order:=12345678901234567890123",
            "order",
            "12345678901234567890123",
        );
        check("price:=1.50", "price", "1.50");

        for wrong in ["user", "=x", ":=1", "user:=x"] {
            assert!(field(wrong).is_err(), "{wrong}");
        }
    }
}
