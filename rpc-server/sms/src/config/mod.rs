//! Settings of the SMS service: `[sms]` of the daemon's config file.

mod check;
mod check_http;
mod check_receipt;
mod http;
mod receipt;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::Class;
use crate::store::StoreConfig;

pub use check::Mistake;
pub use http::{
    AnswerFormat, HttpAuth, HttpMethod, HttpSettings, HttpSign, ResponseSettings, SignKind,
};
pub use receipt::{
    ReceiptFormat, ReceiptMeaning, ReceiptProof, ReceiptSettings, ReceiptsSettings, TwilioProof,
};

/// Settings of the SMS service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SmsSettings {
    /// Database file of the outbox, which stores all messages, under `data_dir`. The same directory has its lock file,
    /// and the secret key for the HMACs of erased numbers.
    pub data: String,
    /// Country of numbers without a calling code. With "CN", 138… means +86138…. Empty: such numbers are refused.
    pub default_region: String,
    /// Countries to which messages may go, for example "CN"; "*" means all. Required if a gateway really sends
    /// messages, because fraudsters earn money with messages to distant countries.
    pub countries: Vec<String>,
    /// Kinds of numbers to which no message is sent: `mobile`, `fixed_line`, `fixed_line_or_mobile`, `toll_free`,
    /// `premium_rate`, `shared_cost`, `voip`, `personal_number`, `pager`, `uan`, `unknown`.
    pub refuse_types: Vec<String>,
    /// Maximum number of segments of a text. Longer texts are refused with code 1106.
    pub segments_max: u32,
    /// Maximum number of messages that wait for their time or a gateway. Further ones are refused with code 8.
    pub queue_max: u64,
    /// Days for which the `idempotency-key` of a message is remembered.
    pub key_days: u32,
    /// Whether `send` requires an `idempotency-key`. If so, a call without one is refused with code 3.
    pub require_key: bool,
    /// Maximum number of attempts for a message that gateways refuse temporarily. After the last one, the message is
    /// `failed`.
    pub attempts_max: u32,
    /// Seconds for which a sent message waits for its receipt. After that it stays `sent`, and has `"receipt":"none"`.
    pub receipt_wait_s: u64,
    /// Seconds for which a text is kept after its message has reached a final status, for example `delivered` or
    /// `failed`.
    pub erase_text_after_s: u64,
    /// Days for which a phone number is kept. After that, only its HMAC is kept.
    pub erase_number_after_days: u32,
    /// Days for which a message is kept after it has reached a final status.
    pub keep_days: u32,
    /// Identities with further rights: those in `all` may see and change the messages of all senders, those in
    /// `may_double` may resend a message that may have arrived, those in `reveal` may see numbers and texts.
    pub grants: GrantSettings,
    /// Listener for receipts that providers send over HTTP. `listen` is its address, for example "127.0.0.1:8891";
    /// empty: no listener. `allow_plaintext`: whether `listen` may be an address that other machines can reach.
    /// `public_url`: the address at which providers reach this listener, without a path, for example
    /// `https://sms.example.net`. The placeholder `{callback}` in the requests of a gateway of kind `http` becomes an
    /// address that begins with it.
    pub receipts: ReceiptsSettings,
    /// Settings for each class of messages. `priority`, 0 to 9, is for messages that name none; messages with a higher
    /// one are sent first. `expires_s`: seconds after which a message that still waits for a gateway is `expired`; 0:
    /// never. `per_number`: maximum number of messages to one phone number in a time; "5/1h" means five in an hour, and
    /// further ones are refused with code 1103. `per_prefix`: the same for all numbers with one calling code; further
    /// ones are refused with code 1104. `quiet`, only for marketing: `hours` at which no message is sent, for example
    /// "21:00-09:00", and their time `zone`, for example "Asia/Shanghai".
    pub class: ClassesSettings,
    /// Routes by country. Each has `country`, a list of countries, and `gateways`, which are tried in their order. The
    /// first route that matches is used. Without routes, all gateways are tried in the order of this file.
    pub routes: Vec<RouteSettings>,
    /// Gateways, each with a `name` and a `kind`. Without any, there is one gateway of kind "file", which sends
    /// nothing.
    pub gateways: Vec<GatewaySettings>,
}

impl Default for SmsSettings {
    fn default() -> Self {
        Self {
            data: "sms.sqlite".into(),
            default_region: String::new(),
            countries: Vec::new(),
            refuse_types: vec!["premium_rate".into(), "shared_cost".into()],
            segments_max: 10,
            queue_max: 1_000_000,
            key_days: 7,
            require_key: false,
            attempts_max: 5,
            receipt_wait_s: 72 * 3600,
            erase_text_after_s: 24 * 3600,
            erase_number_after_days: 90,
            keep_days: 365,
            grants: GrantSettings::default(),
            receipts: ReceiptsSettings::default(),
            class: ClassesSettings::default(),
            routes: Vec::new(),
            gateways: Vec::new(),
        }
    }
}

/// Identities that may do more. Each is named; "*" is not one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrantSettings {
    /// May see and change the messages of all.
    pub all: Vec<String>,
    /// May see numbers and texts.
    pub reveal: Vec<String>,
    /// May send a message again that may have arrived.
    pub may_double: Vec<String>,
}

