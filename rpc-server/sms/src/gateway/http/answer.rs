//! The meaning of an answer over HTTP, by the rules of the settings.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::http::response::Parts as Head;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::config::{AnswerFormat, ResponseSettings};
use crate::gateway::Submission;
use crate::mapping::{list_at, text_at};
use crate::message::{PARTS_MAX, Parts};
use crate::outcome::{Answer, RuleClass, deciding, is_code, judge};
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
    pub(super) fn judge(&self, message: &Claimed, head: &Head, body: &Bytes) -> Submission {
        let body = String::from_utf8_lossy(body);
        let retry_after = head.headers.get(RETRY_AFTER).and_then(retry_after);
        let whole = Answer {
            status: head.status.as_u16(),
            code: None,
            body: &body,
            retry_after,
        };

        let pieces = self.pieces(&body);
        if pieces.len() > PARTS_MAX {
            return Submission::NoAnswer {
                error: format!(
                    "the gateway's answer has {} parts, and a message has at most {PARTS_MAX}",
                    pieces.len()
                ),
            };
        }
        let judged = pieces
            .iter()
            .map(|piece| self.judge_one(message, whole, piece));
        let mut judged: Vec<Judged> = judged.collect();

        let parts = Parts {
            // An answer about one part is about the whole message.
            count: u32::try_from(pieces.len()).unwrap_or(0),
            accepted: judged
                .iter()
                .filter(|one| one.class == RuleClass::Sent)
                .map(|one| one.reference.clone())
                .collect(),
        };
        let place = deciding(judged.iter().map(|one| one.class)).unwrap_or_default();
        let deciding = judged.swap_remove(place);
        Submission::Answered {
            class: deciding.class,
            reason: Some(deciding.reason),
            parts: match parts.count {
                0 | 1 => Parts { count: 0, ..parts },
                _ => parts,
            },
            retry_after,
        }
    }

    /// The answers of the message's parts; the whole answer where it does not tell of any.
    fn pieces<'b>(&self, body: &'b str) -> Vec<Piece<'b>> {
        if self.settings.format == AnswerFormat::Text {
            return vec![Piece {
                text: body,
                json: Json::Null,
            }];
        }

        let pointer = self.settings.parts.as_deref();
        let list = pointer.and_then(|pointer| list_at(body, pointer));
        match list {
            Some(items) if !items.is_empty() => items.into_iter().map(Piece::of).collect(),
            _ => vec![Piece::of(body)],
        }
    }

    /// Judges the answer of a part, or the whole one.
    fn judge_one(&self, message: &Claimed, whole: Answer<'_>, piece: &Piece<'_>) -> Judged {
        let mut pointers = self.settings.code.iter();
        let code = pointers.find_map(|pointer| text_at(&piece.json, pointer));
        let answer = Answer {
            code: code.as_deref(),
            body: piece.text,
            ..whole
        };
        let verdict = judge(&answer, &self.settings.rules, self.settings.on_5xx);

        let status = answer.status;
        let told = match code.as_deref().filter(|code| is_showable(code, message)) {
            Some(code) => format!("HTTP {status}, code {code}"),
            None => format!("HTTP {status}"),
        };
        Judged {
            class: verdict.class,
            reason: verdict.reason.map_or(told, str::to_owned),
            reference: text_at(&piece.json, &self.settings.reference)
                .filter(|reference| (1..=REFERENCE_BYTES_MAX).contains(&reference.len())),
        }
    }
}

/// The piece of an answer that is about one part, or the whole answer.
struct Piece<'b> {
    /// Its text, as the provider has written it.
    text: &'b str,
    /// What it says; null where it is not JSON.
    json: Json,
}

impl<'b> Piece<'b> {
    fn of(text: &'b str) -> Self {
        Self {
            text,
            json: serde_json::from_str(text).unwrap_or_default(),
        }
    }
}

/// The meaning of the answer of a part.
struct Judged {
    class: RuleClass,
    reason: String,
    reference: Option<String>,
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
