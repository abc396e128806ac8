//! Signatures of methods: what they take, and how they answer.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    GenericArgument, PathArguments, ReceiverKind, ReturnType, Safety, Signature, TraitItemFn, Type,
    TypeParamBound,
};

use crate::arguments::Argument;
use crate::attributes::{At, Retry, RpcAttribute};

/// Methods of a generated client that no method of a service can be named as.
const METHODS_OF_CLIENTS: [&str; 2] = ["new", "with"];

/// How a method answers.
pub(crate) enum Kind {
    /// With this, a `Result`.
    Unary(Type),
    /// Not at all; the trait's method returns this, or nothing.
    Oneway(Option<Type>),
    /// With a stream of these, `Result`s.
    Stream(Box<StreamType>),
}

/// What a streaming method returns.
pub(crate) struct StreamType {
    /// All of it, as the trait has it; `Send` in any case.
    pub(crate) ty: Type,
    pub(crate) item: Type,
}

impl Kind {
    /// How a method with this signature answers.
    pub(crate) fn of(signature: &Signature, oneway: Option<Span>) -> syn::Result<Self> {
        let returned = match &signature.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) => Some((**ty).clone()),
        };
        let stream = returned.as_ref().and_then(stream_of);

        match (stream, oneway) {
            (Some(_), Some(oneway)) => Err(syn::Error::new(
                oneway,
                "a `oneway` method has no answer, but this one returns a stream",
            )),
            (Some(stream), None) => {
                if let Some(token) = &signature.asyncness {
                    return Err(syn::Error::new(
                        token.span(),
                        "a method that returns a stream must be a plain `fn`; await within the stream",
                    ));
                }
                Ok(Self::Stream(Box::new(stream?)))
            }
            (None, _) if signature.asyncness.is_none() => Err(syn::Error::new(
                signature.fn_token.span(),
                "a method of a service is an `async fn`, or a `fn` that returns \
             `impl Stream<Item = Result<T, E>> + Send`",
            )),
            (None, Some(_)) => Ok(Self::Oneway(returned)),
            (None, None) => match returned {
                Some(ty) => Ok(Self::Unary(ty)),
                None => Err(syn::Error::new(
                    signature.ident.span(),
                    "this method returns nothing: return `Result<T, Status>`, or write `oneway` if callers get no \
                     answer",
                )),
            },
        }
    }

    /// Checks that the retry category fits.
    pub(crate) fn check(&self, rpc: &RpcAttribute) -> syn::Result<()> {
        if let Some(resumable) = &rpc.resumable
            && !matches!(self, Self::Stream(_))
        {
            return Err(syn::Error::new(
                resumable.span,
                "only a stream can be `resumable`: it continues after an item",
            ));
        }

        match (self, &rpc.retry) {
            (
                Self::Stream(_),
                Some(At {
                    value: Retry::Dedup | Retry::DedupByCaller,
                    span,
                }),
            ) => Err(syn::Error::new(
                *span,
                "a stream cannot be `dedup`: the server does not keep its items for a repetition",
            )),
            (Self::Oneway(_), Some(At { span, .. })) => Err(syn::Error::new(
                *span,
                "a `oneway` method cannot have a retry category: a client does not learn whether it must repeat the \
                 call",
            )),
            _ => Ok(()),
        }
    }
}

pub(crate) fn check(method: &TraitItemFn) -> syn::Result<()> {
    let refuse = |span: Span, message: &str| Err(syn::Error::new(span, message));
    let signature = &method.sig;

    if METHODS_OF_CLIENTS.contains(&signature.ident.unraw().to_string().as_str()) {
        let message = format!(
            "`{}` is a method of every generated client; give this one another name, and keep its name on the wire \
             with `name = \"…\"`",
            signature.ident
        );
        return refuse(signature.ident.span(), &message);
    }
    if let Some(block) = &method.default {
        return refuse(
            block.span(),
            "a method of a service cannot have a body: implementors have it",
        );
    }
    if let Safety::Unsafe(token) = &signature.safety {
        return refuse(token.span(), "a method of a service cannot be `unsafe`");
    }
    if let Some(abi) = &signature.abi {
        return refuse(abi.span(), "a method of a service cannot be `extern`");
    }
    if let Some(token) = &signature.constness {
        return refuse(token.span(), "a method of a service cannot be `const`");
    }
    if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
        return refuse(
            signature.generics.span(),
            "a method of a service cannot have type or lifetime parameters: a command has one form on the wire",
        );
    }

    match signature.receiver() {
        Some(receiver) if receiver.mutability.is_none() => match &receiver.kind {
            ReceiverKind::Reference(_, None, None) => Ok(()),
            _ => refuse(receiver.span(), TAKES_SELF),
        },
        Some(receiver) => refuse(receiver.span(), TAKES_SELF),
        None => refuse(signature.ident.span(), TAKES_SELF),
    }
}

const TAKES_SELF: &str = "a method of a service must take `&self` first: calls run concurrently, so put what they \
    change behind a lock";

pub(crate) fn arguments(signature: &Signature) -> syn::Result<Vec<Argument>> {
    let arguments = signature
        .inputs
        .iter()
        .skip(1)
        .map(Argument::parse)
        .collect::<syn::Result<Vec<_>>>()?;

    let mut contexts = arguments.iter().filter_map(|argument| match argument {
        Argument::Context(context) => Some(&**context),
        Argument::Param(_) => None,
    });
    match contexts.nth(1) {
        Some(second) => Err(syn::Error::new(
            second.ident.span(),
            "a method can take only one `Context`",
        )),
        None => Ok(arguments),
    }
}

/// The item of `impl Stream<Item = …>`, where the type is one.
fn stream_of(ty: &Type) -> Option<syn::Result<StreamType>> {
    let Type::ImplTrait(it) = ty else {
        return None;
    };
    let segment = it.bounds.iter().find_map(|bound| match bound {
        TypeParamBound::Trait(bound) => {
            let last = bound.path.segments.last()?;
            (last.ident == "Stream").then_some(last)
        }
        _ => None,
    })?;

    let item = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => {
            arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::AssocType(assoc) if assoc.ident == "Item" => Some(&assoc.ty),
                _ => None,
            })
        }
        _ => None,
    };

    Some(match item {
        Some(item) => {
            let item = item.clone();
            let mut ty = it.clone();
            if !ty.bounds.iter().any(is_send) {
                ty.bounds.push(syn::parse_quote!(::core::marker::Send));
            }
            Ok(StreamType {
                ty: Type::ImplTrait(ty),
                item,
            })
        }
        None => Err(syn::Error::new(
            segment.span(),
            "the type of the stream's items is missing: write `impl Stream<Item = Result<T, E>> + Send`",
        )),
    })
}

fn is_send(bound: &TypeParamBound) -> bool {
    matches!(bound, TypeParamBound::Trait(bound) if bound.path.is_ident("Send"))
}
