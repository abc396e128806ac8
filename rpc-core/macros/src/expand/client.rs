//! The clients: one over any service, one for plain threads.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Ident, Type, TypeReference};

use super::{borrowed_params_type_of, constant_of};
use crate::arguments::Param;
use crate::root::Root;
use crate::service::{Method, Service};
use crate::signature::Kind;

pub(super) fn declaration(service: &Service) -> TokenStream {
    let Service {
        root,
        visibility,
        ident,
        ..
    } = service;
    let client = service.type_named("Client");
    let doc = format!(
        " Calls [`{ident}`] behind any service: a client's connection, a router in a test, a mock."
    );

    quote! {
        #[doc = #doc]
        #[derive(Debug)]
        #[allow(dead_code)]
        #visibility struct #client<S>(#root::TypedClient<S>);
    }
}

pub(super) fn blocking_declaration(service: &Service) -> TokenStream {
    let Service {
        root,
        visibility,
        ident,
        ..
    } = service;
    let client = service.type_named("BlockingClient");
    let doc = format!(" Calls [`{ident}`] from plain threads: each call blocks its thread.");

    quote! {
        #[doc = #doc]
        #[derive(Debug)]
        #[allow(dead_code)]
        #visibility struct #client<B: #root::Blocking>(#root::TypedBlockingClient<B>);
    }
}

/// One of the two clients, and what is different in it.
struct Side {
    client: Ident,
    /// What it is generic in, and the trait of that.
    generic: Ident,
    bound: TokenStream,
    /// What it calls with, and what holds the items of a stream.
    caller: TokenStream,
    items: TokenStream,
    /// The argument that it is made of.
    argument: Ident,
    doc: &'static str,
    /// The type of a method that comes to this.
    output: fn(TokenStream) -> TokenStream,
}

