//! The wrapper that serves an implementor.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Attribute;

use super::commands::function_of;
use super::{constant_of, params_type_of};
use crate::arguments::{Argument, Param};
use crate::service::{Method, Service};
use crate::signature::Kind;

pub(super) fn declaration(service: &Service) -> TokenStream {
    let Service {
        visibility, ident, ..
    } = service;
    let server = service.type_named("Server");
    let doc = format!(
        " Serves an implementor of [`{ident}`]: `Router::new().serve({server}(implementor))`."
    );

    quote! {
        #[doc = #doc]
        #[derive(Clone, Copy, Debug, Default)]
        #[allow(dead_code)]
        #visibility struct #server<T>(
            /// The implementor.
            pub T,
        );
    }
}

pub(super) fn implementation(service: &Service) -> TokenStream {
    let root = &service.root;
    let ident = &service.ident;
    let server = service.type_named("Server");

    let params = service
        .methods
        .iter()
        .map(|method| params_type(service, method));
    let additions = service.methods.iter().map(|method| {
        let (constant, function) = (constant_of(method), function_of(method));
        let handler = handler(service, method);
        quote! {
            let routes = {
                let service = ::std::sync::Arc::clone(&service);
                R::add(routes, &#constant, #function(), #handler)?
            };
        }
    });

    quote! {
        #(#params)*

        impl<T: #ident> #root::Serve for #server<T> {
            fn serve<R: #root::Routes>(self, routes: R) -> ::core::result::Result<R, R::Error> {
                let service = ::std::sync::Arc::new(self.0);
                #(#additions)*
                ::core::result::Result::Ok(routes)
            }
        }
    }
}

/// The struct into which the params of a method with several arguments are decoded.
fn params_type(service: &Service, method: &Method) -> Option<TokenStream> {
    let params: Vec<_> = method.params().collect();
    if params.len() < 2 {
        return None;
    }

    let (root, name) = (&service.root, params_type_of(method));
    let wire_name = &method.name;
    // Otherwise an error would show the name of the struct, which is a generated one.
    let expecting = format!("an object with the arguments of `{wire_name}`");
    let serde = root.text("serde");
    let schema = service.has_schema.then(|| {
        let schemars = root.text("schemars");
        quote! {
            #[derive(#root::schemars::JsonSchema)]
            #[schemars(crate = #schemars)]
        }
    });

    let fields = params.iter().map(|param| {
        let Param { ident, owned, .. } = param;
        let kept =
            |attribute: &&Attribute| service.has_schema || !attribute.path().is_ident("schemars");
        let attributes = param.attributes.iter().filter(kept);
        quote!(#(#attributes)* #ident: #owned)
    });

    Some(quote! {
        #[derive(#root::serde::Deserialize)]
        #schema
        #[serde(crate = #serde, rename = #wire_name, expecting = #expecting)]
        struct #name {
            #(#fields,)*
        }
    })
}

/// The service of one command.
fn handler(service: &Service, method: &Method) -> TokenStream {
    let root = &service.root;
    let (trait_, name) = (&service.ident, &method.ident);

    let params: Vec<_> = method.params().collect();
    let decoded = match params.as_slice() {
        [] => quote!(R::no_params(&request)),
        [param] => {
            let ty = &param.owned;
            quote!(R::params::<#ty>(&request))
        }
        _ => {
            let ty = params_type_of(method);
            quote!(R::params::<#ty>(&request))
        }
    };
    let pattern = if params.is_empty() {
        quote!(())
    } else {
        quote!(params)
    };
    let (pattern, arguments_of_call) = match method.context() {
        None => (pattern, decoded),
        Some(_) => (
            quote!((context, #pattern)),
            quote!(#decoded.map(|params| (R::context(&request), params))),
        ),
    };

    let is_single = params.len() == 1;
    let arguments = method.arguments.iter().map(|argument| match argument {
        Argument::Context(context) if context.is_reference => quote!(&context),
        Argument::Context(_) => quote!(context),
        Argument::Param(param) => {
            let ident = &param.ident;
            let place = if is_single {
                quote!(params)
            } else {
                quote!(params.#ident)
            };
            if param.is_reference {
                quote!(&#place)
            } else {
                place
            }
        }
    });
    let call = quote!(<T as #trait_>::#name(&*service #(, #arguments)*));

    let run = match &method.kind {
        Kind::Unary(_) | Kind::Oneway(_) => {
            quote!(#root::IntoReply::into_outcome(#call.await))
        }
        Kind::Stream(_) => quote! {
            ::core::result::Result::Ok(#root::stream_reply(move |sink| async move {
                sink.send_all(#call).await;
            }))
        },
    };

    quote! {
        #root::handler(move |request: #root::Request<'_>| {
            let service = ::std::sync::Arc::clone(&service);
            let arguments = #arguments_of_call;
            async move {
                let #pattern = arguments?;
                #run
            }
        })
    }
}
