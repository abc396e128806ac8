//! Failures of batches that another try does not change.

use rpc_core::Code;

use crate::call::cannot_work;
use crate::error::Error;

/// The answers of a log that will not take the batch: for what it is, or for whose it is.
const REFUSALS: [Code; 5] = [
    Code::INVALID_ARGUMENT,
    Code::NOT_FOUND,
    Code::PERMISSION_DENIED,
    Code::UNIMPLEMENTED,
    Code::UNAUTHENTICATED,
];

/// Whether a batch that has failed like this (`log.append_batch`) would fail in the same way if it was sent again, however
/// long that is tried: the log refuses it for what it is or for whose it is, or this client cannot call any log, for its
/// address is not one, for example.
///
/// All else may pass: a lost network, a log that is away, a full disk. What is not said is whether it does.
///
/// ```no_run
/// use rpc_client::log::{APPEND_BATCH, AppendBatch, BatchAppended, is_final};
///
/// # async fn example(client: rpc_client::Client, batch: AppendBatch) -> Result<BatchAppended, rpc_client::Error> {
/// loop {
///     match client.command(APPEND_BATCH).idempotent().call(&batch).await {
///         Err(error) if !is_final(&error) => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
///         settled => return settled,
///     }
/// }
/// # }
/// ```
pub fn is_final(error: &Error) -> bool {
    match error.status() {
        // The codes from there on are the command's own errors: the number belongs to another batch, or is too old.
        Some(status) => {
            let code = status.code();
            REFUSALS.contains(&code) || code.number() >= Code::FIRST_OF_SERVICES
        }
        // Without an answer, it is the entries that have no JSON form.
        None => error.code() == Code::INVALID_ARGUMENT || cannot_work(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rpc_core::Status;

    use super::*;
    use crate::discover::Target;
    use crate::error::{Cause, Kind};

    #[test]
    fn a_refusal_and_an_address_that_is_not_one_are_final_and_what_may_pass_is_not() {
        let check = |kind: Kind, expected: bool| {
            let error = Error::new(kind, &Arc::from("log"), None);
            assert_eq!(is_final(&error), expected, "{error:?}");
        };
        let status = |code: Code| Kind::Status(Status::new(code, "because"));
        let invalid = "localhost".parse::<Target>().unwrap_err();
        let not_one = Cause {
            message: "is not an address".into(),
            source: Some(Arc::new(invalid)),
            code: None,
        };

        check(Kind::NotSent(not_one), true);
        for code in REFUSALS {
            check(status(code), true);
        }
        for code in [1000, 1001, 1999] {
            check(status(Code::from(code)), true);
        }

        for code in [
            Code::RESOURCE_EXHAUSTED,
            Code::UNAVAILABLE,
            Code::INTERNAL,
            Code::DEADLINE_EXCEEDED,
            Code::ABORTED,
            Code::from(999),
        ] {
            check(status(code), false);
        }
        check(Kind::NotSent(Cause::new("no route")), false);
        check(Kind::MayHaveRun(Cause::new("lost")), false);
        check(Kind::Deadline { was_sent: true }, false);
    }
}
