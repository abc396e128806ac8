//! The meaning of an answer over HTTP, by the rules of the settings.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::http::response::Parts;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::config::{AnswerFormat, ResponseSettings};
use crate::gateway::Submission;
use crate::mapping::text_at;
use crate::outcome::{Answer, is_code, judge};
use crate::store::{Claimed, Content};

/// Longest body of an answer in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Longest name of a message that is kept of an answer, in bytes. Providers give fewer than half as many.
const REFERENCE_BYTES_MAX: usize = 128;

/// Shortest code that is looked for in the text of the message: shorter ones are in many texts anyway.
const REPEATED_BYTES_LEAST: usize = 4;

/// Judges the answers of a gateway.
pub(super) struct Answers {
    settings: ResponseSettings,
}

impl Answers {
    pub(super) fn of(settings: &ResponseSettings) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    /// Judges a whole answer.
    pub(super) fn judge(&self, message: &Claimed, head: &Parts, body: &Bytes) -> Submission {
        let status = head.status.as_u16();
        let body = String::from_utf8_lossy(body);
        let json: Option<Json> = match self.settings.format {
            AnswerFormat::Json => serde_json::from_str(&body).ok(),
            AnswerFormat::Text => None,
        };
        let field = |pointer: &str| json.as_ref().and_then(|json| text_at(json, pointer));

        let code = self.settings.code.iter().find_map(|pointer| field(pointer));
        let answer = Answer {
            status,
            code: code.as_deref(),
            body: &body,
            retry_after: head.headers.get(RETRY_AFTER).and_then(retry_after),
        };
        let verdict = judge(&answer, &self.settings.rules, self.settings.on_5xx);

        let told = match code.filter(|code| is_showable(code, message)) {
            Some(code) => format!("HTTP {status}, code {code}"),
            None => format!("HTTP {status}"),
        };
        let reference = field(&self.settings.reference);
        Submission::Answered {
            class: verdict.class,
            reason: Some(verdict.reason.map_or(told, str::to_owned)),
            reference: reference
                .filter(|reference| (1..=REFERENCE_BYTES_MAX).contains(&reference.len())),
            retry_after: verdict.retry_after,
        }
    }
}

/// Whether a code may be kept and shown: it is neither the number that the message goes to nor a part of its text.
fn is_showable(code: &str, message: &Claimed) -> bool {
    let (Content::Text(content) | Content::Template { vars: content, .. }) = &message.content;
    let is_repeated = code.len() >= REPEATED_BYTES_LEAST && content.contains(code);
    is_code(code) && !is_repeated && !code.contains(message.to.national())
}

/// The time of `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }

    let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(
        until
            .duration_since(Timestamp::now())
            .try_into()
            .unwrap_or_default(),
    )
}
