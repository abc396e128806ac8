//! A service as its trait declares it, checked.

use std::collections::HashMap;

use proc_macro2::{Ident, Span, TokenStream};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, ItemTrait, TraitItem, TraitItemFn, Visibility};

use crate::arguments::{Argument, ContextArgument, Param};
use crate::attributes::{
    At, CursorMember, Deprecation, Retry, RpcAttribute, ServiceAttribute, Timeout, doc_of,
};
use crate::root::{Crate, Root};
use crate::signature::{self, Kind};

/// A trait with `#[service]`.
pub(crate) struct Service {
    pub(crate) root: Root,
    pub(crate) has_schema: bool,
    /// Attributes of the trait, doc comments among them.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) ident: Ident,
    /// The name on the wire.
    pub(crate) name: String,
    pub(crate) methods: Vec<Method>,
}

/// A method with `#[rpc]`.
pub(crate) struct Method {
    /// Its attributes but `#[rpc]`, doc comments among them.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) doc: String,
    pub(crate) ident: Ident,
    /// The name on the wire.
    pub(crate) name: String,
    pub(crate) cmdid: At<u32>,
    pub(crate) kind: Kind,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout: Option<Timeout>,
    /// The members of its cursor; none of a method that is not resumable.
    pub(crate) resumable: Vec<CursorMember>,
    pub(crate) deprecated: Option<String>,
    pub(crate) arguments: Vec<Argument>,
}

/// Errors of a whole trait, so that all of them are seen at once.
#[derive(Default)]
struct Errors(Option<syn::Error>);

