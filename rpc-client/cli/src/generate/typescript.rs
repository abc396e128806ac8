//! Clients in TypeScript: a class of each service.

mod methods;
mod types;

use super::api::{Api, OwnError, Service, Type};
use super::names::{Names, camel};
use super::source::{Piece, Source, doc_lines};
use methods::{errors_of, write_method};
use types::{expression, write_type};

/// What a file means by these names.
pub(crate) const RESERVED: &[&str] = &[
    "CallOptions",
    "Client",
    "Json",
    "KeyedOptions",
    "NotifyOptions",
    "Options",
    "RpcError",
    "Stream",
    // The language's own.
    "AbortSignal",
    "AggregateError",
    "Array",
    "ArrayBuffer",
    "BigInt",
    "Boolean",
    "Buffer",
    "Date",
    "Error",
    "EvalError",
    "Event",
    "Function",
    "Infinity",
    "Intl",
    "JSON",
    "Map",
    "Math",
    "NaN",
    "Number",
    "Object",
    "Omit",
    "Partial",
    "Pick",
    "Promise",
    "Proxy",
    "RangeError",
    "Readonly",
    "ReadonlyMap",
    "Record",
    "ReferenceError",
    "Reflect",
    "RegExp",
    "Required",
    "Set",
    "String",
    "Symbol",
    "SyntaxError",
    "TypeError",
    "URIError",
    "URL",
    "WeakMap",
    "WeakSet",
];

/// Methods that every object has, or that make an object something else.
const MEMBERS: &[&str] = &[
    "constructor",
    "then",
    "toString",
    "valueOf",
    "toJSON",
    "hasOwnProperty",
];

/// The source of a module.
pub(crate) fn write(api: &Api) -> String {
    let mut body = Source::new("  ");
    for declared in &api.types {
        write_type(&mut body, declared);
    }
    for error in &api.errors {
        write_error(&mut body, error);
    }
    for service in &api.services {
        write_service(&mut body, service);
    }
    let body = body.into_text();
    head(&body) + "\n" + &body
}

/// The imports and the types of options that the body needs.
fn head(body: &str) -> String {
    let mut head = Source::new("  ");
    head.line("// Typed clients, as `rpc gen typescript` writes them. It overwrites what is changed here.");
    head.blank(1);

    let is_used = |name: &str| {
        body.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'))
            .any(|word| word == name)
    };
    // What only a type is named by is left out by a compiler that strips types.
    let options = [
        (
            "Options",
            "Pick<CallOptions, \"timeoutMs\" | \"signal\" | \"meta\" | \"onTiming\">",
        ),
        (
            "KeyedOptions",
            "Pick<CallOptions, \"timeoutMs\" | \"signal\" | \"meta\" | \"onTiming\" | \"idempotencyKey\">",
        ),
        ("NotifyOptions", "Pick<CallOptions, \"meta\">"),
    ];
    let has_options = options.iter().any(|(name, _)| is_used(name));
    let mut imports = vec!["type Client"];
    imports.extend(has_options.then_some("type CallOptions"));
    imports.extend(is_used("RpcError").then_some("RpcError"));
    imports.extend(is_used("Stream").then_some("type Stream"));
    imports.sort_unstable_by_key(|it| it.trim_start_matches("type ").to_owned());
    head.line(&format!(
        "import {{ {} }} from \"rpc-client\";",
        imports.join(", ")
    ));

    head.blank(1);
    for (name, ty) in options.iter().filter(|(name, _)| is_used(name)) {
        head.line(&format!("type {name} = {ty};"));
    }
    head.into_text()
}

fn write_error(out: &mut Source, error: &OwnError) {
    out.blank(1);
    let doc = if error.doc.is_empty() {
        format!("Code {}.", error.code)
    } else {
        format!("{} Code {}.", error.doc, error.code)
    };
    write_doc(out, &doc);
    out.line(&format!("export class {} extends RpcError {{", error.class));
    out.inner(|out| {
        out.line(&format!("declare readonly code: {};", error.code));
        if error.details != Type::Null {
            out.line(&format!(
                "declare readonly details: {};",
                expression(&error.details)
            ));
        }
    });
    out.line("}");
}

fn write_service(out: &mut Source, service: &Service) {
    out.blank(1);
    write_doc(out, &format!("The service `{}`.", service.name));
    out.line(&format!("export class {}Client {{", service.class));
    out.inner(|out| {
        out.line("readonly #client: Client;");
        out.blank(1);
        out.line("constructor(client: Client) {");
        out.inner(|out| out.line("this.#client = client;"));
        out.line("}");

        let mut names = Names::without(MEMBERS);
        for method in &service.methods {
            let name = names.claim_member(&camel(&method.descriptor.method));
            out.blank(1);
            write_method(out, method, &name);
        }
    });
    out.line("}");

    for method in service.methods.iter().filter(|it| !it.errors.is_empty()) {
        let errors = method.errors.iter();
        let errors = errors.map(|(code, class)| format!("[{code}, {class}]").into());
        let begin = format!(
            "const {} = new Map<number, typeof RpcError>([",
            errors_of(method)
        );
        out.blank(1);
        out.piece(&Piece::list(begin, errors.collect(), "])"), ";");
    }
}

/// A comment that editors show. A tag within it is the server's text, and no tag, but for the one that is meant.
fn write_doc(out: &mut Source, text: &str) {
    let width = out.width() - 6;
    let lines: Vec<_> = doc_lines(text, width)
        .into_iter()
        .map(|line| line.replace("*/", "*\\/"))
        .collect();
    match lines.as_slice() {
        [] => {}
        [only] => out.line(&format!("/** {only} */")),
        lines => {
            out.line("/**");
            for line in lines {
                out.line(format!(" * {line}").trim_end());
            }
            out.line(" */");
        }
    }
}
