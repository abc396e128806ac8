//! Settings of receipts that providers send over HTTP.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The listener that takes receipts from providers. It answers 404 to everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiptsSettings {
    /// The address, as "127.0.0.1:8891". Empty: receipts are taken by command 1109 alone.
    pub listen: String,
    /// Whether `listen` may be an address that other machines reach: it is plain http, which a proxy with TLS belongs in
    /// front of.
    pub allow_plaintext: bool,
    /// The address that providers reach the listener at, as `https://sms.example.net`, without a path: `{callback}` of a
    /// gateway begins with it. Empty: `http://` and `listen`.
    pub public_url: String,
}

impl ReceiptsSettings {
    /// The address that a gateway's provider asks for. The secret of its path is in it as a placeholder.
    pub(crate) fn callback(&self, receipt: &ReceiptSettings) -> String {
        let base = match self.public_url.as_str() {
            "" => format!("http://{}", self.listen),
            public => public.trim_end_matches('/').to_owned(),
        };
        let proof = receipt.verify.as_ref();
        let token = proof.and_then(|proof| proof.path_token.as_ref());
        let token = token.map_or(String::new(), |token| format!("/{token}"));

        format!("{base}{}{token}", receipt.path)
    }
}

/// The receipts of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiptSettings {
    /// The path that the provider asks for, as "/sms/receipts/example".
    pub path: String,
    /// The form of a receipt: "json", "form" (a POST), or "query" (a GET or POST).
    pub format: ReceiptFormat,
    /// JSON pointer to a list of receipts; "" where the whole body is the list. Without it, a request is one receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// JSON pointer to our id of the message; the field NAME of a form or query is "/NAME". `id` or `ref` is needed.
    pub id: String,
    /// JSON pointer to the provider's name for the message. It is needed if the gateway's answers have `parts`: then it names
    /// the part that a receipt is about. Without `id` it must be unique among all messages of the gateway, as a receipt is
    /// then of the newest message with its name; with `id`, only among the parts of a message.
    #[serde(rename = "ref")]
    pub reference: String,
    /// JSON pointer to the state.
    pub state: String,
    /// JSON pointer to the code that says why it was not delivered.
    pub code: String,
    /// The meaning of each state: "sent", "delivered", "undelivered" or "ignore". States that are not in it are ignored, with
    /// a line in the log.
    pub map: BTreeMap<String, ReceiptMeaning>,
    /// The body of the answer to receipts that were taken.
    pub answer: String,
    /// The proof that a receipt is the provider's. Needed where `listen` is not loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<ReceiptProof>,
}

/// The form of a receipt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptFormat {
    /// A body of JSON.
    #[default]
    Json,
    /// A body as forms have it.
    Form,
    /// The query of the address.
    Query,
}

/// The meaning of a provider's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptMeaning {
    /// The network has the message.
    Sent,
    /// The phone has it.
    Delivered,
    /// The network gave up.
    Undelivered,
    /// It says nothing new.
    Ignore,
}

/// The proof that a receipt is the provider's: `twilio` or `path_token`, `allow`, or one of these with `allow`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiptProof {
    /// Twilio's signature of the public address and the form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub twilio: Option<TwilioProof>,
    /// A secret behind the path, as `/sms/receipts/example/SECRET`, for providers that sign nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_token: Option<String>,
    /// Addresses that receipts come from, as "203.0.113.7" or "203.0.113.0/24"; those from elsewhere are answered with
    /// 403. Behind a proxy it is the proxy's address that counts, so that the proxy has to check it instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// Twilio's signature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TwilioProof {
    /// The secret, as "{secret.token}".
    pub token: String,
    /// The address that Twilio asks for, as `https://sms.example.net/sms/receipts/twilio`.
    pub public_url: String,
}

impl ReceiptProof {
    /// The text that stands for the secret, with its place.
    pub(crate) fn secret(&self) -> Option<(&'static str, &str)> {
        match (&self.twilio, &self.path_token) {
            (Some(twilio), _) => Some(("twilio.token", &twilio.token)),
            (None, Some(token)) => Some(("path_token", token)),
            (None, None) => None,
        }
    }
}
