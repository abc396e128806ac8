//! Decides what a failure means for a batch.

use std::time::Duration;

use rpc_core::Code;
use serde::Deserialize;

use super::super::refusal::is_final;
use crate::error::Error;

/// What is done with a batch that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Sent again as it is, after this time at least: the failure is not of the batch.
    Again(Duration),
    /// Sent again as it is, but not for ever: the log may be unable to take anything now, or this batch at any time.
    Doubtful,
    /// Sent again without one of its entries.
    Without(usize),
    /// Dropped: sending it again would give the same answer.
    Refused,
}

#[derive(Deserialize)]
struct Mistake {
    index: usize,
}

impl Verdict {
    pub(super) fn of(error: &Error) -> Self {
        if is_final(error) {
            return Self::of_refusal(error);
        }
        let Some(status) = error.status() else {
            return Self::of_no_answer(error);
        };

        let is_for_later = status.is_rejected()
            || status.retry_after().is_some()
            || status.code() == Code::UNAVAILABLE;
        match is_for_later {
            true => Self::Again(status.retry_after().unwrap_or_default()),
            // A full disk and a line that is too long for the server have the same code.
            false => Self::Doubtful,
        }
    }

    fn of_refusal(error: &Error) -> Self {
        match error.details::<Mistake>() {
            Ok(Some(Mistake { index })) if error.code() == Code::INVALID_ARGUMENT => {
                Self::Without(index)
            }
            _ => Self::Refused,
        }
    }

    /// The server has not answered, or with what is no answer.
    fn of_no_answer(error: &Error) -> Self {
        match error.code() {
            // A reply that cannot be read, and none in time.
            Code::INTERNAL => Self::Doubtful,
            Code::DEADLINE_EXCEEDED if error.was_sent() => Self::Doubtful,
            _ => Self::Again(Duration::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rpc_core::Status;

    use super::*;
    use crate::error::{Cause, Kind};

    #[test]
    fn what_a_server_cannot_do_now_is_for_later_and_what_may_be_of_the_batch_is_doubtful() {
        let check = |status: Status, expected: Verdict| {
            let error = Error::new(Kind::Status(status.clone()), &Arc::from("log"), None);
            assert_eq!(Verdict::of(&error), expected, "{status:?}");
        };
        let later = Duration::from_millis(300);
        let exhausted = || Status::resource_exhausted("the frame is longer than the limit");

        check(exhausted(), Verdict::Doubtful);
        check(exhausted().with_rejected(), Verdict::Again(Duration::ZERO));
        check(exhausted().with_retry_after(later), Verdict::Again(later));
        check(Status::internal("it failed"), Verdict::Doubtful);
        check(Status::unavailable("ends"), Verdict::Again(Duration::ZERO));
        check(Status::new(Code::NOT_FOUND, "no log"), Verdict::Refused);
        check(Status::new(Code::from(1000), "too old"), Verdict::Refused);
    }

    #[test]
    fn a_failure_without_an_answer_is_for_later_if_the_network_can_be_its_cause() {
        let check = |kind: Kind, expected: Verdict| {
            let error = Error::new(kind, &Arc::from("log"), None);
            assert_eq!(Verdict::of(&error), expected, "{error}");
        };
        let params = serde_json::from_str::<u64>("x").unwrap_err();

        check(
            Kind::MayHaveRun(Cause::new("lost")),
            Verdict::Again(Duration::ZERO),
        );
        check(
            Kind::NotSent(Cause::new("no route")),
            Verdict::Again(Duration::ZERO),
        );
        check(
            Kind::Deadline { was_sent: false },
            Verdict::Again(Duration::ZERO),
        );
        check(Kind::Deadline { was_sent: true }, Verdict::Doubtful);
        check(Kind::Data(Cause::new("no reply")), Verdict::Doubtful);
        check(Kind::Params(Arc::new(params)), Verdict::Refused);
    }
}
