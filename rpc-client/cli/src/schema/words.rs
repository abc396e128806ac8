//! A schema in words, as a table of fields, and as an example.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::Schema;
use super::check::listed;

/// Depth at which an example ends: a schema may refer to itself.
const DEPTH_MAX: usize = 8;

/// Depth of the fields that are shown: those of objects within objects have their paths for names.
const FIELDS_DEPTH_MAX: usize = 3;

/// One field of an object.
pub(crate) struct Field<'a> {
    /// Its name, or its path as `address.city` and `lines[].item`.
    pub(crate) name: String,
    /// What it takes.
    pub(crate) words: String,
    /// Whether it must be there, or what it is otherwise.
    pub(crate) presence: String,
    pub(crate) doc: Cow<'a, str>,
    schema: Schema<'a>,
}

impl<'a> Schema<'a> {
    /// What a value is, as in "it is an integer, 0 or more".
    pub(crate) fn in_words(self) -> String {
        let schema = self.resolved();
        if let Some(values) = schema.values() {
            return match values.as_slice() {
                [only] => listed(&[*only]),
                values => format!("one of {}", listed(values)),
            };
        }

        let only = schema.without_null();
        if !std::ptr::eq(only.node, schema.node) {
            return only.in_words();
        }
        if let Some(alternatives) = schema.alternatives() {
            let words: Vec<_> = alternatives.into_iter().map(Self::in_words).collect();
            return words.join(", or ");
        }

        let types: Vec<_> = schema.types();
        let words = types
            .iter()
            .filter(|name| **name != "null" || types.len() == 1)
            .map(|name| schema.type_in_words(name));
        let words: Vec<_> = words.collect();
        if words.is_empty() {
            "any JSON".to_owned()
        } else {
            words.join(" or ")
        }
    }

    fn type_in_words(self, name: &str) -> String {
        match name {
            "string" => {
                let form = self.text("format").map(|form| format!(" as {form}"));
                let pattern = self.text("pattern");
                let pattern = pattern.map(|pattern| format!(" that matches `{pattern}`"));
                let count = self.count("minLength", "maxLength", "characters");

                [
                    "a text",
                    &count,
                    &form.unwrap_or_default(),
                    &pattern.unwrap_or_default(),
                ]
                .concat()
            }
            "integer" => format!("an integer{}", self.range()),
            "number" => format!("a number{}", self.range()),
            "boolean" => "true or false".to_owned(),
            "null" => "null".to_owned(),
            "array" => {
                let count = self.count("minItems", "maxItems", "items");
                match self.get("items") {
                    Some(items) => format!("a list{count}, each {}", self.at(items).in_words()),
                    None => format!("a list{count}"),
                }
            }
            "object" => "an object".to_owned(),
            other => other.to_owned(),
        }
    }

    /// How many characters or items there are.
    fn count(self, least: &str, most: &str, what: &str) -> String {
        let least = self.get(least).filter(|least| **least != json!(0));
        match (least, self.get(most)) {
            (Some(least), Some(most)) => format!(" of {least} to {most} {what}"),
            (Some(least), None) => format!(" of at least {least} {what}"),
            (None, Some(most)) => format!(" of at most {most} {what}"),
            (None, None) => String::new(),
        }
    }

    fn range(self) -> String {
        // Types of Rust have limits that say nothing to a person.
        let is_said = |value: &&Value| value.as_f64().is_none_or(|it| it.abs() < 4_294_967_295.0);
        let least = self.get("minimum").filter(is_said);
        let most = self.get("maximum").filter(is_said);
        match (least, most) {
            (Some(least), Some(most)) => format!(" from {least} to {most}"),
            (Some(least), None) => format!(", {least} or more"),
            (None, Some(most)) => format!(", {most} or less"),
            (None, None) => String::new(),
        }
    }

