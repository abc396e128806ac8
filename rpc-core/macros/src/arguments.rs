//! The arguments of a method: its params on the wire, and its `Context`.

use proc_macro2::Ident;
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, Pat, PatType, Type, TypeReference, TypeSlice};

/// One argument behind `&self`.
pub(crate) enum Argument {
    /// The `Context` of the call, which does not travel.
    Context(Box<ContextArgument>),
    /// A value that travels.
    Param(Box<Param>),
}

/// The argument that is the call's `Context`.
pub(crate) struct ContextArgument {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) is_reference: bool,
}

/// An argument that travels.
pub(crate) struct Param {
    /// Attributes for serde and schemars, and doc comments.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) ident: Ident,
    /// The type as the trait has it.
    pub(crate) ty: Type,
    /// The type that a server decodes.
    pub(crate) owned: Type,
    /// Whether the handler takes a reference to what was decoded.
    pub(crate) is_reference: bool,
}

impl Argument {
    pub(crate) fn parse(input: &FnArg) -> syn::Result<Self> {
        let FnArg::Typed(PatType { attrs, pat, ty, .. }) = input else {
            return Err(syn::Error::new(input.span(), "`self` comes first"));
        };

        if let Some(other) = attrs.iter().find(|attribute| !belongs_to_params(attribute)) {
            return Err(syn::Error::new(
                other.span(),
                "an argument takes doc comments, `#[serde(…)]` and `#[schemars(…)]`",
            ));
        }

        let Pat::Ident(pattern) = &**pat else {
            return Err(syn::Error::new(
                pat.span(),
                "an argument of a method must be a plain name: it is the name on the wire",
            ));
        };
        if let Some(part) = pattern
            .by_ref
            .map(|token| token.span)
            .or(pattern.mutability.map(|token| token.span))
        {
            return Err(syn::Error::new(
                part,
                "`ref` and `mut` belong to the implementation",
            ));
        }

        let (owned, is_reference) = owned_of(ty)?;
        if is_context(&owned) {
            return Ok(Self::Context(Box::new(ContextArgument {
                ident: pattern.ident.clone(),
                ty: (**ty).clone(),
                is_reference,
            })));
        }

        Ok(Self::Param(Box::new(Param {
            attributes: attrs.clone(),
            ident: pattern.ident.clone(),
            ty: (**ty).clone(),
            owned,
            is_reference,
        })))
    }
}

fn belongs_to_params(attribute: &Attribute) -> bool {
    ["doc", "serde", "schemars"]
        .iter()
        .any(|name| attribute.path().is_ident(name))
}

fn is_context(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Context"))
}

/// What a server decodes for this type: `String` for `&str`, `Vec<T>` for `&[T]`, `T` for `&T`.
fn owned_of(ty: &Type) -> syn::Result<(Type, bool)> {
    match ty {
        Type::Reference(TypeReference {
            mutability: Some(token),
            ..
        }) => Err(syn::Error::new(
            token.span(),
            "an argument cannot be `&mut`: changes at the server do not come back to the caller",
        )),
        Type::Reference(TypeReference {
            lifetime: Some(lifetime),
            ..
        }) => Err(syn::Error::new(
            lifetime.span(),
            "an argument cannot name a lifetime: write `&T`",
        )),
        Type::Reference(TypeReference { elem, .. }) => match &**elem {
            Type::Path(path) if path.path.is_ident("str") => {
                Ok((parsed(quote!(::std::string::String)), true))
            }
            Type::Slice(TypeSlice { elem, .. }) => {
                Ok((parsed(quote!(::std::vec::Vec<#elem>)), true))
            }
            elem => Ok((elem.clone(), true)),
        },
        Type::ImplTrait(it) => Err(syn::Error::new(
            it.span(),
            "an argument must have a concrete type: `impl Trait` cannot be decoded",
        )),
        other => Ok((other.clone(), false)),
    }
}

fn parsed(tokens: impl ToTokens) -> Type {
    Type::Verbatim(tokens.into_token_stream())
}
