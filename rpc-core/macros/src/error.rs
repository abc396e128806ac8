//! `#[rpc_error]`: an enum whose variants are codes of a service.

use std::collections::HashMap;

use proc_macro2::{Ident, TokenStream};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Fields, FieldsNamed, ItemEnum, LitInt, LitStr, Path, Type, Variant};

use crate::attributes::doc_of;
use crate::root::{Crate, Root};

/// The lowest code that belongs to services.
const FIRST_OF_SERVICES: u32 = 1000;

/// `#[rpc_error(…)]`.
#[derive(Default)]
struct ErrorAttribute {
    schema: bool,
    root: Option<Path>,
}

impl ErrorAttribute {
    fn parse(arguments: TokenStream) -> syn::Result<Self> {
        let mut attribute = Self::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("schema") {
                attribute.schema = true;
            } else if meta.path.is_ident("crate") {
                attribute.root = Some(meta.value()?.call(Path::parse_mod_style)?);
            } else {
                return Err(meta.error(
                    "unknown argument of `rpc_error`; it takes `schema` and `crate = path`",
                ));
            }
            Ok(())
        });

        parser.parse2(arguments)?;
        Ok(attribute)
    }
}

/// An enum with `#[rpc_error]`, checked.
pub(crate) struct ErrorEnum {
    pub(crate) root: Root,
    pub(crate) has_schema: bool,
    pub(crate) ident: Ident,
    pub(crate) codes: Vec<CodeVariant>,
    /// The variant that holds any other status.
    pub(crate) other: Ident,
}

/// A variant with a code of its own.
pub(crate) struct CodeVariant {
    pub(crate) ident: Ident,
    pub(crate) doc: String,
    pub(crate) code: u32,
    pub(crate) message: Option<LitStr>,
    pub(crate) details: Details,
}

/// What travels as `details`.
pub(crate) enum Details {
    None,
    /// The value of a tuple variant.
    Value(Type),
    /// An object of the fields.
    Fields(FieldsNamed),
}

/// `#[rpc(…)]` of a variant.
enum VariantAttribute {
    Code {
        code: LitInt,
        message: Option<LitStr>,
    },
    Other,
}

impl ErrorEnum {
    pub(crate) fn parse(
        exporter: Crate,
        arguments: TokenStream,
        item: &ItemEnum,
    ) -> syn::Result<Self> {
        let attribute = ErrorAttribute::parse(arguments)?;
        if !item.generics.params.is_empty() {
            return Err(syn::Error::new(
                item.generics.params.span(),
                "the errors of a service cannot have type parameters: each code has one form on the wire",
            ));
        }

        let mut codes: Vec<CodeVariant> = Vec::new();
        let mut known: HashMap<u32, Ident> = HashMap::new();
        let mut other = None;
        for variant in &item.variants {
            match attribute_of(variant)? {
                VariantAttribute::Other => {
                    let first = other.replace(other_of(variant)?);
                    if first.is_some() {
                        return Err(syn::Error::new(
                            variant.ident.span(),
                            "only one variant can be `#[rpc(other)]`, and there is one already",
                        ));
                    }
                }
                VariantAttribute::Code { code, message } => {
                    let code = CodeVariant::parse(variant, &code, message, &mut known)?;
                    codes.push(code);
                }
            }
        }

        let Some(other) = other else {
            return Err(syn::Error::new(
                item.ident.span(),
                "a call can fail with codes that are not the service's own (a deadline, a lost connection): add a \
                 variant `#[rpc(other)] Other(Status)`",
            ));
        };
        Ok(Self {
            root: Root::of(exporter, attribute.root.as_ref()),
            has_schema: attribute.schema,
            ident: item.ident.clone(),
            codes,
            other,
        })
    }
}

impl CodeVariant {
    fn parse(
        variant: &Variant,
        code: &LitInt,
        message: Option<LitStr>,
        known: &mut HashMap<u32, Ident>,
    ) -> syn::Result<Self> {
        let number = code.base10_parse().unwrap_or(0);
        if number < FIRST_OF_SERVICES {
            return Err(syn::Error::new(
                code.span(),
                format!("code {code} is not allowed: codes of your own are 1000 to 4294967295"),
            ));
        }
        if let Some(first) = known.insert(number, variant.ident.clone()) {
            return Err(syn::Error::new(
                code.span(),
                format!("code {number} is taken: `{first}` has it already"),
            ));
        }

        let details = match &variant.fields {
            Fields::Unit => Details::None,
            Fields::Named(fields) => Details::Fields(fields.clone()),
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                Details::Value(fields.unnamed[0].ty.clone())
            }
            Fields::Unnamed(fields) => {
                return Err(syn::Error::new(
                    fields.span(),
                    "name the fields of this variant, as in `Variant { item: String }`: the names become the members of `details`",
                ));
            }
        };

        Ok(Self {
            ident: variant.ident.clone(),
            doc: doc_of(&variant.attrs),
            code: number,
            message,
            details,
        })
    }
}

fn attribute_of(variant: &Variant) -> syn::Result<VariantAttribute> {
    if let Some((_, discriminant)) = &variant.discriminant {
        return Err(syn::Error::new(
            discriminant.span(),
            "write a variant's code in `#[rpc(code = N)]`",
        ));
    }

    let mut rpc = variant.attrs.iter().filter(|it| it.path().is_ident("rpc"));
    let Some(attribute) = rpc.next() else {
        return Err(syn::Error::new(
            variant.ident.span(),
            "this variant has no code: write `#[rpc(code = N)]` above it, where N is 1000 or more",
        ));
    };
    if let Some(second) = rpc.next() {
        return Err(syn::Error::new(
            second.path().span(),
            "this variant has two `#[rpc]`; put all of it into one",
        ));
    }

    let (mut code, mut message, mut is_other) = (None, None, false);
    attribute.parse_nested_meta(|meta| {
        if meta.path.is_ident("code") {
            code = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("message") {
            message = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("other") {
            is_other = true;
        } else {
            return Err(meta.error(
                "unknown argument of `rpc`; a variant takes `code = N`, `message = \"…\"` or `other`",
            ));
        }
        Ok(())
    })?;

    match (code, is_other) {
        (Some(code), false) => Ok(VariantAttribute::Code { code, message }),
        (None, true) if message.is_none() => Ok(VariantAttribute::Other),
        (None, false) => Err(syn::Error::new(
            attribute.path().span(),
            "`code` is missing: write `#[rpc(code = N)]`, where N is 1000 or more",
        )),
        (_, true) => Err(syn::Error::new(
            attribute.path().span(),
            "`other` cannot have a code or a message: the status has its own",
        )),
    }
}

/// The variant for any other status: it holds one.
fn other_of(variant: &Variant) -> syn::Result<Ident> {
    match &variant.fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => Ok(variant.ident.clone()),
        _ => Err(syn::Error::new(
            variant.ident.span(),
            "the variant `#[rpc(other)]` holds a status: write `Other(Status)`",
        )),
    }
}
