//! Methods in Python: one for each command.

use rpc_core::Kind;

use super::calls::write_call;
use super::types::{KEYWORDS, expression};
use super::{has_keys, write_doc};
use crate::generate::api::{Field, Method, Params, Service, Type};
use crate::generate::names::{Names, snake};
use crate::generate::source::{Piece, Source, quoted};

/// What a class is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    Asyncio,
    Threads,
}

impl Flavor {
    pub(super) fn class_of(self, service: &Service) -> String {
        match self {
            Self::Asyncio => format!("{}Client", service.class),
            Self::Threads => format!("{}BlockingClient", service.class),
        }
    }

    pub(super) fn client(self) -> &'static str {
        match self {
            Self::Asyncio => "Client",
            Self::Threads => "blocking.Client",
        }
    }

    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Asyncio => "",
            Self::Threads => ", for threads",
        }
    }

    fn stream_of(self, item: &str) -> String {
        match self {
            Self::Asyncio => format!("Stream[{item}]"),
            Self::Threads => format!("blocking.Stream[{item}]"),
        }
    }
}

/// A member of the params, as an argument.
pub(super) struct Argument<'a> {
    pub(super) name: String,
    ty: String,
    pub(super) field: &'a Field,
}

/// What every method has besides.
const OPTIONS: &[&str] = &[
    "self",
    "timeout",
    "meta",
    "idempotency_key",
    "more",
    "warnings",
    "_given",
    "_data",
    "dict",
];

pub(super) fn has_optional_arguments(method: &Method) -> bool {
    let Params::Object { fields, .. } = &method.params else {
        return false;
    };
    fields.iter().any(|field| !field.is_required())
}

pub(super) fn write_method(out: &mut Source, method: &Method, flavor: Flavor, names: &mut Names) {
    let name = snake(&method.descriptor.method);
    let name = if KEYWORDS.contains(&name.as_str()) {
        name + "_"
    } else {
        name
    };
    let name = names.claim_member(&name);
    let arguments = arguments_of(method);

    out.blank(1);
    write_signature(out, method, flavor, &name, &arguments);
    out.inner(|out| {
        write_doc(out, &doc_of(method, &arguments));
        if let Some(instead) = &method.descriptor.deprecated {
            let text = format!("`{}` is deprecated: {instead}", method.descriptor.name());
            let text = quoted(text.trim_end_matches([' ', ':']));
            out.line(&format!(
                "warnings.warn({text}, DeprecationWarning, stacklevel=2)"
            ));
        }
        write_call(out, method, flavor, &arguments);
    });
}

fn arguments_of(method: &Method) -> Vec<Argument<'_>> {
    let Params::Object { fields, .. } = &method.params else {
        return Vec::new();
    };
    let mut names = Names::without(OPTIONS);
    let arguments = fields.iter().map(|field| {
        let name = snake(&field.name);
        let name = if KEYWORDS.contains(&name.as_str()) {
            name + "_"
        } else {
            name
        };
        Argument {
            name: names.claim_member(&name),
            ty: expression(&field.ty),
            field,
        }
    });
    arguments.collect()
}

fn write_signature(
    out: &mut Source,
    method: &Method,
    flavor: Flavor,
    name: &str,
    arguments: &[Argument<'_>],
) {
    let mut parts = vec!["self".to_owned()];
    for argument in arguments.iter().filter(|it| it.field.is_required()) {
        parts.push(format!("{}: {}", argument.name, argument.ty));
    }
    if let Params::Value(ty) = &method.params {
        parts.push(format!("params: {}", expression(ty)));
    }

    parts.push("*".to_owned());
    for argument in arguments.iter().filter(|it| !it.field.is_required()) {
        let ty = Type::one_of([argument.field.ty.clone(), Type::Null]);
        parts.push(format!("{}: {} = None", argument.name, expression(&ty)));
    }
    if let Params::Object { more: Some(ty), .. } = &method.params {
        parts.push(format!(
            "more: Mapping[str, {}] | None = None",
            expression(ty)
        ));
    }
    if method.descriptor.kind != Kind::Oneway {
        parts.push("timeout: float | None = None".to_owned());
    }
    parts.push("meta: Mapping[str, str] | None = None".to_owned());
    if has_keys(method) {
        parts.push("idempotency_key: str | None = None".to_owned());
    }

    let verb = match flavor {
        Flavor::Asyncio => "async def",
        Flavor::Threads => "def",
    };
    let parts = parts.into_iter().map(Piece::from).collect();
    let signature = Piece::list(format!("{verb} {name}("), parts, ")");
    out.piece(&signature, &format!(" -> {}:", data_of(method, flavor)));
}

pub(super) fn data_of(method: &Method, flavor: Flavor) -> String {
    match method.descriptor.kind {
        Kind::Oneway => "None".to_owned(),
        Kind::Unary => expression(&method.data),
        Kind::Stream => flavor.stream_of(&expression(&method.data)),
    }
}

/// What the command does, its arguments, and how it fails.
fn doc_of(method: &Method, arguments: &[Argument<'_>]) -> String {
    let descriptor = &method.descriptor;
    let mut paragraphs = vec![descriptor.doc.to_string()];
    if descriptor.doc.is_empty() {
        paragraphs = vec![format!("`{}`.", descriptor.name())];
    }

    let listed = arguments.iter().filter(|it| !it.field.doc.is_empty());
    let listed: Vec<_> = listed
        .map(|it| format!("- `{}`: {}", it.name, first_paragraph(&it.field.doc)))
        .collect();
    if !listed.is_empty() {
        paragraphs.push(listed.join("\n"));
    }

    if let Some(instead) = &descriptor.deprecated {
        let line = format!("Deprecated: {instead}");
        paragraphs.push(line.trim_end_matches([' ', ':']).to_owned());
    }
    if !method.errors.is_empty() {
        let classes = method.errors.iter().map(|(_, class)| format!("`{class}`"));
        let classes = classes.collect::<Vec<_>>().join(", ");
        paragraphs.push(format!("Raises {classes}, and `RpcError` as any call."));
    }
    paragraphs.join("\n\n")
}

/// Text up to its first empty line, on one line.
fn first_paragraph(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .collect();
    lines.join(" ")
}
