//! Attributes as written: `#[service(…)]`, and `#[rpc(…)]` of a method.

use proc_macro2::{Span, TokenStream};
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, ExprUnary, Lit, LitInt, LitStr, Path, UnOp};

/// The lowest cmdid that belongs to services.
const FIRST_OF_SERVICES: u32 = 100;

/// A value, and where it stands.
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// `#[service(…)]`.
#[derive(Default)]
pub(crate) struct ServiceAttribute {
    pub(crate) name: Option<LitStr>,
    pub(crate) schema: bool,
    pub(crate) root: Option<Path>,
}

impl ServiceAttribute {
    pub(crate) fn parse(arguments: TokenStream) -> syn::Result<Self> {
        let mut attribute = Self::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                attribute.name = Some(name_of(&meta)?);
            } else if meta.path.is_ident("schema") {
                attribute.schema = true;
            } else if meta.path.is_ident("crate") {
                attribute.root = Some(meta.value()?.call(Path::parse_mod_style)?);
            } else {
                return Err(meta.error(
                    "unknown argument of `service`; it takes `name = \"…\"`, `schema` and `crate = path`",
                ));
            }
            Ok(())
        });

        parser.parse2(arguments)?;
        Ok(attribute)
    }
}

/// `#[rpc(…)]` of a method.
pub(crate) struct RpcAttribute {
    pub(crate) cmdid: At<u32>,
    pub(crate) name: Option<LitStr>,
    pub(crate) oneway: Option<Span>,
    pub(crate) retry: Option<At<Retry>>,
    pub(crate) timeout: Option<At<Timeout>>,
    pub(crate) resumable: Option<At<Vec<CursorMember>>>,
    pub(crate) deprecated: Option<Deprecation>,
}

/// A member of an item's cursor, and the param that takes it.
pub(crate) struct CursorMember {
    pub(crate) cursor: LitStr,
    pub(crate) param: LitStr,
}

/// A retry category that is said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    Idempotent,
    Dedup,
    DedupByCaller,
}

/// A time limit that is said.
#[derive(Clone, Copy)]
pub(crate) enum Timeout {
    None,
    Millis(u64),
}

/// `deprecated`, or `deprecated = "…"`.
pub(crate) struct Deprecation {
    /// What to use instead.
    pub(crate) note: Option<LitStr>,
}

/// The arguments of `#[rpc(…)]` as they are read.
#[derive(Default)]
struct Reading {
    cmdid: Option<At<u32>>,
    name: Option<LitStr>,
    oneway: Option<Span>,
    retry: Option<At<Retry>>,
    timeout: Option<At<Timeout>>,
    resumable: Option<At<Vec<CursorMember>>>,
    deprecated: Option<Deprecation>,
    seen: Vec<String>,
}

impl RpcAttribute {
    pub(crate) fn parse(attribute: &Attribute) -> syn::Result<Self> {
        let mut reading = Reading::default();
        attribute.parse_nested_meta(|meta| reading.argument(&meta))?;

        let Some(cmdid) = reading.cmdid else {
            return Err(syn::Error::new(
                attribute.path().span(),
                "`cmdid` is missing: write `#[rpc(cmdid = N)]`, where N is 100 or more",
            ));
        };

        Ok(Self {
            cmdid,
            name: reading.name,
            oneway: reading.oneway,
            retry: reading.retry,
            timeout: reading.timeout,
            resumable: reading.resumable,
            deprecated: reading.deprecated,
        })
    }
}

impl Reading {
    fn argument(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string);
        let name = name.unwrap_or_default();
        if self.seen.contains(&name) {
            return Err(meta.error(format!("`{name}` is given twice")));
        }

        let span = meta.path.span();
        match name.as_str() {
            "cmdid" => self.cmdid = Some(cmdid_of(meta)?),
            "name" => self.name = Some(name_of(meta)?),
            "oneway" => self.oneway = Some(span),
            "idempotent" => self.set_retry(Retry::Idempotent, span)?,
            "dedup" => {
                let category = dedup_of(meta)?;
                self.set_retry(category, span)?;
            }
            "no_timeout" => self.set_timeout(Timeout::None, span)?,
            "timeout_ms" => {
                let limit = timeout_of(meta)?;
                self.set_timeout(limit, span)?;
            }
            "resumable" => {
                let value = resumable_of(meta)?;
                self.resumable = Some(At { value, span });
            }
            "deprecated" => {
                let has_note = meta.input.peek(syn::Token![=]);
                let note = has_note.then(|| meta.value()?.parse()).transpose()?;
                self.deprecated = Some(Deprecation { note });
            }
            _ => {
                return Err(meta.error(
                    "unknown argument of `rpc`; it takes `cmdid = N`, `name = \"…\"`, `oneway`, `idempotent`, `dedup`, \
                     `dedup(by_caller)`, `timeout_ms = N`, `no_timeout`, `resumable(cursor = \"…\", param = \"…\")` and `deprecated`",
                ));
            }
        }

