//! What `describe` tells of a command.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::frame::CmdId;

/// One command, as `describe` lists it.
///
/// ```
/// use rpc_core::Descriptor;
///
/// let append = Descriptor::new("log", "append")
///     .doc("Writes an entry; answers its number once it is on disk.")
///     .params_schema(serde_json::json!({"type": "object", "required": ["message"]}));
/// assert_eq!(append.name(), "log.append");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The number; set where the command is routed.
    pub cmdid: CmdId,
    /// The service that it belongs to.
    pub service: Cow<'static, str>,
    /// Its name within the service.
    pub method: Cow<'static, str>,
    /// What it does, in a sentence.
    #[serde(default)]
    pub doc: Cow<'static, str>,
    /// How it answers.
    pub kind: Kind,
    /// Whether running it twice is as good as once, so that a client may repeat it freely.
    pub idempotent: bool,
    /// JSON Schema of `params`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// JSON Schema of `data`, or of each item of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// How a command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One reply.
    Unary,
    /// None.
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
            params: None,
            data: None,
        }
    }

    /// `service.method`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.service, self.method)
    }

    /// Sets the sentence on what it does.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<Cow<'static, str>>) -> Self {
        self.doc = doc.into();
        self
    }

    /// Sets how it answers.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Promises that running it twice is as good as once.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
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
