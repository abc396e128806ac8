//! The expansion of the service of docs/services.md, as a formatted snapshot: what a reader of an error message, or
//! of this crate, wants to see.
//!
//! `RENEW=1 cargo test -p rpc-macros --lib` renews it.

use std::path::Path;

use crate::expand;
use crate::root::SERVER;

/// The first trait with `#[service]` of the document.
fn service_of_the_tutorial() -> syn::ItemTrait {
    let document = include_str!("../../../docs/services.md");
    let start = document
        .find("#[service]\npub trait")
        .expect("it begins with one");
    let (source, _) = document[start..]
        .split_once("\n}\n")
        .expect("the trait has an end");

    syn::parse_str(&format!("{source}\n}}")).expect("the document compiles")
}

#[test]
fn the_expansion_of_the_tutorials_service_is_the_snapshot() {
    let mut service = service_of_the_tutorial();
    service
        .attrs
        .retain(|attribute| !attribute.path().is_ident("service"));

    let item = quote::quote!(#service);
    let expanded = expand::service(SERVER, proc_macro2::TokenStream::new(), item).unwrap();
    let expanded = prettyplease::unparse(&syn::parse2(expanded).unwrap());

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/orders.rs");
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(&path, &expanded).unwrap();
    }
    let snapshot = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        snapshot == expanded,
        "{} differs from the expansion; `RENEW=1 cargo test -p rpc-macros --lib` renews it:\n{expanded}",
        path.display()
    );
}