/// Settings of each class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClassesSettings {
    /// Codes that someone waits for.
    pub otp: ClassSettings,
    /// Answers to what someone did.
    pub transactional: ClassSettings,
    /// Advertising.
    pub marketing: ClassSettings,
}

impl Default for ClassesSettings {
    fn default() -> Self {
        Self {
            otp: ClassSettings {
                priority: 9,
                expires_s: 300,
                per_number: ["1/60s", "5/1h", "10/1d"].map(str::to_owned).to_vec(),
                per_prefix: vec!["200/1m".into()],
                quiet: None,
            },
            transactional: ClassSettings::default(),
            marketing: ClassSettings {
                priority: 1,
                ..ClassSettings::default()
            },
        }
    }
}

/// Settings of a class of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClassSettings {
    /// Priority of messages that name none, 0 to 9. Higher ones go first.
    pub priority: u8,
    /// Seconds after which a message that no gateway has is `expired`; 0 for never.
    pub expires_s: u64,
    /// Limits of messages to one number, as "5/1h".
    pub per_number: Vec<String>,
    /// Limits of messages to one calling code, as "200/1m".
    pub per_prefix: Vec<String>,
    /// Hours at which none is sent.
    pub quiet: Option<QuietSettings>,
}

impl Default for ClassSettings {
    fn default() -> Self {
        Self {
            priority: 5,
            expires_s: 0,
            per_number: Vec::new(),
            per_prefix: Vec::new(),
            quiet: None,
        }
    }
}

/// Hours at which nothing is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietSettings {
    /// From and until, as "21:00-09:00".
    pub hours: String,
    /// The time zone, as "Asia/Shanghai".
    pub zone: String,
}

/// The gateways of some countries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteSettings {
    /// The countries, as "CN"; empty for all.
    pub country: Vec<String>,
    /// The names of the gateways, in the order in which they are tried.
    pub gateways: Vec<String>,
}

/// The kind of a gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GatewayKind {
    /// Writes messages to a file, and sends nothing.
    #[default]
    File,
    /// Sends messages over HTTP.
    Http,
}

impl GatewayKind {
    /// The name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Http => "http",
        }
    }
}

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// Its name, which messages, lists and metrics show.
    pub name: String,
    /// Its kind: "file" or "http".
    pub kind: GatewayKind,
    /// Maximum number of messages that it is given in a second; 0: no limit.
    pub rate_per_second: u32,
    /// Maximum number of messages that it is given at the same time.
    pub in_flight_max: u32,
    /// What becomes of a message that it may have or not: "keep" leaves it `unknown`, "resend" sends it again, so that it
    /// may arrive twice.
    pub on_unknown: OnUnknown,
    /// Of kind "file": the file that messages are written to, a line of JSON each, under `data_dir`. Each gateway has one of
    /// its own.
    pub file: String,
    /// Of kind "file": whether the texts of codes are written, too.
    pub write_otp: bool,
    /// Of kind "http": its requests, and the meaning of answers.
    pub http: HttpSettings,
    /// Of kind "http": the receipts that its provider sends to `[sms.receipts]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptSettings>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: GatewayKind::File,
            rate_per_second: 0,
            in_flight_max: 8,
            on_unknown: OnUnknown::Keep,
            file: "sms-out.ndjson".into(),
            write_otp: false,
            http: HttpSettings::default(),
            receipt: None,
        }
    }
}

/// What becomes of a message that a gateway may have or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// It stays `unknown`.
    #[default]
    Keep,
    /// It is sent again.
    Resend,
}

impl SmsSettings {
    /// The gateways; the default one where none is configured.
    pub fn gateways(&self) -> Vec<GatewaySettings> {
        if !self.gateways.is_empty() {
            return self.gateways.clone();
        }

        vec![GatewaySettings {
            name: "dry".into(),
            ..GatewaySettings::default()
        }]
    }

    /// The settings of a class.
    pub fn class(&self, class: Class) -> &ClassSettings {
        match class {
            Class::Otp => &self.class.otp,
            Class::Transactional => &self.class.transactional,
            Class::Marketing => &self.class.marketing,
        }
    }

    /// The settings of the outbox. Rates that cannot be read are left out: [`mistakes`](Self::mistakes) names them.
    pub fn store(&self) -> StoreConfig {
        const DAY_MS: u64 = 86_400_000;

        let rates = |texts: &[String]| texts.iter().filter_map(|text| text.parse().ok()).collect();
        let limits = Class::ALL.iter().map(|class| {
            let settings = self.class(*class);
            let limits = crate::store::ClassLimits {
                per_number: rates(&settings.per_number),
                per_prefix: rates(&settings.per_prefix),
            };
            (*class, limits)
        });

        StoreConfig {
            queue_max: self.queue_max,
            key_ms: u64::from(self.key_days) * DAY_MS,
            erase_text_ms: self.erase_text_after_s * 1000,
            erase_number_ms: u64::from(self.erase_number_after_days) * DAY_MS,
            keep_ms: u64::from(self.keep_days) * DAY_MS,
            receipt_wait_ms: self.receipt_wait_s * 1000,
            limits: limits.collect::<HashMap<_, _>>(),
            ..StoreConfig::default()
        }
    }
}
