//! Types in TypeScript: interfaces, literals and their unions.

use serde_json::Value;

use super::write_doc;
use crate::generate::api::{Declared, Field, Shape, Type};
use crate::generate::names::is_identifier;
use crate::generate::source::{Source, quoted};

pub(super) fn expression(ty: &Type) -> String {
    match ty {
        Type::Any => "unknown".to_owned(),
        Type::Null => "null".to_owned(),
        Type::Bool => "boolean".to_owned(),
        Type::Integer | Type::Number => "number".to_owned(),
        Type::Text => "string".to_owned(),
        Type::Literals(values) => {
            let values: Vec<_> = values.iter().map(literal).collect();
            values.join(" | ")
        }
        Type::List(items) => match items.as_ref() {
            Type::Union(_) | Type::Literals(_) | Type::List(_) | Type::Tuple(_) => {
                format!("readonly ({})[]", expression(items))
            }
            items => format!("readonly {}[]", expression(items)),
        },
        Type::Tuple(places) => {
            let places: Vec<_> = places.iter().map(expression).collect();
            format!("readonly [{}]", places.join(", "))
        }
        Type::Map(values) => format!("{{ readonly [name: string]: {} }}", expression(values)),
        Type::Union(types) => {
            let types: Vec<_> = types.iter().map(expression).collect();
            types.join(" | ")
        }
        Type::Named(name) => name.clone(),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        value => value.to_string(),
    }
}

pub(super) fn write_type(out: &mut Source, declared: &Declared) {
    let Declared { name, doc, shape } = declared;
    out.blank(1);
    match shape {
        Shape::Object { fields, more } => {
            write_doc(out, doc);

            // Another member may have any type, also one that those named do not have.
            let (begin, end) = match more {
                None => (format!("export interface {name} {{"), "}".to_owned()),
                Some(_) => (
                    format!("export type {name} = {{"),
                    "} & { readonly [name: string]: unknown };".to_owned(),
                ),
            };

            out.line(&begin);
            out.inner(|out| fields.iter().for_each(|field| write_field(out, field)));
            out.line(&end);
        }
        Shape::Literals(values) => {
            write_doc(out, doc);
            out.line(&format!("export type {name} ="));
            out.inner(|out| {
                for (number, (value, doc)) in values.iter().enumerate() {
                    write_doc(out, doc);
                    let end = if number + 1 == values.len() { ";" } else { "" };
                    out.line(&format!("| {}{end}", literal(value)));
                }
            });
        }
        Shape::Alias(ty) => {
            write_doc(out, doc);
            out.line(&format!("export type {name} = {};", expression(ty)));
        }
    }
}

fn write_field(out: &mut Source, field: &Field) {
    write_doc(out, &field.doc);
    let name = if is_identifier(&field.name) {
        field.name.clone()
    } else {
        quoted(&field.name)
    };
    let mark = if field.is_required() { "" } else { "?" };
    out.line(&format!(
        "readonly {name}{mark}: {};",
        expression(&field.ty)
    ));
}