impl Errors {
    fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            none => *none = Some(error),
        }
    }

    /// The value, unless there is an error.
    fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    fn finish(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

impl Service {
    pub(crate) fn parse(
        exporter: Crate,
        arguments: TokenStream,
        item: TokenStream,
    ) -> syn::Result<Self> {
        let attribute = ServiceAttribute::parse(arguments)?;
        let item: ItemTrait = syn::parse2(item).map_err(|error| {
            syn::Error::new(
                error.span(),
                format!("`#[service]` belongs on a trait: {error}"),
            )
        })?;

        let mut errors = Errors::default();
        check_trait(&item, &mut errors);

        let methods = item
            .items
            .into_iter()
            .filter_map(|item| errors.take(Method::parse(item)).flatten())
            .collect::<Vec<_>>();
        check_numbers(&methods, &mut errors);
        check_names(&methods, &mut errors);
        errors.finish()?;

        let name = attribute.name.map(|name| name.value());
        Ok(Self {
            root: Root::of(exporter, attribute.root.as_ref()),
            has_schema: attribute.schema,
            name: name.unwrap_or_else(|| snake_case(&item.ident.unraw().to_string())),
            attributes: item.attrs,
            visibility: item.vis,
            ident: item.ident,
            methods,
        })
    }

    /// The name of a type that is generated beside the trait, as `OrdersClient`.
    pub(crate) fn type_named(&self, suffix: &str) -> Ident {
        format_ident!("{}{suffix}", self.ident.unraw(), span = self.ident.span())
    }
}

impl Method {
    /// None for an item that has its error already.
    fn parse(item: TraitItem) -> syn::Result<Option<Self>> {
        let TraitItem::Fn(method) = item else {
            return Err(syn::Error::new(
                item.span(),
                "the trait of a service may have only methods; put the rest into its implementors",
            ));
        };

        let (rpc, attributes) = split_attributes(&method)?;
        signature::check(&method)?;

        let arguments = signature::arguments(&method.sig)?;
        let kind = Kind::of(&method.sig, rpc.oneway)?;
        kind.check(&rpc)?;

        let ident = method.sig.ident;
        let name = rpc.name.map(|name| name.value());
        let note = |said: Deprecation| said.note.map(|note| note.value()).unwrap_or_default();

        Ok(Some(Self {
            doc: doc_of(&attributes),
            attributes,
            name: name.unwrap_or_else(|| ident.unraw().to_string()),
            ident,
            cmdid: rpc.cmdid,
            kind,
            retry: rpc.retry.map(|retry| retry.value),
            timeout: rpc.timeout.map(|timeout| timeout.value),
            resumable: rpc
                .resumable
                .map(|members| members.value)
                .unwrap_or_default(),
            deprecated: rpc.deprecated.map(note),
            arguments,
        }))
    }

    /// The arguments that travel.
    pub(crate) fn params(&self) -> impl Iterator<Item = &Param> {
        self.arguments.iter().filter_map(|argument| match argument {
            Argument::Param(param) => Some(&**param),
            Argument::Context(_) => None,
        })
    }

    /// The argument that is the call's `Context`.
    pub(crate) fn context(&self) -> Option<&ContextArgument> {
        self.arguments.iter().find_map(|argument| match argument {
            Argument::Context(context) => Some(&**context),
            Argument::Param(_) => None,
        })
    }
}

fn check_trait(item: &ItemTrait, errors: &mut Errors) {
    let mut refuse = |span: Span, message: &str| errors.push(syn::Error::new(span, message));

    if let Some(token) = &item.unsafety {
        refuse(token.span(), "a service cannot be `unsafe`");
    }
    if let Some(token) = &item.modifiers.auto_token {
        refuse(token.span(), "a service cannot be `auto`");
    }
    if !item.generics.params.is_empty() {
        refuse(
            item.generics.params.span(),
            "a service cannot have type parameters: each command has one form on the wire",
        );
    }
    if let Some(clause) = &item.generics.where_clause {
        refuse(clause.span(), "a service cannot have bounds");
    }
    if !item.supertraits.is_empty() {
        refuse(
            item.supertraits.span(),
            "a service cannot have supertraits: `Send`, `Sync` and `'static` are added, and implementors may have more",
        );
    }
    if item.items.is_empty() {
        refuse(item.ident.span(), "a service must have at least one method");
    }
}

/// The `#[rpc]` of a method, and its other attributes.
fn split_attributes(method: &TraitItemFn) -> syn::Result<(RpcAttribute, Vec<Attribute>)> {
    let (rpc, others): (Vec<_>, Vec<_>) = method
        .attrs
        .iter()
        .cloned()
        .partition(|attribute| attribute.path().is_ident("rpc"));

    if let Some(cfg) = others
        .iter()
        .find(|it| it.path().is_ident("cfg") || it.path().is_ident("cfg_attr"))
    {
        return Err(syn::Error::new(
            cfg.path().span(),
            "a method cannot depend on `cfg`: both sides must have the same commands",
        ));
    }

    match rpc.as_slice() {
        [attribute] => Ok((RpcAttribute::parse(attribute)?, others)),
        [] => Err(syn::Error::new(
            method.sig.ident.span(),
            "this method has no number: write `#[rpc(cmdid = N)]` above it, where N is 100 or more",
        )),
        [_, second, ..] => Err(syn::Error::new(
            second.path().span(),
            "this method has two `#[rpc]`; put all of it into one",
        )),
    }
}

fn check_numbers(methods: &[Method], errors: &mut Errors) {
    let mut known: HashMap<u32, &Method> = HashMap::new();
    for method in methods {
        let At { value, span } = method.cmdid;
        if let Some(first) = known.get(&value) {
            let message = format!("cmdid {value} is taken: `{}` has it already", first.ident);
            errors.push(syn::Error::new(span, message));
        } else {
            known.insert(value, method);
        }
    }
}

fn check_names(methods: &[Method], errors: &mut Errors) {
    let mut known: HashMap<&str, &Method> = HashMap::new();
    for method in methods {
        if let Some(first) = known.get(method.name.as_str()) {
            let message = format!(
                "the name `{}` is taken: `{}` has it already",
                method.name, first.ident
            );
            errors.push(syn::Error::new(method.ident.span(), message));
        } else {
            known.insert(&method.name, method);
        }
    }
}

/// `LogStore` as `log_store`.
fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for char in name.chars() {
        if char.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(char.to_lowercase());
    }
    out
}
