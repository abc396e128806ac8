//! JSON Schemas as parts of a document: what a node says, and what it refers to.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// An object with members of its own, or one that must have none.
pub(super) fn is_object(node: &Value) -> bool {
    let is_one = types(node) == ["object"] && alternatives(node).is_none();
    is_one && (has_properties(node) || is_empty(node))
}

fn has_properties(node: &Value) -> bool {
    let properties = node.get("properties").and_then(Value::as_object);
    properties.is_some_and(|properties| !properties.is_empty())
}

/// An object without members, as a command without arguments takes it.
pub(super) fn is_empty(node: &Value) -> bool {
    let is_closed = match node.get("additionalProperties") {
        None => title(node).is_some(),
        Some(more) => *more == Value::Bool(false),
    };
    is_closed && types(node) == ["object"] && alternatives(node).is_none() && !has_properties(node)
}

pub(super) fn reference(node: &Value) -> Option<&str> {
    node.get("$ref").and_then(Value::as_str)
}

/// What a reference means, with its name.
pub(super) fn definition<'a>(root: &'a Value, reference: &'a str) -> Option<(&'a str, &'a Value)> {
    let pointer = reference.strip_prefix('#')?;
    let target = root.pointer(pointer)?;
    let last = pointer.rsplit('/').next().filter(|last| !last.is_empty());
    Some((last.or(title(target)).unwrap_or("Root"), target))
}

pub(super) fn title(node: &Value) -> Option<&str> {
    node.get("title").and_then(Value::as_str)
}

pub(super) fn description(node: &Value) -> &str {
    let text = node.get("description").and_then(Value::as_str);
    text.unwrap_or_default()
}

pub(super) fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str)
}

pub(super) fn types(node: &Value) -> Vec<&str> {
    match node.get("type") {
        Some(Value::String(name)) => vec![name],
        list => texts(list).collect(),
    }
}

pub(super) fn alternatives(node: &Value) -> Option<&Vec<Value>> {
    let list = node.get("oneOf").or_else(|| node.get("anyOf"))?;
    list.as_array().filter(|list| !list.is_empty())
}

/// The values of a schema that counts them, each with what is said of it.
pub(super) fn literals(node: &Value) -> Option<Vec<(Value, String)>> {
    let is_literal = |value: &Value| match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Array(_) | Value::Object(_) => false,
    };

    let doc = || description(node).to_owned();
    let values = if let Some(value) = node.get("const") {
        vec![(value.clone(), doc())]
    } else if let Some(values) = node.get("enum").and_then(Value::as_array) {
        let doc = if values.len() == 1 {
            doc()
        } else {
            String::new()
        };
        values.iter().map(|it| (it.clone(), doc.clone())).collect()
    } else {
        // Alternatives that are all of that kind. Definitions keep their names.
        let values = alternatives(node)?
            .iter()
            .map(|alternative| match reference(alternative) {
                Some(_) => None,
                None => literals(alternative),
            });
        values.collect::<Option<Vec<_>>>()?.concat()
    };

    let are_literals = values.iter().all(|(value, _)| is_literal(value));
    (are_literals && !values.is_empty()).then_some(values)
}

/// An alternative with the members that all of them share: so an enum is described that has its tag, or its other
/// fields, in the same object.
pub(super) fn merged(root: &Value, node: &Value, alternative: &Value) -> Option<Value> {
    let shared = node.get("properties")?.as_object()?;
    let target = match reference(alternative) {
        Some(reference) => definition(root, reference)?.1,
        None => alternative,
    };

    let mut merged = target.as_object()?.clone();
    let mut properties = shared.clone();
    if let Some(own) = target.get("properties").and_then(Value::as_object) {
        properties.extend(own.clone());
    }
    let required = texts(node.get("required")).chain(texts(target.get("required")));
    let required: Vec<Value> = required.map(Value::from).collect();

    merged.insert("type".to_owned(), "object".into());
    merged.insert("properties".to_owned(), Value::Object(properties));
    merged.insert("required".to_owned(), Value::Array(required));
    Some(Value::Object(merged))
}

/// A name for an object among alternatives: by its tag, or by its only member.
pub(super) fn alternative_name(parent: &str, node: &Value, number: usize) -> String {
    let properties = node.get("properties").and_then(Value::as_object);
    let tag = properties.and_then(|properties| {
        let tags = properties
            .values()
            .filter_map(|it| it.get("const")?.as_str());
        let tag = tags.into_iter().next();
        tag.or_else(|| match properties.keys().collect::<Vec<_>>().as_slice() {
            [only] => Some(only.as_str()),
            _ => None,
        })
    });
    match tag {
        Some(tag) => format!("{parent}_{tag}"),
        None => format!("{parent}_{number}"),
    }
}

/// All that a schema says, with the definitions that it needs, by their names: two that say the same are one type.
pub(super) fn content(root: &Value, node: &Value) -> String {
    let mut needed = BTreeMap::new();
    let own = by_names(root, &without_heads(node), &mut needed);
    format!("{own} {needed:?}")
}

/// Without the members that belong to the head of a document.
fn without_heads(node: &Value) -> Value {
    let mut node = node.clone();
    if let Some(object) = node.as_object_mut() {
        for head in ["$schema", "$defs", "definitions", "title"] {
            object.remove(head);
        }
    }
    node
}

/// The node with names instead of references, which differ between documents, and the definitions behind them.
fn by_names(root: &Value, node: &Value, needed: &mut BTreeMap<String, String>) -> Value {
    match node {
        Value::Object(members) => {
            let mut named = Map::new();
            for (name, member) in members {
                named.insert(name.clone(), by_names(root, member, needed));
            }
            if let Some((name, target)) = reference(node).and_then(|it| definition(root, it)) {
                named.insert("$ref".to_owned(), name.into());
                if !needed.contains_key(name) {
                    // Before it is looked at: it may refer to itself.
                    needed.insert(name.to_owned(), String::new());
                    let target = by_names(root, &without_heads(target), needed);
                    needed.insert(name.to_owned(), target.to_string());
                }
            }
            Value::Object(named)
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| by_names(root, item, needed));
            Value::Array(items.collect())
        }
        scalar => scalar.clone(),
    }
}
