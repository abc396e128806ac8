//! The path by which an expansion names the crate that its attribute is exported by.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{LitStr, Path};

/// A crate that exports the attributes.
#[derive(Clone, Copy)]
pub(crate) struct Crate(&'static str);

pub(crate) const CORE: Crate = Crate("rpc_core");
pub(crate) const SERVER: Crate = Crate("rpc_server");
pub(crate) const CLIENT: Crate = Crate("rpc_client");

/// The path of what expansions use.
#[derive(Clone)]
pub(crate) struct Root(TokenStream);

impl Root {
    /// The root under the name that the crate being compiled has for the exporter: the one that it says in
    /// `crate = path`, else the one that the compiler was given.
    pub(crate) fn of(exporter: Crate, said: Option<&Path>) -> Self {
        if let Some(path) = said {
            return Self(quote!(#path::__private));
        }

        let name = name_among(exporter.0, std::env::args());
        let name = quote::format_ident!("{}", name.as_deref().unwrap_or(exporter.0));
        Self(quote!(::#name::__private))
    }

    /// As a string for the attribute `crate` of serde's and schemars' derives.
    pub(crate) fn text(&self, module: &str) -> LitStr {
        let path = self.0.to_string().replace(' ', "");
        LitStr::new(&format!("{path}::{module}"), proc_macro2::Span::call_site())
    }
}

impl ToTokens for Root {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

/// The name under which a crate is known to the one being compiled, by the compiler's own arguments:
/// `--extern NAME=…/libCRATE-HASH.rmeta`. Cargo.toml is not asked, since a name there may be inherited from a
/// workspace, differ by target, or come from another build system. None where the compiler was called otherwise
/// (as by an editor): then the crate has its own name.
fn name_among(crate_name: &str, arguments: impl Iterator<Item = String>) -> Option<String> {
    let mut follows_extern = false;
    for argument in arguments {
        let value = if std::mem::take(&mut follows_extern) {
            Some(argument.as_str())
        } else {
            argument.strip_prefix("--extern=")
        };
        follows_extern = argument == "--extern";

        let Some((name, path)) = value.and_then(|value| value.split_once('=')) else {
            continue;
        };
        let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
        let stem = file.strip_prefix("lib").unwrap_or(file);
        let is_it = stem
            .strip_prefix(crate_name)
            .is_some_and(|rest| rest.starts_with(['-', '.']));

        if is_it {
            // Options of the extern precede its name.
            return name.rsplit(':').next().map(str::to_owned);
        }
    }

    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &[&str], name: Option<&str>) {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        assert_eq!(name_among("rpc_server", arguments).as_deref(), name);
    }

    #[test]
    fn a_crate_is_known_by_the_name_that_the_compiler_was_given() {
        check(
            &["--extern", "rpc_server=/t/librpc_server-0a.rmeta"],
            Some("rpc_server"),
        );
        check(
            &["--extern=wire=/t/librpc_server-0a.rlib", "--extern", "a=b"],
            Some("wire"),
        );
        check(
            &["--extern", "priv,noprelude:wire=C:\\t\\librpc_server.rlib"],
            Some("wire"),
        );
        check(&["--extern", "x=/t/librpc_server_more-0a.rlib"], None);
        check(&["rpc_server=/t/librpc_server-0a.rlib"], None);
        check(&["--extern", "proc_macro"], None);
    }
}
