//! The end of a connection, and what it leaves to its calls.

use std::io;

use rpc_core::Status;

use super::Driver;
use crate::connection::in_flight::{Answers, Failure};
use crate::connection::shared::{ConnectionState, Leaving};
use crate::connection::{Loss, given_up};
use crate::error::Cause;
use crate::metrics::End;

/// How a connection ended, where it was not an error of the byte stream.
pub(in crate::connection) enum Ended {
    /// This side was done with it.
    Done,
    /// The server closed it.
    ByServer,
    /// The server's bytes make no sense.
    Nonsense(String),
    /// The server is not there any more.
    Dead(String),
}

/// The server's last word about the calls of a connection that ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastWord {
    /// It has said nothing of them.
    None,
    /// It has turned the connection away, and runs none of them.
    Rejected,
}

impl<IO> Driver<IO> {
    pub(in crate::connection) fn finish(&mut self, ended: io::Result<Ended>) -> Loss {
        let close_reason = self.close_reason.take();
        let because = close_reason
            .as_ref()
            .map(|status| format!(" after saying: {status}"))
            .unwrap_or_default();

        // A server that refuses this client's certificate, and then runs nothing of it.
        let was_rejected = matches!(&ended, Err(error) if error.kind() == io::ErrorKind::PermissionDenied && error.get_ref().is_some());
        let is_done = matches!(ended, Ok(Ended::Done));

        let cause = match ended {
            Ok(Ended::Done) => Cause::new("the connection was closed by this side"),
            // An alert of TLS, which no reply begins like (RFC 8446 section 5.1).
            Ok(Ended::ByServer) if self.input[self.start..self.end].starts_with(&[0x15, 0x03]) => {
                Cause::new("the server speaks TLS on this port, and this client does not")
            }
            Ok(Ended::ByServer) => Cause::new(format!("the server closed the connection{because}")),
            Ok(Ended::Nonsense(what) | Ended::Dead(what)) => given_up(&what),
            Err(error) => {
                Cause::with_source(format!("the connection was lost{because}: {error}"), error)
            }
        };

        let retry_after = close_reason.as_ref().and_then(Status::retry_after);
        let last_word = match close_reason {
            Some(status) if status.is_rejected() => LastWord::Rejected,
            _ if was_rejected => LastWord::Rejected,
            _ => LastWord::None,
        };
        let calls = self.end_all(&cause, last_word);
        let state = self.shared.lock();

        Loss {
            cause,
            calls,
            connection: self.shared.number,
            has_served: state.answers == Answers::Served,
            is_wanted: is_done && !matches!(state.leaving, Some(Leaving::Goaway(_))),
            retry_after,
        }
    }

    /// The one way out for calls that the connection leaves behind. Returns how many there were.
    fn end_all(&mut self, cause: &Cause, last_word: LastWord) -> usize {
        let mut woken = Vec::new();
        let mut state = self.shared.lock();
        if state.ended.is_some() {
            return 0;
        }

        let mut calls = 0;
        let written = self.written;
        state.lose_oneways(&self.shared, cause, written);
        state.ended = Some(cause.clone());
        self.shared.tell_of_the_end(cause);

        // A server that turns the connection away has run none of its calls; one that has answered some
        // may have meant another one.
        let was_rejected = last_word == LastWord::Rejected && state.answers == Answers::None;

        let ConnectionState {
            calls: slots,
            tally,
            ..
        } = &mut *state;
        for (_, slot) in slots.iter_mut() {
            // A frame that did not leave whole was not executed, whatever it looked like.
            let may_have_run = slot.frame_end <= written && !was_rejected;
            let end = if may_have_run {
                End::LOST
            } else {
                End::NOT_SENT
            };
            let failure = Failure::Lost {
                may_have_run,
                cause: cause.clone(),
            };
            calls += usize::from(slot.fail(failure, end, tally, &mut woken));
        }
        tally.publish(&self.shared.common.metrics);

        woken.extend(state.reached.take_waiting());
        drop(state);
        self.shared.room.notify_waiters();
        for waker in woken {
            waker.wake();
        }

        calls
    }
}

impl<IO> Drop for Driver<IO> {
    /// The task was dropped before its end: its runtime is gone, or it was aborted.
    fn drop(&mut self) {
        self.end_all(
            &Cause::new("the task that drove the connection was stopped"),
            LastWord::None,
        );
    }
}
