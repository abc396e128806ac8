//! Places in JSON.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value as Json;
use serde_json::value::RawValue;

/// The text, number or truth value at a JSON pointer. The empty pointer stands for none.
pub fn text_at(json: &Json, pointer: &str) -> Option<String> {
    let found = json.pointer(pointer).filter(|_| !pointer.is_empty())?;
    match found {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(is) => Some(is.to_string()),
        _ => None,
    }
}

/// The items of the list at a JSON pointer (RFC 6901), each as it is written; `None` without a list.
pub fn list_at<'j>(json: &'j str, pointer: &str) -> Option<Vec<&'j str>> {
    let found = raw_at(json, pointer)?;
    let items: Vec<&RawValue> = serde_json::from_str(found).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

/// The value at a JSON pointer, as it is written.
fn raw_at<'j>(json: &'j str, pointer: &str) -> Option<&'j str> {
    let mut at = json;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let found: &RawValue = if at.trim_start().starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(at).ok()?;
            items.get(token.parse::<usize>().ok()?)?
        } else {
            let fields: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(at).ok()?;
            fields.get(token.as_str())?
        };
        at = found.get();
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_items_of_a_list_are_as_they_were_written() {
        let json = r#" {"a/b": [7, {"c~d": [ {"x": 1 }, "two" ,[3] ]}], "e": {}} "#;
        let check = |pointer: &str, expected: Option<&[&str]>| {
            assert_eq!(list_at(json, pointer).as_deref(), expected, "{pointer}");
        };

        check("/a~1b/1/c~0d", Some(&[r#"{"x": 1 }"#, r#""two""#, "[3]"]));
        check("/a~1b/1/c~0d/2", Some(&["3"]));
        check("/a~1b/2", None);
        check("/a~1b/x", None);
        check("/e", None);
        check("/f", None);
        assert_eq!(list_at("[1,2]", "").as_deref(), Some(&["1", "2"][..]));
        assert_eq!(list_at("{", "/a"), None);
    }
}
