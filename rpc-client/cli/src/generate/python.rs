//! Clients in Python: a class for asyncio and one for threads of each service.

mod calls;
mod methods;
mod scope;
mod types;

use rpc_core::Kind;

use super::api::{Api, OwnError, Service, Type};
use super::source::{Source, doc_lines};
use methods::{Flavor, names_of, write_method};
use scope::Scope;
use types::{expression, write_type};

/// What a file means by these names.
pub(crate) const RESERVED: &[&str] = &[
    "Any",
    "Client",
    "Literal",
    "Mapping",
    "NotRequired",
    "RpcError",
    "Stream",
    "TypeAlias",
    "TypedDict",
    // The language's own, which readers expect to be just that.
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "EOFError",
    "Ellipsis",
    "EnvironmentError",
    "Exception",
    "False",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "IOError",
    "ImportError",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "None",
    "NotADirectoryError",
    "NotImplemented",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PermissionError",
    "ProcessLookupError",
    "RecursionError",
    "ReferenceError",
    "RuntimeError",
    "SyntaxError",
    "SystemError",
    "TabError",
    "TimeoutError",
    "True",
    "TypeError",
    "UnboundLocalError",
    "UnicodeError",
    "ValueError",
    "Warning",
    "ZeroDivisionError",
];

/// The source of a module.
pub(crate) fn write(api: &Api) -> String {
    let mut body = Source::new("    ");
    for declared in &api.types {
        write_type(&mut body, declared);
    }
    for error in &api.errors {
        write_error(&mut body, error);
    }
    for service in &api.services {
        write_service(&mut body, service, Flavor::Asyncio);
        write_service(&mut body, service, Flavor::Threads);
    }
    if api.services.iter().any(has_optional_arguments) {
        body.blank(2);
        body.lines([
            "def _given(members: dict[str, Any]) -> dict[str, Any]:",
            "    \"\"\"Those that the caller has given.\"\"\"",
            "    return {name: value for name, value in members.items() if value is not None}",
        ]);
    }

    let body = body.into_text();
    head(&body) + "\n\n" + &body
}

/// The docstring of the module, and the imports that the body needs.
fn head(body: &str) -> String {
    let mut head = Source::new("    ");
    head.line("\"\"\"Typed clients, as `rpc gen python` writes them. It overwrites what is changed here.\"\"\"");
    head.blank(1);
    head.line("from __future__ import annotations");
    head.blank(1);

    let is_used = |name: &str| {
        body.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'))
            .any(|word| word == name)
    };
    let imports = |module: &str, names: &[&str]| {
        let names: Vec<_> = names.iter().copied().filter(|name| is_used(name)).collect();
        let line = format!("from {module} import {}", names.join(", "));
        (!names.is_empty()).then_some(line)
    };
    if body.contains("builtins.") {
        head.line("import builtins");
    }
    if body.contains("warnings.warn(") {
        head.line("import warnings");
    }
    head.lines(imports("collections.abc", &["Mapping"]));
    let typing = ["Any", "Literal", "NotRequired", "TypeAlias", "TypedDict"];
    head.lines(imports("typing", &typing));
    head.blank(1);
    head.lines(imports(
        "rpc_client",
        &["Client", "RpcError", "Stream", "blocking"],
    ));
    head.into_text()
}

fn write_error(out: &mut Source, error: &OwnError) {
    out.blank(2);
    out.line(&format!("class {}(RpcError):", error.class));
    out.inner(|out| {
        let doc = if error.doc.is_empty() {
            format!("Code {}.", error.code)
        } else {
            format!("{} Code {}.", error.doc, error.code)
        };
        write_doc(out, &doc);
        if error.details != Type::Null {
            out.blank(1);
            out.line(&format!("details: {}", expression(&error.details)));
        }
    });
}

fn write_service(out: &mut Source, service: &Service, flavor: Flavor) {
    let class = flavor.class_of(service);
    let names = names_of(&service.methods);
    let scope = Scope::with(names.iter().map(String::as_str));

    out.blank(2);
    out.line(&format!("class {class}:"));
    out.inner(|out| {
        let doc = format!("The service `{}`{}.", service.name, flavor.suffix());
        write_doc(out, &doc);
        out.blank(1);
        out.line(&format!(
            "def __init__(self, client: {}) -> None:",
            flavor.client()
        ));
        out.inner(|out| out.line("self._client = client"));
        for (method, name) in service.methods.iter().zip(&names) {
            write_method(out, method, flavor, name, &scope);
        }
    });
}

fn has_optional_arguments(service: &Service) -> bool {
    service.methods.iter().any(methods::has_optional_arguments)
}

/// A docstring.
fn write_doc(out: &mut Source, text: &str) {
    let width = out.width() - 6;
    let mut lines = doc_lines(text, width);
    for line in &mut lines {
        *line = line.replace('\\', "\\\\").replace("\"\"\"", "\\\"\\\"\\\"");
    }
    // Four quotes at the end would be three and one.
    if let Some(last) = lines.last_mut().filter(|last| last.ends_with('"')) {
        last.push(' ');
    }

    match lines.as_slice() {
        [] => {}
        [only] => out.line(&format!("\"\"\"{only}\"\"\"")),
        [first, rest @ ..] => {
            out.line(&format!("\"\"\"{first}"));
            out.lines(rest);
            out.line("\"\"\"");
        }
    }
}

/// Whether a command's calls may be recognised by a key.
fn has_keys(method: &super::api::Method) -> bool {
    method.descriptor.dedup.is_some() && method.descriptor.kind == Kind::Unary
}
