//! JSON Schemas as types with names.
//!
//! What is not understood of a schema is any value. Definitions of the same name and content, also those of other commands,
//! are one type.

use std::collections::HashMap;

use rpc_core::{Descriptor, ErrorDescriptor, Kind};
use serde_json::{Map, Value};

use super::api::{Declared, Field, OwnError, Params, Presence, Shape, Type};
use super::names::{Names, pascal};
use super::node::{
    alternative_name, alternatives, content, definition, description, is_empty, is_object,
    literals, merged, reference, texts, title, types,
};

/// Types so far, and the names that they have taken.
pub(crate) struct Lowering {
    names: Names,
    declared: Vec<Declared>,
    /// Places in `declared`, by what a schema calls the type and what it says of it.
    known: HashMap<(String, String), usize>,
}

/// The document of a schema, and the command that has it.
#[derive(Clone, Copy)]
struct Document<'a> {
    root: &'a Value,
    command: &'a Descriptor,
}

impl Lowering {
    pub(crate) fn new(names: Names) -> Self {
        Self {
            names,
            declared: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// The types. An alternative that is the whole again says nothing, and is any value: no language has it.
    pub(crate) fn declared(mut self) -> Vec<Declared> {
        for place in 0..self.declared.len() {
            if self.is_part_of_itself(place) {
                self.declared[place].shape = Shape::Alias(Type::Any);
            }
        }
        self.declared
    }

    fn is_part_of_itself(&self, place: usize) -> bool {
        let mut seen = Vec::new();
        let mut open = vec![place];
        while let Some(next) = open.pop() {
            let Shape::Alias(ty) = &self.declared[next].shape else {
                continue;
            };

            let alternatives = match ty {
                Type::Union(types) => types.as_slice(),
                ty => std::slice::from_ref(ty),
            };

            for alternative in alternatives {
                let named = |it: &Declared| *alternative == Type::Named(it.name.clone());
                let Some(found) = self.declared.iter().position(named) else {
                    continue;
                };

                if found == place {
                    return true;
                }
                if !seen.contains(&found) {
                    seen.push(found);
                    open.push(found);
                }
            }
        }

        false
    }

    /// The types of a command's params and data.
    pub(crate) fn command(&mut self, command: &Descriptor) -> (Params, Type) {
        let params = match &command.params {
            Some(schema) => self.params(command, schema),
            None => Params::Value(Type::Any),
        };
        let data = match &command.data {
            Some(schema) => {
                let part = if command.kind == Kind::Stream {
                    "item"
                } else {
                    "data"
                };
                let document = Document {
                    root: schema,
                    command,
                };
                self.root(document, &format!("{}_{part}", command.method))
            }
            // What is described otherwise has no data then.
            None if command.kind == Kind::Oneway || command.params.is_some() => Type::Null,
            None => Type::Any,
        };

        (params, data)
    }

    fn params(&mut self, command: &Descriptor, schema: &Value) -> Params {
        if is_empty(schema) {
            return Params::None;
        }

        let document = Document {
            root: schema,
            command,
        };
        let ty = self.root(document, &format!("{}_params", command.method));
        let Type::Named(name) = &ty else {
            return Params::Value(ty);
        };
        let declared = self.declared.iter().find(|it| it.name == *name);
        match declared.map(|it| &it.shape) {
            Some(Shape::Object { fields, more }) => Params::Object {
                name: name.clone(),
                fields: fields.clone(),
                more: more.clone(),
            },
            _ => Params::Value(ty),
        }
    }

    /// The class of an error, and the type of its details.
    pub(crate) fn error(&mut self, command: &Descriptor, error: &ErrorDescriptor) -> OwnError {
        let name = pascal(&error.name);
        let name = if name.ends_with("Error") {
            name
        } else {
            name + "Error"
        };
        let of_service = format!("{}{name}", pascal(&command.service));
        let class = self.names.claim(&[name, of_service]);

        let details = match &error.details {
            Some(schema) => {
                let document = Document {
                    root: schema,
                    command,
                };
                self.root(document, &format!("{}_details", error.name))
            }
            None => Type::Null,
        };
        OwnError {
            class,
            code: error.code,
            doc: error.doc.clone(),
            details,
        }
    }

    /// The type of a whole document. A scalar, a list and a map have no name there.
    fn root(&mut self, document: Document<'_>, fallback: &str) -> Type {
        let node = document.root;
        if reference(node).is_some() {
            return self.ty(document, node, fallback);
        }

        let is_named = is_object(node) || literals(node).is_some_and(|it| it.len() > 1);
        let is_tagged = alternatives(node).is_some_and(|them| {
            let is_null = |it: &&Value| types(it) == ["null"];
            title(node).is_some() && !them.iter().any(|it| is_null(&it))
        });
        if !is_named && !is_tagged {
            return self.ty(document, node, fallback);
        }
        // Names that begin so, and that of the method, are made by the attribute of the service.
        let is_made = |title: &&str| title.starts_with("__") || *title == document.command.method;
        let name = title(node).filter(|title| !is_made(title));
        self.named(document, name.unwrap_or(fallback), node)
    }

    /// A type with a name: that which it has already, where it is known.
    fn named(&mut self, document: Document<'_>, preferred: &str, node: &Value) -> Type {
        let key = (preferred.to_owned(), content(document.root, node));
        if let Some(place) = self.known.get(&key) {
            return Type::Named(self.declared[*place].name.clone());
        }

        let [own, service, method] = [
            preferred,
            &format!("{}_{preferred}", document.command.service),
            &format!(
                "{}_{}_{preferred}",
                document.command.service, document.command.method
            ),
        ]
        .map(pascal);
        let name = self.names.claim(&[own, service, method]);

        // Before its members are looked at: one of them may be of this type.
        let place = self.declared.len();
        self.known.insert(key, place);
        self.declared.push(Declared {
            name: name.clone(),
            doc: description(node).to_owned(),
            shape: Shape::Alias(Type::Any),
        });
        let shape = self.shape(document, node, &name);
        self.declared[place].shape = shape;
        Type::Named(name)
    }

    fn shape(&mut self, document: Document<'_>, node: &Value, name: &str) -> Shape {
        if let Some(values) = literals(node) {
            return Shape::Literals(values);
        }
        let Some(object) = node.as_object().filter(|_| is_object(node)) else {
            return Shape::Alias(self.unnamed(document, node, name));
        };

        let more = match object.get("additionalProperties") {
            None | Some(Value::Bool(false)) => None,
            Some(schema) => Some(self.ty(document, schema, &format!("{name}_more"))),
        };
        Shape::Object {
            fields: self.fields(document, object, name),
            more,
        }
    }

    /// The members of an object: those that must be there in the order in which the schema demands them, then the others.
    fn fields(
        &mut self,
        document: Document<'_>,
        object: &Map<String, Value>,
        parent: &str,
    ) -> Vec<Field> {
        let required: Vec<_> = texts(object.get("required")).collect();
        let properties = object.get("properties").and_then(Value::as_object);
        let mut properties: Vec<_> = properties.into_iter().flatten().collect();
        properties.sort_by_key(|(name, _)| {
            let place = required.iter().position(|it| it == name);
            place.unwrap_or(usize::MAX)
        });

        let fields = properties.into_iter().map(|(name, node)| Field {
            name: name.clone(),
            ty: self.ty(document, node, &format!("{parent}_{name}")),
            presence: if required.contains(&name.as_str()) {
                Presence::Required
            } else {
                Presence::Optional
            },
            doc: description(node).to_owned(),
        });
        fields.collect()
    }

    /// The type of a schema. `fallback` is the name of an object that has none.
    fn ty(&mut self, document: Document<'_>, node: &Value, fallback: &str) -> Type {
        if let Some(reference) = reference(node) {
            return match definition(document.root, reference) {
                Some((name, target)) => self.named(document, name, target),
                None => Type::Any,
            };
        }
        if is_object(node) {
            let name = title(node).unwrap_or(fallback);
            return self.named(document, name, node);
        }
        self.unnamed(document, node, fallback)
    }

    fn unnamed(&mut self, document: Document<'_>, node: &Value, fallback: &str) -> Type {
        if let Some(values) = literals(node) {
            return Type::Literals(values.into_iter().map(|(value, _)| value).collect());
        }
        if let Some(alternatives) = alternatives(node) {
            let alternatives = alternatives
                .iter()
                .enumerate()
                .map(|(number, alternative)| {
                    let merged = merged(document.root, node, alternative);
                    let alternative = merged.as_ref().unwrap_or(alternative);
                    let name = alternative_name(fallback, alternative, number + 1);
                    self.ty(document, alternative, &name)
                });
            let alternatives: Vec<_> = alternatives.collect();
            return Type::one_of(alternatives);
        }
        if let Some([only]) = node
            .get("allOf")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        {
            return self.ty(document, only, fallback);
        }

        let types = types(node).into_iter().map(|name| match name {
            "null" => Type::Null,
            "boolean" => Type::Bool,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "string" => Type::Text,
            "array" => self.list(document, node, fallback),
            "object" => match node.get("additionalProperties") {
                Some(values) if values.is_object() => {
                    let values = self.ty(document, values, &format!("{fallback}_value"));
                    Type::Map(Box::new(values))
                }
                _ => Type::Map(Box::new(Type::Any)),
            },
            _ => Type::Any,
        });
        let types: Vec<_> = types.collect();
        Type::one_of(types)
    }

    fn list(&mut self, document: Document<'_>, node: &Value, fallback: &str) -> Type {
        if let Some(places) = node.get("prefixItems").and_then(Value::as_array) {
            let places = places.iter().enumerate();
            let places = places.map(|(number, place)| {
                self.ty(document, place, &format!("{fallback}_{}", number + 1))
            });
            return Type::Tuple(places.collect());
        }
        let items = match node.get("items") {
            Some(items) => self.ty(document, items, &format!("{fallback}_item")),
            None => Type::Any,
        };
        Type::List(Box::new(items))
    }
}
