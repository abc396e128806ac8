//! The expansion of `#[rpc_error]`.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, ItemEnum};

use crate::error::{CodeVariant, Details, ErrorEnum};
use crate::root::Crate;

pub(crate) fn rpc_error(
    exporter: Crate,
    arguments: TokenStream,
    item: TokenStream,
) -> syn::Result<TokenStream> {
    let mut item: ItemEnum = syn::parse2(item).map_err(|error| {
        syn::Error::new(
            error.span(),
            format!("`#[rpc_error]` belongs on an enum: {error}"),
        )
    })?;
    let error = ErrorEnum::parse(exporter, arguments, &item)?;

    for variant in &mut item.variants {
        variant
            .attrs
            .retain(|attribute| !attribute.path().is_ident("rpc"));
    }
    let implementation = error.expand();

    Ok(quote! {
        #item

        const _: () = {
            #implementation
        };
    })
}

impl ErrorEnum {
    fn expand(&self) -> TokenStream {
        let Self {
            root, ident, other, ..
        } = self;
        let types = self.codes.iter().map(|code| self.details_types(code));
        let shown = self.codes.iter().map(CodeVariant::display);
        let sent = self.codes.iter().map(|code| self.to_status(code));
        let received = self.codes.iter().map(|code| self.of_status(code));
        let described = self.codes.iter().map(|code| self.describe(code));

        quote! {
            #(#types)*

            impl ::core::fmt::Display for #ident {
                #[allow(unused_variables)]
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    match self {
                        #(#shown,)*
                        Self::#other(status) => ::core::fmt::Display::fmt(status, f),
                    }
                }
            }

            impl ::core::error::Error for #ident {}

            impl ::core::convert::From<#ident> for #root::Status {
                fn from(error: #ident) -> Self {
                    let message = ::std::string::ToString::to_string(&error);
                    match error {
                        #(#sent,)*
                        #ident::#other(status) => status,
                    }
                }
            }

            impl ::core::convert::From<#root::Status> for #ident {
                fn from(status: #root::Status) -> Self {
                    match status.code().number() {
                        #(#received,)*
                        _ => Self::#other(status),
                    }
                }
            }

            impl #root::ServiceError for #ident {
                fn errors() -> ::std::vec::Vec<#root::ErrorDescriptor> {
                    ::std::vec![#(#described),*]
                }
            }
        }
    }

    /// The types that the fields of a variant are written from and read into.
    fn details_types(&self, code: &CodeVariant) -> Option<TokenStream> {
        let Details::Fields(fields) = &code.details else {
            return None;
        };

        let (root, serde) = (&self.root, self.root.text("serde"));
        let (owned, borrowed) = (code.details_type(), code.borrowed_details_type());
        let schema = self.has_schema.then(|| {
            let schemars = root.text("schemars");
            quote! {
                #[derive(#root::schemars::JsonSchema)]
                #[schemars(crate = #schemars)]
            }
        });
        let of_owned = fields.named.iter().map(|field| {
            let (ident, ty) = (&field.ident, &field.ty);
            let docs = docs_of(&field.attrs);
            quote!(#(#docs)* #ident: #ty)
        });
        let of_borrowed = fields.named.iter().map(|field| {
            let (ident, ty) = (&field.ident, &field.ty);
            quote!(#ident: &'a #ty)
        });

        Some(quote! {
            #[derive(#root::serde::Deserialize)]
            #schema
            #[serde(crate = #serde)]
            struct #owned { #(#of_owned,)* }

            #[derive(#root::serde::Serialize)]
            #[serde(crate = #serde)]
            struct #borrowed<'a> { #(#of_borrowed,)* }
        })
    }

    fn to_status(&self, code: &CodeVariant) -> TokenStream {
        let (root, number) = (&self.root, code.code);
        let pattern = code.pattern(&self.ident);
        let status = quote!(#root::Status::new(#root::Code::new(#number), message));
        match &code.details {
            Details::None => quote!(#pattern => #status),
            Details::Value(_) => quote!(#pattern => #status.with_details(&value)),
            Details::Fields(fields) => {
                let ty = code.borrowed_details_type();
                let names = fields.named.iter().map(|field| &field.ident);
                quote!(#pattern => #status.with_details(&#ty { #(#names: &#names),* }))
            }
        }
    }

    fn of_status(&self, code: &CodeVariant) -> TokenStream {
        let (root, number, ident, other) = (&self.root, code.code, &code.ident, &self.other);
        let (ty, pattern, value) = match &code.details {
            Details::None => return quote!(#number => Self::#ident),
            Details::Value(ty) => (quote!(#ty), quote!(value), quote!(Self::#ident(value))),
            Details::Fields(fields) => {
                let ty = code.details_type();
                let names: Vec<_> = fields.named.iter().map(|field| &field.ident).collect();
                (
                    quote!(#ty),
                    quote!(#ty { #(#names),* }),
                    quote!(Self::#ident { #(#names),* }),
                )
            }
        };

        quote! {
            #number => match #root::details::<#ty>(&status) {
                ::core::option::Option::Some(#pattern) => #value,
                ::core::option::Option::None => Self::#other(status),
            }
        }
    }

    fn describe(&self, code: &CodeVariant) -> TokenStream {
        let (root, number, doc) = (&self.root, code.code, &code.doc);
        let name = code.ident.unraw().to_string();
        let schema = match &code.details {
            Details::Value(ty) if self.has_schema => Some(quote!(#ty)),
            Details::Fields(_) if self.has_schema => Some(code.details_type().into_token_stream()),
            _ => None,
        };
        let schema = schema.map_or_else(
            || quote!(::core::option::Option::None),
            |ty| quote!(::core::option::Option::Some(#root::schema_of!(#ty))),
        );

        quote! {
            #root::ErrorDescriptor {
                code: #number,
                name: ::std::borrow::Cow::Borrowed(#name),
                doc: ::std::borrow::Cow::Borrowed(#doc),
                details: #schema,
            }
        }
    }
}

impl CodeVariant {
    fn display(&self) -> TokenStream {
        let pattern = self.pattern(&quote!(Self));
        if let Some(message) = &self.message {
            quote!(#pattern => ::core::write!(f, #message))
        } else {
            let text = self.default_message();
            quote!(#pattern => f.write_str(#text))
        }
    }

    fn details_type(&self) -> Ident {
        format_ident!("__{}Details", self.ident.unraw())
    }

    fn borrowed_details_type(&self) -> Ident {
        format_ident!("__{}DetailsRef", self.ident.unraw())
    }

    /// Binds the fields; the value of a tuple variant as `value`.
    fn pattern(&self, path: &impl ToTokens) -> TokenStream {
        let ident = &self.ident;
        match &self.details {
            Details::None => quote!(#path::#ident),
            Details::Value(_) => quote!(#path::#ident(value)),
            Details::Fields(fields) => {
                let names = fields.named.iter().map(|field| &field.ident);
                quote!(#path::#ident { #(#names),* })
            }
        }
    }

    /// The first paragraph of the doc comment, on one line and without its full stop; otherwise the variant's name.
    fn default_message(&self) -> String {
        let lines: Vec<&str> = self
            .doc
            .lines()
            .map(str::trim)
            .take_while(|line| !line.is_empty())
            .collect();

        match lines.join(" ").trim_end_matches('.') {
            "" => self.ident.unraw().to_string(),
            sentence => sentence.to_owned(),
        }
    }
}

fn docs_of(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|it| it.path().is_ident("doc"))
}