    /// The fields of an object, those that must be there first, each followed by the fields within it; none if it is
    /// not an object.
    pub(crate) fn fields(self) -> Vec<Field<'a>> {
        let mut fields = self.own_fields();
        if fields.is_empty()
            && let Some(items) = self.resolved().get("items")
        {
            fields = self.at(items).own_fields();
        }
        let mut all = Vec::new();
        for field in fields {
            let (name, own) = (field.name.clone(), field.schema);
            all.push(field);
            own.fields_within(&name, 1, &mut all);
        }
        all
    }

    fn fields_within(self, path: &str, depth: usize, all: &mut Vec<Field<'a>>) {
        if depth >= FIELDS_DEPTH_MAX {
            return;
        }

        let schema = self.resolved().without_null();
        let (mark, within) = match schema.get("items") {
            Some(items) => ("[]", schema.at(items)),
            None => ("", schema),
        };
        for mut field in within.own_fields() {
            field.name = format!("{path}{mark}.{}", field.name);
            let (name, own) = (field.name.clone(), field.schema);
            all.push(field);
            own.fields_within(&name, depth + 1, all);
        }
    }

    fn own_fields(self) -> Vec<Field<'a>> {
        let schema = self.resolved();
        let properties = schema.properties().into_iter().flatten();
        let mut fields: Vec<_> = properties
            .map(|(name, node)| schema.field(name, node))
            .collect();

        fields.sort_by_key(|field| field.presence != "required");
        fields
    }

    fn field(self, name: &str, node: &'a Value) -> Field<'a> {
        let own = Schema { node, ..self };
        let resolved = own.resolved();
        let doc = if own.doc().is_empty() {
            resolved.without_null().doc()
        } else {
            own.doc()
        };

        Field {
            name: name.to_owned(),
            words: resolved.in_words(),
            presence: if self.is_required(name) {
                "required".to_owned()
            } else {
                match own.get("default") {
                    None | Some(Value::Null) => "optional".to_owned(),
                    Some(value) => format!("default {value}"),
                }
            },
            doc,
            schema: resolved,
        }
    }

    /// A value that fits, with the fields that must be there.
    pub(crate) fn example(self) -> Value {
        self.resolved().example_at(0)
    }

    fn example_at(self, depth: usize) -> Value {
        if let Some(example) = self.get("examples").and_then(|list| list.get(0)) {
            return example.clone();
        }
        if let Some(default) = self.get("default").filter(|value| !value.is_null()) {
            return default.clone();
        }
        if let Some(first) = self.values().and_then(|values| values.first().copied()) {
            return first.clone();
        }
        if let Some(alternatives) = self.alternatives().filter(|_| depth < DEPTH_MAX) {
            let first = alternatives.into_iter().find(|it| it.types() != ["null"]);
            return first.map_or(Value::Null, |it| it.example_at(depth + 1));
        }

        match self.types().first().copied() {
            Some("string") => json!("…"),
            Some("integer" | "number") => self.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(true),
            Some("array") if depth < DEPTH_MAX => match self.get("items") {
                Some(items) => json!([self.at(items).example_at(depth + 1)]),
                None => json!([]),
            },
            Some("array") => json!([]),
            Some("object") => Value::Object(self.example_fields(depth)),
            _ => json!({}),
        }
    }

    fn example_fields(self, depth: usize) -> Map<String, Value> {
        let properties = self.properties().into_iter().flatten();
        properties
            .filter(|(name, _)| self.is_required(name) && depth < DEPTH_MAX)
            .map(|(name, node)| (name.clone(), self.at(node).example_at(depth + 1)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_put_in_words_with_those_that_must_be_there_first() {
        let schema = json!({
            "type": "object",
            "required": ["level", "at"],
            "properties": {
                "at": {"type": "integer", "minimum": 0, "format": "uint64", "description": "Where."},
                "big": {"type": "integer", "minimum": 0, "maximum": 18_446_744_073_709_551_615_u64},
                "deep": {"type": "array", "items": {"type": "string"}, "default": []},
                "level": {"$ref": "#/$defs/Level"},
                "note": {"type": ["string", "null"]},
                "of": {"anyOf": [{"$ref": "#/$defs/Level"}, {"type": "null"}]},
            },
            "$defs": {"Level": {"enum": ["low", "high"], "description": "How grave an event\nis.\n\nMore."}},
        });

        let fields = Schema::new(&schema).fields();
        let fields: Vec<_> = fields
            .iter()
            .map(|it| {
                [
                    it.name.as_str(),
                    it.words.as_str(),
                    it.presence.as_str(),
                    &it.doc,
                ]
                .join(" | ")
            })
            .collect();
        assert_eq!(
            fields,
            [
                "at | an integer, 0 or more | required | Where.",
                "level | one of low, high | required | How grave an event is.",
                "big | an integer, 0 or more | optional | ",
                "deep | a list, each a text | default [] | ",
                "note | a text | optional | ",
                "of | one of low, high | optional | How grave an event is.",
            ]
        );
        let example = Schema::new(&schema).example();
        assert_eq!(example, json!({"at": 0, "level": "low"}));
        assert_eq!(Schema::new(&schema).check(&example, "params"), Ok(()));
    }

    #[test]
    fn fields_within_fields_have_their_paths_and_limits_are_told() {
        let schema = json!({
            "type": "object",
            "required": ["lines"],
            "properties": {
                "lines": {"type": "array", "minItems": 1, "maxItems": 9, "items": {"$ref": "#/$defs/Line"}},
                "to": {"anyOf": [{"$ref": "#/$defs/To"}, {"type": "null"}]},
            },
            "$defs": {
                "Line": {"type": "object", "required": ["item"], "properties": {
                    "item": {"type": "string", "minLength": 1, "maxLength": 20, "pattern": "^[a-z]+$"},
                }},
                "To": {"type": "object", "properties": {
                    "since": {"type": "string", "format": "date-time"},
                    "to": {"$ref": "#/$defs/To"},
                }},
            },
        });

        let fields = Schema::new(&schema).fields();
        let fields: Vec<_> = fields
            .iter()
            .map(|it| [it.name.as_str(), it.words.as_str()].join(" | "))
            .collect();
        assert_eq!(
            fields,
            [
                "lines | a list of 1 to 9 items, each an object",
                "lines[].item | a text of 1 to 20 characters that matches `^[a-z]+$`",
                "to | an object",
                "to.since | a text as date-time",
                "to.to | an object",
                "to.to.since | a text as date-time",
                "to.to.to | an object",
            ]
        );
    }
}
