//! Texts in JSON.

use serde_json::Value as Json;

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
