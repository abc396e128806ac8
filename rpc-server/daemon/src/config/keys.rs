//! The keys of the settings, as the JSON Schema of their types names them.

use serde_json::Value as Json;

use super::DaemonConfig;

pub(super) fn schema() -> Json {
    schemars::schema_for!(DaemonConfig).to_value()
}

/// The properties of a section, behind the reference that the schema makes of it.
pub(super) fn section_schema<'s>(schema: &'s Json, section: &str) -> &'s Json {
    properties_behind(schema, &schema["properties"][section])
}

/// What has the description of a section: its type, or its field where the type's is for programmers and has an example.
pub(super) fn described<'s>(schema: &'s Json, section: &str) -> &'s Json {
    let field = &schema["properties"][section];
    let group = type_behind(schema, field);
    match group["description"].as_str() {
        Some(text) if !text.contains("```") => group,
        _ => field,
    }
}

/// The properties of the tables of a list; null where it is no list of tables.
pub(super) fn list_schema<'s>(schema: &'s Json, list: &str) -> &'s Json {
    properties_behind(schema, &schema["properties"][list]["items"])
}

/// The properties of the type that this refers to.
fn properties_behind<'s>(schema: &'s Json, reference: &Json) -> &'s Json {
    &type_behind(schema, reference)["properties"]
}

/// The type that this refers to.
fn type_behind<'s>(schema: &'s Json, reference: &Json) -> &'s Json {
    let name = reference["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
        .unwrap_or_default();
    &schema["$defs"][name]
}

/// Every key there is, as `limits.frame_bytes_max`.
pub(super) fn known_keys() -> Vec<String> {
    let schema = schema();
    let object = |value: &Json| {
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect()
    };

    let top: Vec<String> = object(&schema["properties"]);
    let mut keys = Vec::new();
    for key in top {
        let inner: Vec<String> = object(section_schema(&schema, &key));
        if inner.is_empty() {
            keys.push(key);
        } else {
            keys.extend(inner.iter().map(|inner| format!("{key}.{inner}")));
        }
    }

    keys
}

/// The keys of the tables that may be given several times, as `listeners.address`.
pub(super) fn keys_of_lists() -> Vec<String> {
    let schema = schema();
    let mut keys = Vec::new();

    for (list, _) in schema["properties"].as_object().into_iter().flatten() {
        let inner = list_schema(&schema, list).as_object().into_iter().flatten();
        keys.extend(inner.map(|(inner, _)| format!("{list}.{inner}")));
    }

    keys
}

/// Names the known key that is most like this one.
pub(super) fn nearest(unknown: &str, known: &[String]) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let likeness = |key: &&String| {
        let whole = strsim::jaro_winkler(unknown, key);

        // The right key in the wrong section is near, too.
        whole.max(strsim::jaro_winkler(&last(unknown), &last(key)) - 0.01)
    };

    let best = known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.map(|key| format!("; did you mean `{key}`?"))
        .unwrap_or_default()
}

/// A message of serde about an unknown name, with the known one that is most like it instead of them all.
pub(super) fn with_nearest(message: &str) -> String {
    let Some((unknown, known)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let Some((_, name)) = unknown
        .strip_prefix("unknown ")
        .and_then(|rest| rest.split_once(' '))
    else {
        return message.to_owned();
    };

    let known: Vec<String> = known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let near = nearest(name.trim_matches('`'), &known);
    // Of a few names, all are told.
    match known.len() {
        0..=4 => format!("{message}{near}"),
        _ => format!("{unknown}{near}"),
    }
}

/// The known name of a variable that this one differs from by a slip of the hand.
pub(super) fn misspelled<'k>(unknown: &str, known: &'k [String]) -> Option<&'k String> {
    // Names of other programs begin alike, so likeness alone finds a near one for each of them.
    const SLIPS_MAX: usize = 2;

    known
        .iter()
        .map(|known| (strsim::osa_distance(unknown, known), known))
        .min_by_key(|(slips, _)| *slips)
        .filter(|(slips, _)| *slips <= SLIPS_MAX)
        .map(|(_, known)| known)
}
