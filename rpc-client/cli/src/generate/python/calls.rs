//! The body of a method in Python: the call.

use rpc_core::{Kind, RetryCategory};

use super::methods::{Argument, Flavor, data_of};
use super::scope::Scope;
use crate::generate::api::{Method, Params, Presence};
use crate::generate::source::{Piece, Source, quoted};

pub(super) fn write_call(
    out: &mut Source,
    method: &Method,
    flavor: Flavor,
    arguments: &[Argument<'_>],
) {
    let verb = match method.descriptor.kind {
        Kind::Oneway => "notify",
        Kind::Unary => "call",
        Kind::Stream => "stream",
    };
    let wait = match flavor {
        Flavor::Asyncio => "await ",
        Flavor::Threads => "",
    };
    let mut call = format!("{wait}self._client.{verb}(");
    // In its body a function knows the names of its arguments, and not those of its class.
    let scope = Scope::with(arguments.iter().map(|it| it.name.as_str()));
    let data = data_of(method, flavor, &scope);
    let has_data = data != "None";
    if has_data {
        call = format!("_data: {data} = {call}");
    }

    let mut pieces = vec![method.descriptor.cmdid.to_string().into()];
    pieces.extend(params_of(method, arguments));
    pieces.extend(options_of(method, &scope).into_iter().map(Piece::from));
    out.piece(&Piece::list(call, pieces, ")"), "");
    if has_data {
        out.line("return _data");
    }
}

/// The options of the caller, with what the command says where the caller says nothing, and how it may be repeated.
fn options_of(method: &Method, scope: &Scope) -> Vec<String> {
    let descriptor = &method.descriptor;
    let mut options = Vec::new();
    if descriptor.kind != Kind::Oneway {
        let default = if descriptor.no_timeout {
            // A stream has no limit of its own.
            (descriptor.kind == Kind::Unary).then(|| format!("{}(\"inf\")", scope.builtin("float")))
        } else {
            descriptor.timeout_ms.map(seconds)
        };
        options.push(match default {
            Some(default) => format!("timeout={default} if timeout is None else timeout"),
            None => "timeout=timeout".to_owned(),
        });
    }

    options.push("meta=meta".to_owned());
    if descriptor.kind == Kind::Unary {
        let repetition: &[&str] = match descriptor.retry_category() {
            RetryCategory::Neither => &[],
            RetryCategory::Idempotent => &["idempotent=True"],
            RetryCategory::Dedup => &["idempotency_key=idempotency_key", "dedup=True"],
            RetryCategory::DedupByCaller => &[
                "idempotency_key=idempotency_key",
                "dedup=idempotency_key is not None",
            ],
        };
        options.extend(repetition.iter().map(|&it| it.to_owned()));
    }
    if !descriptor.resumable.is_empty() {
        let members = descriptor
            .resumable
            .iter()
            .map(|member| format!("({}, {})", quoted(&member.cursor), quoted(&member.param)));
        let members = members.collect::<Vec<_>>().join(", ");
        options.push(format!("resumable=[{members}]"));
    }
    if !method.errors.is_empty() {
        let errors = method.errors.iter();
        let errors: Vec<_> = errors
            .map(|(code, class)| format!("{code}: {class}"))
            .collect();
        options.push(format!("errors={{{}}}", errors.join(", ")));
    }
    options
}

/// The expression of the params, where there are any.
fn params_of(method: &Method, arguments: &[Argument<'_>]) -> Option<Piece> {
    let more = match &method.params {
        Params::None => return None,
        Params::Value(_) => return Some("params".into()),
        Params::Object { more, .. } => more,
    };

    let members = |presence: Presence| -> Vec<Piece> {
        let arguments = arguments.iter().filter(|it| it.field.presence == presence);
        let members = arguments.map(|it| format!("{}: {}", quoted(&it.field.name), it.name));
        members.map(Piece::from).collect()
    };
    let mut pieces = Vec::new();
    if more.is_some() {
        pieces.push("**(more or {})".into());
    }
    pieces.extend(members(Presence::Required));

    let optional = members(Presence::Optional);
    if !optional.is_empty() {
        if pieces.is_empty() {
            return Some(Piece::list("_given({", optional, "})"));
        }
        pieces.push(Piece::list("**_given({", optional, "})"));
    }
    Some(Piece::list("{", pieces, "}"))
}

/// Milliseconds in seconds.
fn seconds(ms: u64) -> String {
    match ms % 1000 {
        0 => format!("{}", ms / 1000),
        rest => format!("{}.{rest:03}", ms / 1000)
            .trim_end_matches('0')
            .to_owned(),
    }
}
