//! The trait itself.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};

use crate::arguments::Argument;
use crate::service::{Method, Service};
use crate::signature::Kind;

/// The trait, with `Send` futures instead of `async fn`.
pub(super) fn trait_(service: &Service) -> TokenStream {
    let Service {
        attributes,
        visibility,
        ident,
        methods,
        ..
    } = service;

    let methods = methods.iter().map(|method| {
        let attributes = &method.attributes;
        let signature = signature(method);
        quote!(#(#attributes)* #signature;)
    });

    quote! {
        #(#attributes)*
        #visibility trait #ident: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#methods)*
        }
    }
}

/// Shared implementors are implementors.
pub(super) fn of_arc(service: &Service) -> TokenStream {
    let ident = &service.ident;
    let methods = service.methods.iter().map(|method| {
        let name = &method.ident;
        let signature = signature(method);
        let arguments = method.arguments.iter().map(|argument| match argument {
            Argument::Context(context) => &context.ident,
            Argument::Param(param) => &param.ident,
        });

        quote! {
            #signature {
                <T as #ident>::#name(&**self #(, #arguments)*)
            }
        }
    });

    quote! {
        impl<T: #ident> #ident for ::std::sync::Arc<T> {
            #(#methods)*
        }
    }
}

fn signature(method: &Method) -> TokenStream {
    let name = &method.ident;
    let arguments = method.arguments.iter().map(|argument| {
        let (ident, ty) = match argument {
            Argument::Context(context) => (&context.ident, &context.ty),
            Argument::Param(param) => (&param.ident, &param.ty),
        };
        quote!(#ident: #ty)
    });

    let future_of = |output: TokenStream| quote!(impl ::core::future::Future<Output = #output> + ::core::marker::Send);
    let output = match &method.kind {
        Kind::Unary(ty) | Kind::Oneway(Some(ty)) => future_of(quote!(#ty)),
        Kind::Oneway(None) => future_of(quote!(())),
        Kind::Stream(stream) => stream.ty.to_token_stream(),
    };

    // A lint of the method points at it.
    let fn_token = quote_spanned!(name.span()=> fn);
    quote!(#fn_token #name(&self #(, #arguments)*) -> #output)
}
