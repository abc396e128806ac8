//! Answers to callers whose requests are refused.

use std::time::Duration;

use rpc_core::api::sms::SmsError;
use rpc_core::{Code, Status};
use serde_json::json;

use crate::outbox::Problem;
use crate::store::{Refusal, StoreError};

/// A full queue of the disk is written in about this time.
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub(super) fn not_found() -> SmsError {
    SmsError::Other(Status::not_found(
        "there is no such message, or it belongs to another identity",
    ))
}

pub(super) fn of_problem(problem: Problem) -> SmsError {
    match problem {
        Problem::Invalid(message) => SmsError::Other(Status::invalid_argument(message)),
        Problem::Number(error) => SmsError::NumberInvalid {
            reason: error.to_string(),
        },
        Problem::Destination(reason) => SmsError::DestinationRefused { reason },
        Problem::Text(reason) => SmsError::TextRefused { reason },
        Problem::Template(template) => SmsError::TemplateUnknown { template },
        Problem::NoGateway(reason) => SmsError::NoGateway { reason },
    }
}

pub(super) fn of_store(error: StoreError) -> SmsError {
    let refusal = match error {
        StoreError::Refused(refusal) => refusal,
        StoreError::Full => {
            return SmsError::Other(Status::resource_exhausted(
                "the disk of the SMS outbox is full",
            ));
        }
        StoreError::Busy => {
            let status =
                Status::resource_exhausted("too much waits to be written to the SMS outbox");
            return SmsError::Other(status.with_retry_after(RETRY_AFTER));
        }
        StoreError::Closed => {
            return SmsError::Other(Status::unavailable("the SMS outbox is closed"));
        }
        error => {
            let status = Status::internal("the SMS outbox cannot be read or written");
            return SmsError::Other(status.with_source(error));
        }
    };

    of_refusal(&refusal)
}

fn of_refusal(refusal: &Refusal) -> SmsError {
    match *refusal {
        Refusal::NotFound => not_found(),
        Refusal::KeyReused => {
            let message = "the `idempotency-key` belongs to a message with other params; give each message its own key";
            SmsError::Other(Status::already_exists(message))
        }
        Refusal::KeyTooOld => {
            let message = "the `idempotency-key` is older than the keys that are kept: check with `status` whether \
                the message exists";
            SmsError::Other(Status::failed_precondition(message))
        }
        Refusal::OptedOut => SmsError::NumberOptedOut,
        Refusal::NumberLimit { retry_after_ms } => {
            limited(SmsError::NumberLimit { retry_after_ms }, retry_after_ms)
        }
        Refusal::PrefixLimit { retry_after_ms } => {
            limited(SmsError::PrefixLimit { retry_after_ms }, retry_after_ms)
        }
        Refusal::QueueFull => {
            let message = "the maximum number of messages is waiting (`queue_max` of [sms])";
            SmsError::Other(
                Status::resource_exhausted(message).with_retry_after(Duration::from_secs(1)),
            )
        }
        Refusal::TooLate(status) => SmsError::TooLate { status },
        Refusal::MayDouble(status) => SmsError::MayDouble { status },
        Refusal::TextErased => {
            let message = "the text of the message was erased; send it as a new message";
            SmsError::Other(Status::failed_precondition(message))
        }
    }
}

/// A limit with the time of the next try where clients look for it. It is not `rejected`: another daemon must not be tried.
fn limited(error: SmsError, retry_after_ms: u64) -> SmsError {
    let status = Status::from(error);
    let (code, message) = (status.code(), status.message().to_owned());
    let status = Status::new(Code::new(code.number()), message)
        .with_details(&json!({ "retry_after_ms": retry_after_ms }))
        .with_retry_after(Duration::from_millis(retry_after_ms));
    SmsError::Other(status)
}
