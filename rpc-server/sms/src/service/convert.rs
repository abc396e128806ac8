//! Between the types of the wire and those of the outbox.

use rpc_core::Status;
use rpc_core::api::sms as api;
use rpc_core::api::sms::SmsError;

use crate::message::{AttemptId, MessageId};
use crate::outbox::Lane;
use crate::store::{Content, Event, Message, OptOutScope, QueueCounts, ReceiptState, Revealed};

/// The id of a message.
pub(super) fn id_of(text: &str) -> Result<MessageId, SmsError> {
    text.parse()
        .map_err(|error| SmsError::Other(Status::invalid_argument(format!("`id`: {error}"))))
}

/// The message and attempt of an id in a receipt.
pub(super) fn attempt_of(text: &str) -> Result<AttemptId, SmsError> {
    text.parse()
        .map_err(|error| SmsError::Other(Status::invalid_argument(format!("`id`: {error}"))))
}

pub(super) fn status_of(state: api::ReceiptState) -> ReceiptState {
    match state {
        api::ReceiptState::Sent => ReceiptState::Sent,
        api::ReceiptState::Delivered => ReceiptState::Delivered,
        api::ReceiptState::Undelivered => ReceiptState::Undelivered,
    }
}

pub(super) fn scope_of(scope: api::OptOutScope) -> OptOutScope {
    match scope {
        api::OptOutScope::All => OptOutScope::All,
        api::OptOutScope::Marketing => OptOutScope::Marketing,
    }
}

pub(super) fn as_scope(scope: OptOutScope) -> api::OptOutScope {
    match scope {
        OptOutScope::All => api::OptOutScope::All,
        OptOutScope::Marketing => api::OptOutScope::Marketing,
    }
}

pub(super) fn as_message(message: Message) -> api::Message {
    api::Message {
        id: message.id.to_string(),
        status: message.state,
        to: message.to,
        class: message.class,
        gateway: message.gateway,
        attempt: message.attempt,
        segments: message.layout.segments,
        parts: Some(message.parts).filter(|parts| *parts > 0),
        parts_sent: Some(message.parts_sent).filter(|_| message.parts > 0),
        encoding: message.layout.encoding,
        error: message.error,
        receipt: message.receipt,
        tags: message.tags,
        created_at: message.created_at,
        updated_at: message.updated_at,
    }
}

pub(super) fn as_event(event: Event) -> api::Event {
    api::Event {
        event: event.number,
        id: event.id.to_string(),
        from: event.from,
        to: event.to,
        at: event.at,
        gateway: Some(event.gateway),
        attempt: Some(event.attempt).filter(|attempt| *attempt > 0),
        error: event.error,
    }
}

pub(super) fn as_revealed(revealed: Revealed) -> api::Revealed {
    let (text, template, vars) = match revealed.content {
        Some(Content::Text(text)) => (Some(text), None, None),
        Some(Content::Template { name, vars }) => {
            (None, Some(name), serde_json::from_str(&vars).ok())
        }
        None => (None, None, None),
    };
    api::Revealed {
        to: revealed.to,
        text,
        template,
        vars,
    }
}

pub(super) fn as_gateway(lane: &Lane, counts: QueueCounts, oldest_ms: Option<u64>) -> api::Gateway {
    let state = lane.state();
    api::Gateway {
        name: lane.name().to_owned(),
        kind: lane.kind().to_owned(),
        state: state.state,
        queued: counts.queued,
        sending: counts.sending,
        unknown: counts.unknown,
        oldest_ms,
        rate_per_second: lane.rate_per_second(),
        accepted: state.accepted,
        errors: state.errors,
        last_error: state.last_error,
    }
}
