//! The commands of a service: their numbers and descriptors.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

use super::{constant_of, params_type_of, shouted};
use crate::attributes::{CursorMember, Retry, Timeout};
use crate::service::{Method, Service};
use crate::signature::Kind;

pub(super) fn declaration(service: &Service) -> TokenStream {
    let visibility = &service.visibility;
    let ident = service.type_named("Service");
    let doc = format!(
        " The commands of the service `{}`: their numbers, and what `describe` tells of them.",
        service.name
    );

    quote! {
        #[doc = #doc]
        #[allow(dead_code)]
        #visibility enum #ident {}
    }
}

pub(super) fn implementation(service: &Service) -> TokenStream {
    let root = &service.root;
    let ident = service.type_named("Service");

    let constants = service.methods.iter().map(|method| {
        let (name, constant) = (shouted(method), constant_of(method));
        let doc = format!(" The number of `{}.{}`.", service.name, method.name);
        quote! {
            #[doc = #doc]
            pub const #name: #root::CmdId = #constant.cmdid;
        }
    });

    let described = service.methods.iter().map(function_of);
    let methods = service
        .methods
        .iter()
        .map(|method| describe(service, method));

    quote! {
        #(#methods)*

        #[allow(dead_code)]
        impl #ident {
            #(#constants)*

            /// What `describe` tells of each command, in the order of the trait.
            pub fn descriptors() -> ::std::vec::Vec<#root::Descriptor> {
                ::std::vec![#(#described()),*]
            }
        }
    }
}

/// The function that describes a method.
pub(super) fn function_of(method: &Method) -> Ident {
    format_ident!("__describe_{}", method.ident.unraw())
}

/// What is known of a method: a constant, and its descriptor.
fn describe(service: &Service, method: &Method) -> TokenStream {
    let root = &service.root;
    let constant = constant_of(method);
    let function = function_of(method);

    let (service_name, name, doc) = (&service.name, &method.name, &method.doc);
    let path = format!("::{}::{}", service.ident.unraw(), method.ident.unraw());
    let cmdid = method.cmdid.value;
    let kind = match &method.kind {
        Kind::Unary(_) => quote!(Unary),
        Kind::Oneway(_) => quote!(Oneway),
        Kind::Stream(_) => quote!(Stream),
    };
    let retry = match method.retry {
        None => quote!(Neither),
        Some(Retry::Idempotent) => quote!(Idempotent),
        Some(Retry::Dedup) => quote!(Dedup),
        Some(Retry::DedupByCaller) => quote!(DedupByCaller),
    };
    let timeout = match method.timeout {
        None => quote!(OfClient),
        Some(Timeout::None) => quote!(None),
        Some(Timeout::Millis(limit)) => quote!(Millis(#limit)),
    };
    let resumable = method.resumable.iter().map(|member| {
        let CursorMember { cursor, param } = member;
        quote!(#root::Resume::new(#cursor, #param))
    });
    let deprecated = match &method.deprecated {
        None => quote!(::core::option::Option::None),
        Some(note) => quote!(::core::option::Option::Some(#note)),
    };

    let errors = match &method.kind {
        Kind::Unary(ty) | Kind::Oneway(Some(ty)) => Some(ty),
        Kind::Stream(stream) => Some(&stream.item),
        Kind::Oneway(None) => None,
    };
    let errors = errors.map_or_else(
        || quote!(::std::vec::Vec::new()),
        |ty| quote!(<<#ty as #root::MethodResult>::Error as #root::ServiceError>::errors()),
    );
    let descriptor = quote!(#constant.descriptor(#errors));
    let body = if service.has_schema {
        with_schemas(service, method, &descriptor)
    } else {
        descriptor
    };

    quote! {
        const #constant: #root::Method = #root::Method {
            service: #service_name,
            name: #name,
            path: ::core::concat!(::core::module_path!(), #path),
            doc: #doc,
            cmdid: #root::CmdId::new(#cmdid),
            kind: #root::Kind::#kind,
            retry: #root::RetryCategory::#retry,
            timeout: #root::TimeLimit::#timeout,
            resumable: &[#(#resumable),*],
            deprecated: #deprecated,
        };

        fn #function() -> #root::Descriptor {
            #body
        }
    }
}

fn with_schemas(service: &Service, method: &Method, descriptor: &TokenStream) -> TokenStream {
    let root = &service.root;
    let params: Vec<_> = method.params().collect();
    let params = match params.as_slice() {
        [] => quote!(#root::NoParams),
        [param] => {
            let ty = &param.owned;
            quote!(#ty)
        }
        _ => {
            let ty = params_type_of(method);
            quote!(#ty)
        }
    };

    let data = match &method.kind {
        Kind::Unary(ty) => Some(ty),
        Kind::Stream(stream) => Some(&stream.item),
        Kind::Oneway(_) => None,
    };
    let data = data.map(|ty| quote!(descriptor.data = #root::schema_of_data!(#ty);));

    quote! {
        let mut descriptor = #descriptor;
        descriptor.params = ::core::option::Option::Some(#root::schema_of!(#params));
        #data
        descriptor
    }
}
