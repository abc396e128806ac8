//! Settings of gateways over HTTP.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::{On5xx, Rule};
use crate::store::ReceiptScope;

/// Settings of a gateway over HTTP. The texts of `url`, `auth`, `headers`, `query`, `form` and `json` may have placeholders,
/// as `{to}`; what takes their places is encoded, so that nothing breaks out of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// The method: "GET" or "POST".
    pub method: HttpMethod,
    /// The address, as `https://api.example.net/messages`.
    pub url: String,
    /// Whether `url` may be plain http to another machine, which shows messages and secrets to the network.
    pub allow_plaintext: bool,
    /// PEM file of the authorities that the gateway's certificate must lead to. Empty: those of the system.
    pub ca_file: String,
    /// Secrets by name, as `env:VARIABLE` or `file:PATH`; `{secret.NAME}` stands for one.
    pub secrets: BTreeMap<String, String>,
    /// The proof of who asks: `basic`, a name and a password, or `bearer`, a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<HttpAuth>,
    /// The signature of requests, instead of `auth`: `kind`, "aliyun-rpc-v1" or "tc3", with the provider's `key` and
    /// `secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<HttpSign>,
    /// Headers by name.
    pub headers: BTreeMap<String, String>,
    /// The query of the address by name.
    pub query: BTreeMap<String, String>,
    /// The body as a form, by name.
    pub form: BTreeMap<String, String>,
    /// The body as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
    /// The sender of messages that name none.
    pub sender: String,
    /// The provider's names of templates, by ours.
    pub templates: BTreeMap<String, String>,
    /// Maximum time of an attempt, in milliseconds. Without a connection by then, the message is not sent; without a whole
    /// answer, it is `unknown`.
    pub timeout_ms: u64,
    /// The meaning of answers.
    pub response: ResponseSettings,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            method: HttpMethod::Post,
            url: String::new(),
            allow_plaintext: false,
            ca_file: String::new(),
            secrets: BTreeMap::new(),
            auth: None,
            sign: None,
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            form: BTreeMap::new(),
            json: None,
            sender: String::new(),
            templates: BTreeMap::new(),
            timeout_ms: 15_000,
            response: ResponseSettings::default(),
        }
    }
}

/// The method of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// GET.
    Get,
    /// POST.
    #[default]
    Post,
}

/// The proof of who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpAuth {
    /// A name and a password.
    Basic([String; 2]),
    /// A token.
    Bearer(String),
}

/// The signature of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSign {
    /// The way to sign.
    pub kind: SignKind,
    /// The name of the secret, as "{secret.key}": Aliyun's `AccessKeyId`, Tencent's `SecretId`.
    pub key: String,
    /// The secret, as "{secret.secret}".
    pub secret: String,
}

/// A way to sign requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignKind {
    /// Aliyun's RPC style, version 1: params with HMAC-SHA1.
    AliyunRpcV1,
    /// Tencent's TC3-HMAC-SHA256: headers and body.
    Tc3,
}

/// The meaning of answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseSettings {
    /// The form of the body: "json", or "text" for any other.
    pub format: AnswerFormat,
    /// JSON pointer to the provider's name for the message, as "/sid".
    #[serde(rename = "ref")]
    pub reference: String,
    /// JSON pointer to the code that rules look at, as "/code"; of several, the first that the answer has.
    #[serde(deserialize_with = "one_or_many")]
    pub code: Vec<String>,
    /// JSON pointer to a list with an answer for each part of a long message, as "/messages"; `ref` and `code` are then those
    /// of each. The message is sent when all parts are, and `failed` where one is refused after others were accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<String>,
    /// Rules: the first that matches says what an answer means. Of answers that none matches, 429 is throttled, 500 to 599
    /// are what `on_5xx` says, and all others leave it unknown.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub rules: Vec<Rule>,
    /// The class of 500 to 599: "unknown", or "temporary" where the provider promises that it has not taken the message.
    #[schemars(with = "String")]
    pub on_5xx: On5xx,
}

/// The form of an answer's body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnswerFormat {
    /// JSON.
    #[default]
    Json,
    /// Any other.
    Text,
}

/// Reads a text, or a list of them.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text, or a list of texts")]
    enum Given {
        One(String),
        Many(Vec<String>),
    }

    Ok(match Given::deserialize(deserializer)? {
        Given::One(text) => vec![text],
        Given::Many(texts) => texts,
    })
}

impl ResponseSettings {
    /// What the receipts of the gateway are about.
    pub(crate) fn receipt_scope(&self) -> ReceiptScope {
        match self.parts {
            Some(_) => ReceiptScope::Part,
            None => ReceiptScope::Message,
        }
    }
}

impl HttpSettings {
    /// Every text that may have placeholders, with its place. `url` is not among them.
    pub(crate) fn texts(&self) -> Vec<(String, &str)> {
        let mut texts = Vec::new();
        let maps = [
            ("headers", &self.headers),
            ("query", &self.query),
            ("form", &self.form),
        ];
        for (place, map) in maps {
            let of_map = map
                .iter()
                .map(|(name, text)| (format!("{place}.{name}"), text.as_str()));
            texts.extend(of_map);
        }

        match &self.auth {
            Some(HttpAuth::Basic(pair)) => {
                texts.extend(pair.iter().map(|text| ("auth.basic".into(), text.as_str())));
            }
            Some(HttpAuth::Bearer(token)) => texts.push(("auth.bearer".into(), token)),
            None => {}
        }

        if let Some(sign) = &self.sign {
            texts.push(("sign.key".into(), &sign.key));
            texts.push(("sign.secret".into(), &sign.secret));
        }
        if let Some(json) = &self.json {
            push_leaves(json, &mut texts);
        }
        texts
    }
}

fn push_leaves<'j>(json: &'j serde_json::Value, texts: &mut Vec<(String, &'j str)>) {
    match json {
        serde_json::Value::String(text) => texts.push(("json".into(), text)),
        serde_json::Value::Array(items) => items.iter().for_each(|item| push_leaves(item, texts)),
        serde_json::Value::Object(fields) => {
            fields.values().for_each(|field| push_leaves(field, texts));
        }
        _ => {}
    }
}
