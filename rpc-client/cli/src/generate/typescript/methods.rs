//! Methods in TypeScript: one for each command.

use rpc_core::{Kind, RetryCategory};

use super::types::expression;
use super::write_doc;
use crate::generate::api::{Field, Method, Params, Type};
use crate::generate::names::shouted;
use crate::generate::source::{Piece, Source, quoted};

/// The constant with the errors of a command.
pub(super) fn errors_of(method: &Method) -> String {
    format!("{}_ERRORS", shouted(&method.descriptor.name()))
}

pub(super) fn write_method(out: &mut Source, method: &Method, name: &str) {
    let descriptor = &method.descriptor;
    write_doc(out, &doc_of(method));

    let has_keys = descriptor.dedup.is_some() && descriptor.kind == Kind::Unary;
    let options = match descriptor.kind {
        Kind::Oneway => "NotifyOptions",
        _ if has_keys => "KeyedOptions",
        _ => "Options",
    };
    let data = match descriptor.kind {
        Kind::Oneway => "void".to_owned(),
        Kind::Unary => data_of(method),
        Kind::Stream => format!("Stream<{}>", expression(&method.data)),
    };

    let mut pieces: Vec<Piece> = params_of(method).into_iter().map(Piece::from).collect();
    pieces.push(format!("options: {options} = {{}}").into());
    let signature = Piece::list(format!("{name}("), pieces, ")");
    out.piece(&signature, &format!(": Promise<{data}> {{"));
    out.inner(|out| write_call(out, method));
    out.line("}");
}

/// The argument of the params, where there are any.
fn params_of(method: &Method) -> Option<String> {
    match &method.params {
        Params::None => None,
        Params::Value(ty) => Some(format!("params: {}", expression(ty))),
        Params::Object { name, fields, .. } => {
            let default = if fields.iter().any(Field::is_required) {
                ""
            } else {
                " = {}"
            };
            Some(format!("params: {name}{default}"))
        }
    }
}

/// The type of a unary command's result.
fn data_of(method: &Method) -> String {
    match &method.data {
        Type::Null => "void".to_owned(),
        data => expression(data),
    }
}

fn write_call(out: &mut Source, method: &Method) {
    let verb = match method.descriptor.kind {
        Kind::Oneway => "notify".to_owned(),
        Kind::Unary => format!("call<{}>", data_of(method)),
        Kind::Stream => format!("stream<{}>", expression(&method.data)),
    };
    let params = match method.params {
        Params::None => "{}",
        Params::Object { .. } | Params::Value(_) => "params",
    };

    // Those of the caller come behind the defaults, and before what the command says of itself.
    let mut options = defaults_of(method);
    options.push("...options".to_owned());
    options.extend(facts_of(method));
    let options = match options.as_slice() {
        [_] => "options".into(),
        _ => Piece::list("{ ", options.into_iter().map(Piece::from).collect(), " }"),
    };

    let cmdid = method.descriptor.cmdid.to_string();
    let pieces = vec![cmdid.into(), params.into(), options];
    let call = Piece::list(format!("return this.#client.{verb}("), pieces, ")");
    out.piece(&call, ";");
}

fn defaults_of(method: &Method) -> Vec<String> {
    let descriptor = &method.descriptor;
    let mut defaults = Vec::new();
    // A stream has no limit of its own.
    if descriptor.no_timeout && descriptor.kind == Kind::Unary {
        defaults.push("timeoutMs: Infinity".to_owned());
    } else if let Some(ms) = descriptor.timeout_ms {
        defaults.push(format!("timeoutMs: {ms}"));
    }
    defaults
}

fn facts_of(method: &Method) -> Vec<String> {
    let descriptor = &method.descriptor;
    let mut facts = Vec::new();
    if descriptor.kind == Kind::Unary {
        let repetition = match descriptor.retry_category() {
            RetryCategory::Neither => None,
            RetryCategory::Idempotent => Some("idempotent: true"),
            RetryCategory::Dedup => Some("dedup: true"),
            RetryCategory::DedupByCaller => Some("dedup: options.idempotencyKey !== undefined"),
        };
        facts.extend(repetition.map(str::to_owned));
    }
    if !descriptor.resumable.is_empty() {
        let members = descriptor
            .resumable
            .iter()
            .map(|member| format!("[{}, {}]", quoted(&member.cursor), quoted(&member.param)));
        let members = members.collect::<Vec<_>>().join(", ");
        facts.push(format!("resumable: [{members}]"));
    }
    if !method.errors.is_empty() {
        facts.push(format!("errors: {}", errors_of(method)));
    }
    facts
}

/// What the command does, and how it fails.
fn doc_of(method: &Method) -> String {
    let descriptor = &method.descriptor;
    let mut paragraphs = vec![descriptor.doc.to_string()];
    if descriptor.doc.is_empty() {
        paragraphs = vec![format!("`{}`.", descriptor.name())];
    }

    if !method.errors.is_empty() {
        let classes = method.errors.iter().map(|(_, class)| format!("`{class}`"));
        let classes = classes.collect::<Vec<_>>().join(", ");
        paragraphs.push(format!("Fails with {classes}, and `RpcError` as any call."));
    }
    if let Some(instead) = &descriptor.deprecated {
        paragraphs.push(format!("@deprecated {instead}"));
    }
    paragraphs.join("\n\n")
}
