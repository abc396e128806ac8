//! The attributes `#[service]` and `#[rpc_error]`, which rpc-core, rpc-server and rpc-client export. Their
//! documentation is at `rpc_core::service` and `rpc_core::rpc_error`; what they expand to is in docs/design.md.
//!
//! Each of the three crates has a pair of its own, so that an expansion knows whose names it may use: a crate
//! that depends on one of them alone need not know the others.

mod arguments;
mod attributes;
mod error;
mod expand;
mod root;
mod service;
mod signature;
#[cfg(test)]
mod snapshot;

use proc_macro::TokenStream;
use quote::ToTokens;

use root::{CLIENT, CORE, Crate, SERVER};

/// `rpc_core::service`.
#[doc = include_str!("service.md")]
#[proc_macro_attribute]
pub fn service_of_core(arguments: TokenStream, item: TokenStream) -> TokenStream {
    service(CORE, arguments, item)
}

/// `rpc_server::service`: `rpc_core::service` for a crate that depends on rpc-server.
#[proc_macro_attribute]
pub fn service_of_server(arguments: TokenStream, item: TokenStream) -> TokenStream {
    service(SERVER, arguments, item)
}

/// `rpc_client::service`: `rpc_core::service` for a crate that depends on rpc-client.
#[proc_macro_attribute]
pub fn service_of_client(arguments: TokenStream, item: TokenStream) -> TokenStream {
    service(CLIENT, arguments, item)
}

/// `rpc_core::rpc_error`.
#[doc = include_str!("rpc_error.md")]
#[proc_macro_attribute]
pub fn rpc_error_of_core(arguments: TokenStream, item: TokenStream) -> TokenStream {
    rpc_error(CORE, arguments, item)
}

/// `rpc_server::rpc_error`: `rpc_core::rpc_error` for a crate that depends on rpc-server.
#[proc_macro_attribute]
pub fn rpc_error_of_server(arguments: TokenStream, item: TokenStream) -> TokenStream {
    rpc_error(SERVER, arguments, item)
}

/// `rpc_client::rpc_error`: `rpc_core::rpc_error` for a crate that depends on rpc-client.
#[proc_macro_attribute]
pub fn rpc_error_of_client(arguments: TokenStream, item: TokenStream) -> TokenStream {
    rpc_error(CLIENT, arguments, item)
}

fn service(exporter: Crate, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = expand::service(exporter, arguments.into(), item.into());
    expanded
        .unwrap_or_else(syn::Error::into_compile_error)
        .into_token_stream()
        .into()
}

fn rpc_error(exporter: Crate, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = expand::rpc_error(exporter, arguments.into(), item.into());
    expanded
        .unwrap_or_else(syn::Error::into_compile_error)
        .into_token_stream()
        .into()
}
