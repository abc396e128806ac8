//! Descriptors: the descriptions of commands that `describe` returns.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::frame::CmdId;
use crate::resume::Resume;

/// The description of a command, as `describe` lists it.
///
/// ```
/// use rpc_core::Descriptor;
///
/// let append = Descriptor::new("log", "append")
///     .doc("Writes an entry, and replies with its number once it is on disk.")
///     .params_schema(serde_json::json!({"type": "object", "required": ["message"]}));
/// assert_eq!(append.name(), "log.append");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Number of the command; the router sets it.
    pub cmdid: CmdId,
    /// Name of the command's service.
    pub service: Cow<'static, str>,
    /// Name of the command within the service.
    pub method: Cow<'static, str>,
    /// What the command does. The first paragraph is its summary.
    #[serde(default)]
    pub doc: Cow<'static, str>,
    /// How the command replies.
    pub kind: Kind,
    /// Whether running the command twice has the effect of running it once, so that a client may repeat it freely.
    pub idempotent: bool,
    /// How the server recognises a repetition, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<Dedup>,
    /// The members of the cursor of a stream that can continue after any of its items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumable: Vec<Resume>,
    /// Timeout of a typed client's call in milliseconds, if the caller sets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether a typed client's call may take any time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_timeout: bool,
    /// Set if the command should not be used any more: what to use instead, or an empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Cow<'static, str>>,
    /// The service's own codes with which the command fails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorDescriptor>,
    /// JSON Schema of `params`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// JSON Schema of `data`, or of each item of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// How a server recognises a repeated call by the metadata `idempotency-key`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dedup {
    /// Whether only callers give keys, so that a typed client makes no keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_caller: bool,
    /// Name of the store that has the keys. Servers with the same store recognise the same repetitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Cow<'static, str>>,
}

/// One of a service's own codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorDescriptor {
    /// Number of the code, 1000 or more.
    pub code: u32,
    /// Name of the code.
    pub name: Cow<'static, str>,
    /// What the code means. The first paragraph is its summary.
    #[serde(default)]
    pub doc: Cow<'static, str>,
    /// JSON Schema of `details`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// Whether a call that may have run may be sent again: the retry category of its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RetryCategory {
    /// It may not: a client sends a call again only if it did not run.
    #[default]
    Neither,
    /// It may: running the command twice has the effect of running it once.
    Idempotent,
    /// It may, with the same `idempotency-key`, to a server with the same store of keys. A typed client gives each call
    /// a key.
    Dedup,
    /// Like [`Dedup`](Self::Dedup) if the caller has given a key, otherwise like [`Neither`](Self::Neither).
    DedupByCaller,
}

/// How a command replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One reply.
    Unary,
    /// No reply.
    Oneway,
    /// A stream of items.
    Stream,
}

impl Descriptor {
    /// A unary command that is not idempotent.
    pub fn new(
        service: impl Into<Cow<'static, str>>,
        method: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            cmdid: CmdId::new(0),
            service: service.into(),
            method: method.into(),
            doc: Cow::Borrowed(""),
            kind: Kind::Unary,
            idempotent: false,
            dedup: None,
            resumable: Vec::new(),
            timeout_ms: None,
            no_timeout: false,
            deprecated: None,
            errors: Vec::new(),
            params: None,
            data: None,
        }
    }

    /// `service.method`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.service, self.method)
    }

    /// Sets the description.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<Cow<'static, str>>) -> Self {
        self.doc = doc.into();
        self
    }

    /// Sets how the command replies.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Promises that running the command twice has the effect of running it once.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Promises that the stream can continue after any of its items, by a call whose params have the members of the
    /// item's cursor.
    #[must_use]
    pub fn resumable(mut self, members: impl IntoIterator<Item = Resume>) -> Self {
        self.resumable = members.into_iter().collect();
        self
    }

    /// Sets the retry category.
    #[must_use]
    pub fn retry(mut self, category: RetryCategory) -> Self {
        self.idempotent = category == RetryCategory::Idempotent;
        self.dedup = match category {
            RetryCategory::Neither | RetryCategory::Idempotent => None,
            RetryCategory::Dedup | RetryCategory::DedupByCaller => Some(Dedup {
                by_caller: category == RetryCategory::DedupByCaller,
                store: None,
            }),
        };
        self
    }

    /// The retry category.
    pub fn retry_category(&self) -> RetryCategory {
        match &self.dedup {
            Some(Dedup {
                by_caller: true, ..
            }) => RetryCategory::DedupByCaller,
            Some(_) => RetryCategory::Dedup,
            None if self.idempotent => RetryCategory::Idempotent,
            None => RetryCategory::Neither,
        }
    }

    /// Sets the JSON Schema of `params`.
    #[must_use]
    pub fn params_schema(mut self, schema: Value) -> Self {
        self.params = Some(schema);
        self
    }

    /// Sets the JSON Schema of `data`.
    #[must_use]
    pub fn data_schema(mut self, schema: Value) -> Self {
        self.data = Some(schema);
        self
    }

    /// Takes the JSON Schema of `params` from a type.
    #[cfg(feature = "schema")]
    #[must_use]
    pub fn params<T: schemars::JsonSchema>(self) -> Self {
        self.params_schema(schemars::schema_for!(T).to_value())
    }

    /// Takes the JSON Schema of `data` from a type.
    #[cfg(feature = "schema")]
    #[must_use]
    pub fn data<T: schemars::JsonSchema>(self) -> Self {
        self.data_schema(schemars::schema_for!(T).to_value())
    }
}

/// The first paragraph of a description, on one line. Descriptions come from doc comments, whose sentences may be
/// wrapped.
///
/// ```
/// use rpc_core::descriptor::first_paragraph;
///
/// let doc = "Writes entries together,\nor not at all.\n\nA repetition is recognised.";
/// assert_eq!(first_paragraph(doc), "Writes entries together, or not at all.");
/// ```
pub fn first_paragraph(description: &str) -> Cow<'_, str> {
    let mut lines = description
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty());
    let mut paragraph = Cow::Borrowed(lines.next().unwrap_or_default());

    for line in lines {
        let paragraph = paragraph.to_mut();
        paragraph.push(' ');
        paragraph.push_str(line);
    }
    paragraph
}
