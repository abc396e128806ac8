//! JSON Schemas as a server describes params and data by: checked against, put in words, and read as flags.
//!
//! What is not understood of a schema allows anything: the server has the last word.

mod check;
mod covers;
mod flags;
mod unknown;
mod words;

use std::borrow::Cow;

use rpc_core::descriptor::first_paragraph;
use serde_json::{Map, Value};

pub(crate) use check::Misfit;
pub(crate) use covers::Part;

/// A schema within the document whose definitions it refers to.
#[derive(Clone, Copy)]
pub(crate) struct Schema<'a> {
    root: &'a Value,
    node: &'a Value,
    /// Whether another schema is about the same value, and may know of fields that this one does not.
    is_part: bool,
}

/// References that are followed in a row: a schema may refer to itself.
const REFERENCES_MAX: usize = 16;

impl<'a> Schema<'a> {
    pub(crate) fn new(document: &'a Value) -> Self {
        Self {
            root: document,
            node: document,
            is_part: false,
        }
    }

    fn at(self, node: &'a Value) -> Self {
        let is_part = false;
        Self {
            node,
            is_part,
            ..self
        }
        .resolved()
    }

    /// A schema about the same value, beside others.
    fn part_at(self, node: &'a Value) -> Self {
        Self {
            is_part: true,
            ..self.at(node)
        }
    }

    /// The schema that this one refers to, where it is a reference.
    fn resolved(mut self) -> Self {
        for _ in 0..REFERENCES_MAX {
            let reference = self.node.get("$ref").and_then(Value::as_str);
            let target = reference
                .and_then(|reference| reference.strip_prefix('#'))
                .and_then(|pointer| self.root.pointer(pointer));
            match target {
                Some(target) => self.node = target,
                None => return self,
            }
        }
        self
    }

    fn get(self, keyword: &str) -> Option<&'a Value> {
        self.node.get(keyword)
    }

    fn text(self, keyword: &str) -> Option<&'a str> {
        self.get(keyword)?.as_str()
    }

    fn limit(self, keyword: &str) -> Option<f64> {
        self.get(keyword)?.as_f64()
    }

    /// The description for a person: its first paragraph.
    fn doc(self) -> Cow<'a, str> {
        first_paragraph(self.text("description").unwrap_or_default())
    }

    /// The types that a value may have; none where any will do.
    fn types(self) -> Vec<&'a str> {
        match self.get("type") {
            Some(Value::String(name)) => vec![name.as_str()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn properties(self) -> Option<&'a Map<String, Value>> {
        self.get("properties")?.as_object()
    }

    fn is_required(self, property: &str) -> bool {
        let required = self.get("required").and_then(Value::as_array);
        required.is_some_and(|names| names.iter().any(|name| name == property))
    }

    /// The alternatives of `anyOf` or `oneOf`.
    fn alternatives(self) -> Option<Vec<Self>> {
        let list = self
            .get("anyOf")
            .or_else(|| self.get("oneOf"))?
            .as_array()?;
        let has_others = self.is_part || self.properties().is_some() || self.get("allOf").is_some();
        let alternatives = list.iter().map(|node| Self {
            is_part: has_others,
            ..self.at(node)
        });
        Some(alternatives.collect())
    }

    /// The values, where they are counted: `enum`, `const`, or alternatives that are all of that kind.
    fn values(self) -> Option<Vec<&'a Value>> {
        if let Some(value) = self.get("const") {
            return Some(vec![value]);
        }
        if let Some(values) = self.get("enum").and_then(Value::as_array) {
            return Some(values.iter().collect());
        }

        let alternatives = self.alternatives()?;
        let values: Option<Vec<_>> = alternatives.into_iter().map(Self::values).collect();
        values.map(|values| values.into_iter().flatten().collect())
    }

    /// This schema without the alternative `null`, where one other is left.
    fn without_null(self) -> Self {
        let Some(alternatives) = self.alternatives() else {
            return self;
        };
        let mut others = alternatives
            .into_iter()
            .filter(|alternative| alternative.types() != ["null"]);
        match (others.next(), others.next()) {
            (Some(only), None) => only,
            _ => self,
        }
    }
}