        self.seen.push(name);
        Ok(())
    }

    fn set_retry(&mut self, value: Retry, span: Span) -> syn::Result<()> {
        if self.retry.is_some() {
            return Err(syn::Error::new(
                span,
                "a method is `idempotent` or `dedup`, not both: a method that may run twice needs no key",
            ));
        }
        self.retry = Some(At { value, span });
        Ok(())
    }

    fn set_timeout(&mut self, value: Timeout, span: Span) -> syn::Result<()> {
        if self.timeout.is_some() {
            return Err(syn::Error::new(
                span,
                "a method has `timeout_ms` or `no_timeout`, not both",
            ));
        }
        self.timeout = Some(At { value, span });
        Ok(())
    }
}

fn cmdid_of(meta: &ParseNestedMeta<'_>) -> syn::Result<At<u32>> {
    const WANTED: &str = "`cmdid` must be a number from 100 to 4294967295, written out";

    let number = number_of(meta, WANTED)?;
    let value: u32 = number
        .base10_parse()
        .map_err(|_| syn::Error::new(number.span(), WANTED))?;
    if value < FIRST_OF_SERVICES {
        return Err(syn::Error::new(
            number.span(),
            format!("cmdid {value} is reserved: 0-99 are the protocol's, services begin at 100"),
        ));
    }

    Ok(At {
        value,
        span: number.span(),
    })
}

fn timeout_of(meta: &ParseNestedMeta<'_>) -> syn::Result<Timeout> {
    const WANTED: &str = "`timeout_ms` must be a number of milliseconds, 1 or more, written out";

    let number = number_of(meta, WANTED)?;
    match number.base10_parse() {
        Ok(0) => Err(syn::Error::new(
            number.span(),
            "`timeout_ms` is 0, and every call would time out at once; write 1 or more, or `no_timeout`",
        )),
        Ok(limit) => Ok(Timeout::Millis(limit)),
        Err(_) => Err(syn::Error::new(number.span(), WANTED)),
    }
}

/// The number behind `=`; anything else is read to its end, so that the error points at it.
fn number_of(meta: &ParseNestedMeta<'_>, wanted: &str) -> syn::Result<LitInt> {
    match meta.value()?.parse()? {
        Expr::Lit(ExprLit {
            lit: Lit::Int(number),
            ..
        }) => Ok(number),
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(minus),
            ..
        }) => Err(syn::Error::new(minus.span(), wanted)),
        other => Err(syn::Error::new(other.span(), wanted)),
    }
}

/// `dedup`, or `dedup(by_caller)`.
fn dedup_of(meta: &ParseNestedMeta<'_>) -> syn::Result<Retry> {
    if !meta.input.peek(syn::token::Paren) {
        return Ok(Retry::Dedup);
    }

    let mut category = Retry::Dedup;
    meta.parse_nested_meta(|inner| {
        if !inner.path.is_ident("by_caller") {
            return Err(inner.error("`dedup` takes only `by_caller`"));
        }
        category = Retry::DedupByCaller;
        Ok(())
    })?;
    Ok(category)
}

/// `resumable(cursor = "…", param = "…")`, with as many pairs as the cursor has members.
fn resumable_of(meta: &ParseNestedMeta<'_>) -> syn::Result<Vec<CursorMember>> {
    const WANTED: &str = "`resumable` takes pairs: `resumable(cursor = \"next\", param = \"after\")`, a member of each item, \
                          and the param that takes it";

    let mut members = Vec::new();
    let mut open = None;
    if meta.input.peek(syn::token::Paren) {
        meta.parse_nested_meta(|inner| {
            if inner.path.is_ident("cursor") && open.is_none() {
                open = Some(inner.value()?.parse()?);
                return Ok(());
            }

            match open.take().filter(|_| inner.path.is_ident("param")) {
                Some(cursor) => {
                    let param = inner.value()?.parse()?;
                    members.push(CursorMember { cursor, param });
                    Ok(())
                }
                None => Err(inner.error(WANTED)),
            }
        })?;
    }

    if members.is_empty() || open.is_some() {
        return Err(syn::Error::new(meta.path.span(), WANTED));
    }
    Ok(members)
}

/// A name on the wire.
fn name_of(meta: &ParseNestedMeta<'_>) -> syn::Result<LitStr> {
    let name: LitStr = meta.value()?.parse()?;
    let text = name.value();
    let is_fine = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');

    if text.is_empty() || !text.chars().all(is_fine) {
        return Err(syn::Error::new(
            name.span(),
            format!(
                "`{text}` cannot be a name: it has letters, digits, `_` and `-`, at least one of them"
            ),
        ));
    }
    Ok(name)
}

/// The text of doc comments, as a person reads it: without the space that each line begins with.
pub(crate) fn doc_of(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|it| it.path().is_ident("doc")) {
        if let Ok(pair) = attribute.meta.require_name_value()
            && let Expr::Lit(ExprLit {
                lit: Lit::Str(line),
                ..
            }) = &pair.value
        {
            let line = line.value();
            lines.push(
                line.strip_prefix(' ')
                    .unwrap_or(&line)
                    .trim_end()
                    .to_owned(),
            );
        }
    }

    lines.join("\n").trim().to_owned()
}
