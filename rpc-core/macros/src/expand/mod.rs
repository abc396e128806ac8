//! The expansions of the attributes.
//!
//! Of `#[service]`, beside the trait stand its four types (`…Server`, `…Client`, `…BlockingClient`, `…Service`). All else is in a
//! `const _: () = { … }`, so that no helper of the expansion has a name outside of it, while the names of the
//! trait's own module hold inside.

mod client;
mod commands;
mod error;
mod server;
mod trait_;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;

pub(crate) use error::rpc_error;

use crate::root::Crate;
use crate::service::{Method, Service};
use crate::signature::Kind;

pub(crate) fn service(
    exporter: Crate,
    arguments: TokenStream,
    item: TokenStream,
) -> syn::Result<TokenStream> {
    let service = Service::parse(exporter, arguments, item)?;

    let trait_ = trait_::trait_(&service);
    let types = [
        commands::declaration(&service),
        server::declaration(&service),
        client::declaration(&service),
        client::blocking_declaration(&service),
    ];
    let hidden = [
        commands::implementation(&service),
        trait_::of_arc(&service),
        server::implementation(&service),
        client::implementation(&service),
        client::blocking_implementation(&service),
        assertions(&service),
    ];

    Ok(quote! {
        #trait_
        #(#types)*

        const _: () = {
            #(#hidden)*
        };
    })
}

/// The constant that holds what the attributes of a method say.
fn constant_of(method: &Method) -> Ident {
    format_ident!("__{}", shouted(method))
}

/// The type that a server decodes the params of a method into, where they have several names.
fn params_type_of(method: &Method) -> Ident {
    format_ident!("__{}Params", camel_case(method))
}

/// The same for a client, which has references.
fn borrowed_params_type_of(method: &Method) -> Ident {
    format_ident!("__{}ParamsRef", camel_case(method))
}

fn shouted(method: &Method) -> Ident {
    let name = method.ident.unraw().to_string().to_uppercase();
    Ident::new(&name, method.ident.span())
}

/// `place_order` as `PlaceOrder`.
fn camel_case(method: &Method) -> String {
    let name = method.ident.unraw().to_string();
    let words = name.split('_').map(|word| {
        let mut chars = word.chars();
        let first = chars.next().map(|first| first.to_uppercase().to_string());
        first.unwrap_or_default() + chars.as_str()
    });
    words.collect()
}

/// Bounds that the expansion needs anyway, said once more where each type stands, so that an error points there.
fn assertions(service: &Service) -> TokenStream {
    let root = &service.root;
    let of_method = service.methods.iter().map(|method| {
        let arguments = method.params().map(|param| {
            let ty = &param.owned;
            let span = param.ty.span();
            quote_spanned!(span=> #root::assert_argument::<#ty>();)
        });

        let result = match &method.kind {
            Kind::Unary(ty) | Kind::Oneway(Some(ty)) => Some(ty),
            Kind::Stream(stream) => Some(&stream.item),
            Kind::Oneway(None) => None,
        };
        let result = result.map(|ty| quote_spanned!(ty.span()=> #root::assert_result::<#ty>();));

        quote!(#(#arguments)* #result)
    });

    let function = Ident::new("__assert_types", Span::call_site());
    quote! {
        #[allow(dead_code)]
        fn #function() {
            #(#of_method)*
        }
    }
}
