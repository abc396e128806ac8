//! Tests of gateways over HTTP, by subject.

mod lost;
mod mapping;
mod providers;
mod tls;

use serde_json::json;

use super::*;
use crate::gateway::claimed::message;
use crate::message::Parts;
use crate::outcome::RuleClass;
use crate::testing::{CountingGateway, Mode};

const ACCEPTED: &str = r#"{"id":"m-1"}"#;

fn gateway(settings: serde_json::Value) -> HttpGateway {
    let settings = serde_json::from_value(settings).unwrap();
    HttpGateway::new(settings).unwrap()
}

/// A gateway with a form and simple rules.
fn simple(url: &str) -> HttpGateway {
    gateway(json!({
        "url": url,
        "form": {"To": "{to}", "Body": "{text}"},
        "response": {
            "ref": "/id",
            "code": "/code",
            "rules": [{"status": [200], "class": "sent"}, {"status": [400], "class": "permanent"}],
        },
    }))
}

fn is_accepted(submission: &Submission) -> bool {
    matches!(
        submission,
        Submission::Answered {
            class: RuleClass::Sent,
            ..
        }
    )
}