impl Side {
    fn of_any_service(service: &Service) -> Self {
        let root = &service.root;
        Self {
            client: service.type_named("Client"),
            generic: format_ident!("S"),
            bound: quote!(#root::Service),
            caller: quote!(#root::TypedClient),
            items: quote!(#root::Items<),
            argument: format_ident!("service"),
            doc: " A client of this service.",
            output: |output| quote!(impl ::core::future::Future<Output = #output> + ::core::marker::Send + use<'_, S>),
        }
    }

    fn of_threads(service: &Service) -> Self {
        let root = &service.root;
        Self {
            client: service.type_named("BlockingClient"),
            generic: format_ident!("B"),
            bound: quote!(#root::Blocking),
            caller: quote!(#root::TypedBlockingClient),
            items: quote!(#root::BlockingItems<B,),
            argument: format_ident!("blocking"),
            doc: " A client of the service that this one calls.",
            output: |output| output,
        }
    }

    /// The type of a method, and the verb that makes its call.
    fn output_and_verb(&self, method: &Method, root: &Root) -> (TokenStream, TokenStream) {
        let (output, verb) = match &method.kind {
            Kind::Unary(ty) => (quote!(#ty), quote!(unary::<#ty>)),
            Kind::Oneway(_) => (
                quote!(::core::result::Result<(), #root::Status>),
                quote!(oneway),
            ),
            Kind::Stream(stream) => {
                let (items, item) = (&self.items, &stream.item);
                let error = quote!(<#item as #root::MethodResult>::Error);
                (
                    quote!(::core::result::Result<#items #item>, #error>),
                    quote!(stream::<#item>),
                )
            }
        };
        ((self.output)(output), verb)
    }

    fn implementation(&self, service: &Service) -> TokenStream {
        let root = &service.root;
        let Self {
            client,
            generic,
            bound,
            caller: inner,
            argument,
            doc,
            ..
        } = self;

        let methods = service.methods.iter().map(|method| {
            let Caller {
                head,
                request,
                arguments,
            } = caller(service, method);
            let (output, verb) = self.output_and_verb(method, root);
            let name = &method.ident;
            quote! {
                #head
                pub fn #name(&self #(, #arguments)*) -> #output {
                    self.0.#verb(#request)
                }
            }
        });

        quote! {
            #[allow(dead_code)]
            impl<#generic: #bound> #client<#generic> {
                #[doc = #doc]
                pub fn new(#argument: #generic) -> Self {
                    Self(#inner::new(#argument))
                }

                /// The same client with options for its calls; what they do not say holds on.
                #[must_use]
                pub fn with(&self, options: #root::CallOptions) -> Self {
                    Self(self.0.with(options))
                }

                #(#methods)*
            }
        }
    }
}

pub(super) fn implementation(service: &Service) -> TokenStream {
    let client = service.type_named("Client");
    let params = service
        .methods
        .iter()
        .map(|method| borrowed_params_type(service, method));
    let implementation = Side::of_any_service(service).implementation(service);

    quote! {
        #(#params)*

        #implementation

        impl<S> ::core::clone::Clone for #client<S> {
            fn clone(&self) -> Self {
                Self(::core::clone::Clone::clone(&self.0))
            }
        }
    }
}

pub(super) fn blocking_implementation(service: &Service) -> TokenStream {
    let root = &service.root;
    let client = service.type_named("BlockingClient");
    let implementation = Side::of_threads(service).implementation(service);

    quote! {
        #implementation

        impl<B: #root::Blocking> ::core::clone::Clone for #client<B> {
            fn clone(&self) -> Self {
                Self(::core::clone::Clone::clone(&self.0))
            }
        }
    }
}

/// What the two clients' methods have in common.
struct Caller {
    /// Docs and attributes.
    head: TokenStream,
    /// The request.
    request: TokenStream,
    arguments: Vec<TokenStream>,
}

fn caller(service: &Service, method: &Method) -> Caller {
    let root = &service.root;
    let docs = method
        .attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"));
    let doc = format!(
        " Calls `{}.{}`, cmdid {}.",
        service.name, method.name, method.cmdid.value
    );
    let gap = (!method.doc.is_empty()).then(|| quote!(#[doc = ""]));
    let deprecated = method.deprecated.as_ref().map(|note| match note.as_str() {
        "" => quote!(#[deprecated]),
        note => quote!(#[deprecated(note = #note)]),
    });

    let params: Vec<_> = method.params().collect();
    let value = match params.as_slice() {
        [] => quote!(&#root::NoParams {}),
        [param] => reference_to(param),
        _ => {
            let ty = borrowed_params_type_of(method);
            let fields = params.iter().map(|param| {
                let (ident, value) = (&param.ident, reference_to(param));
                quote!(#ident: #value)
            });
            quote!(&#ty { #(#fields),* })
        }
    };
    let constant = constant_of(method);

    Caller {
        head: quote!(#(#docs)* #gap #[doc = #doc] #deprecated),
        request: quote!(self.0.request(&#constant, #value)),
        arguments: params
            .iter()
            .map(|param| {
                let Param { ident, ty, .. } = param;
                quote!(#ident: #ty)
            })
            .collect(),
    }
}

fn reference_to(param: &Param) -> TokenStream {
    let ident = &param.ident;
    if param.is_reference {
        quote!(#ident)
    } else {
        quote!(&#ident)
    }
}

/// What the params of several names are written from.
fn borrowed_params_type(service: &Service, method: &Method) -> Option<TokenStream> {
    let params: Vec<_> = method.params().collect();
    if params.len() < 2 {
        return None;
    }

    let (root, name) = (&service.root, borrowed_params_type_of(method));
    let serde = root.text("serde");
    let fields = params.iter().map(|param| {
        let ident = &param.ident;
        let ty = match &param.ty {
            Type::Reference(TypeReference { elem, .. }) => elem,
            ty => ty,
        };
        let kept = |attribute: &&Attribute| attribute.path().is_ident("serde");
        let attributes = param.attributes.iter().filter(kept);
        quote!(#(#attributes)* #ident: &'a #ty)
    });

    Some(quote! {
        #[derive(#root::serde::Serialize)]
        #[serde(crate = #serde)]
        struct #name<'a> {
            #(#fields,)*
        }
    })
}
