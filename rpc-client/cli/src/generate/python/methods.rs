//! Methods in Python: one for each command.

use rpc_core::Kind;
use rpc_core::descriptor::first_paragraph;

use super::calls::write_call;
use super::scope::Scope;
use super::types::{KEYWORDS, expression_in};
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
    "blocking",
    "builtins",
];

pub(super) fn has_optional_arguments(method: &Method) -> bool {
    let Params::Object { fields, .. } = &method.params else {
        return false;
    };
    fields.iter().any(|field| !field.is_required())
}

/// What the methods of a class are called.
pub(super) fn names_of(methods: &[Method]) -> Vec<String> {
    let mut names = Names::without(&["_client", "blocking", "builtins"]);
    let names = methods
        .iter()
        .map(|method| names.claim_member(&word(&method.descriptor.method)));
    names.collect()
}

/// A name in Python, with `_` behind it where it is a word of the language.
fn word(name: &str) -> String {
    let name = snake(name);
    if KEYWORDS.contains(&name.as_str()) {
        name + "_"
    } else {
        name
    }
}

/// Writes a method of this name; `scope` is that of its class.
pub(super) fn write_method(
    out: &mut Source,
    method: &Method,
    flavor: Flavor,
    name: &str,
    scope: &Scope,
) {
    let arguments = arguments_of(method);

    out.blank(1);
    write_signature(out, method, flavor, &Head { name, scope }, &arguments);
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
    let arguments = fields.iter().map(|field| Argument {
        name: names.claim_member(&word(&field.name)),
        field,
    });
    arguments.collect()
}

/// What a method is called, and where that stands.
struct Head<'a> {
    name: &'a str,
    scope: &'a Scope,
}

fn write_signature(
    out: &mut Source,
    method: &Method,
    flavor: Flavor,
    head: &Head<'_>,
    arguments: &[Argument<'_>],
) {
    let Head { name, scope } = head;
    let [float, text] = ["float", "str"].map(|name| scope.builtin(name));

    let mut parts = vec!["self".to_owned()];
    for argument in arguments.iter().filter(|it| it.field.is_required()) {
        let ty = expression_in(scope, &argument.field.ty);
        parts.push(format!("{}: {ty}", argument.name));
    }
    if let Params::Value(ty) = &method.params {
        parts.push(format!("params: {}", expression_in(scope, ty)));
    }

    parts.push("*".to_owned());
    for argument in arguments.iter().filter(|it| !it.field.is_required()) {
        let ty = Type::one_of([argument.field.ty.clone(), Type::Null]);
        let ty = expression_in(scope, &ty);
        parts.push(format!("{}: {ty} = None", argument.name));
    }
    if let Params::Object { more: Some(ty), .. } = &method.params {
        let ty = expression_in(scope, ty);
        parts.push(format!("more: Mapping[{text}, {ty}] | None = None"));
    }
    if method.descriptor.kind != Kind::Oneway {
        parts.push(format!("timeout: {float} | None = None"));
    }
    parts.push(format!("meta: Mapping[{text}, {text}] | None = None"));
    if has_keys(method) {
        parts.push(format!("idempotency_key: {text} | None = None"));
    }

    let verb = match flavor {
        Flavor::Asyncio => "async def",
        Flavor::Threads => "def",
    };
    let parts = parts.into_iter().map(Piece::from).collect();
    let signature = Piece::list(format!("{verb} {name}("), parts, ")");
    let data = data_of(method, flavor, scope);
    out.piece(&signature, &format!(" -> {data}:"));
}

pub(super) fn data_of(method: &Method, flavor: Flavor, scope: &Scope) -> String {
    match method.descriptor.kind {
        Kind::Oneway => "None".to_owned(),
        Kind::Unary => expression_in(scope, &method.data),
        Kind::Stream => flavor.stream_of(&expression_in(scope, &method.data)),
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
