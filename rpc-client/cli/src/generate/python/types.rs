//! Types in Python: `TypedDict`, `Literal` and their unions.

use serde_json::Value;

use super::scope::{BUILTINS, Scope};
use super::write_doc;
use crate::generate::api::{Declared, Field, Shape, Type};
use crate::generate::names::is_identifier;
use crate::generate::source::{Source, doc_lines, quoted};

/// Words that are no names in Python.
pub(super) const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// A type, as it is written in the module's own scope.
pub(super) fn expression(ty: &Type) -> String {
    expression_in(&Scope::default(), ty)
}

pub(super) fn expression_in(scope: &Scope, ty: &Type) -> String {
    let list = |items: &Type| {
        let items = expression_in(scope, items);
        format!("{}[{items}]", scope.builtin("list"))
    };

    match ty {
        Type::Any => "Any".to_owned(),
        Type::Null => "None".to_owned(),
        Type::Bool => scope.builtin("bool").into_owned(),
        Type::Integer => scope.builtin("int").into_owned(),
        Type::Number => scope.builtin("float").into_owned(),
        Type::Text => scope.builtin("str").into_owned(),
        Type::Literals(values) => literals(values),
        Type::List(items) => list(items),
        // JSON knows lists alone.
        Type::Tuple(places) => list(&Type::one_of(places.iter().cloned())),
        Type::Map(values) => {
            let values = expression_in(scope, values);
            let [dict, text] = ["dict", "str"].map(|name| scope.builtin(name));
            format!("{dict}[{text}, {values}]")
        }
        Type::Union(types) => {
            let types: Vec<_> = types.iter().map(|it| expression_in(scope, it)).collect();
            types.join(" | ")
        }
        Type::Named(name) => name.clone(),
    }
}

fn literals<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    let values = values.into_iter().map(|value| match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => quoted(text),
        value => value.to_string(),
    });
    let values: Vec<_> = values.collect();
    format!("Literal[{}]", values.join(", "))
}

pub(super) fn write_type(out: &mut Source, declared: &Declared) {
    let Declared { name, doc, shape } = declared;
    match shape {
        Shape::Object { fields, .. } => {
            out.blank(2);
            if fields.iter().all(is_usual) {
                write_class(out, name, doc, fields);
            } else {
                write_table(out, name, doc, fields);
            }
        }
        Shape::Literals(values) => {
            let listed = literals(values.iter().map(|(value, _)| value));
            write_alias(out, name, doc, &listed);
            for (value, doc) in values.iter().filter(|(_, doc)| !doc.is_empty()) {
                let said = literals([value]);
                let value = said.trim_start_matches("Literal[").trim_end_matches(']');
                write_comment(out, &format!("{value}: {doc}"));
            }
        }
        Shape::Alias(ty) if has_names(ty) => {
            write_alias(out, name, doc, &quoted(&expression(ty)));
        }
        Shape::Alias(ty) => write_alias(out, name, doc, &expression(ty)),
    }
}

/// A field that a class can declare. There, one with the name of a type would hide that from the others.
fn is_usual(field: &Field) -> bool {
    let name = field.name.as_str();
    is_identifier(name)
        && !KEYWORDS.contains(&name)
        && !BUILTINS.contains(&name)
        && !name.starts_with(|first: char| first.is_ascii_uppercase())
        && !name.starts_with("__")
}

fn write_class(out: &mut Source, name: &str, doc: &str, fields: &[Field]) {
    out.line(&format!("class {name}(TypedDict):"));
    out.inner(|out| {
        if doc.is_empty() && fields.is_empty() {
            out.line("pass");
        }
        write_doc(out, doc);
        if !doc.is_empty() && !fields.is_empty() {
            out.blank(1);
        }
        for field in fields {
            out.line(&format!("{}: {}", field.name, member(field)));
            write_doc(out, &field.doc);
        }
    });
}

/// As a call: its members have names that are not valid in Python.
fn write_table(out: &mut Source, name: &str, doc: &str, fields: &[Field]) {
    write_comment(out, doc);
    out.line(&format!("{name} = TypedDict("));
    out.inner(|out| {
        out.line(&format!("{},", quoted(name)));
        out.line("{");
        out.inner(|out| {
            for field in fields {
                write_comment(out, &field.doc);
                out.line(&format!(
                    "{}: {},",
                    quoted(&field.name),
                    quoted(&member(field))
                ));
            }
        });
        out.line("},");
    });
    out.line(")");
}

fn member(field: &Field) -> String {
    let ty = expression(&field.ty);
    if field.is_required() {
        ty
    } else {
        format!("NotRequired[{ty}]")
    }
}

fn write_alias(out: &mut Source, name: &str, doc: &str, ty: &str) {
    out.blank(2);
    out.line(&format!("{name}: TypeAlias = {ty}"));
    write_doc(out, doc);
}

/// Whether a type names one that may be declared below it.
fn has_names(ty: &Type) -> bool {
    match ty {
        Type::Named(_) => true,
        Type::List(inner) | Type::Map(inner) => has_names(inner),
        Type::Union(types) | Type::Tuple(types) => types.iter().any(has_names),
        _ => false,
    }
}

fn write_comment(out: &mut Source, text: &str) {
    let width = out.width() - 2;
    for line in doc_lines(text, width) {
        out.line(format!("# {line}").trim_end());
    }
}
