//! Results of handlers, turned into a [`Reply`].

use std::fmt;

use futures::stream::{Stream, StreamExt};
use serde::Serialize;

use super::json::RawJson;
use super::message::{Body, Outcome, Reply};
use crate::status::Status;

impl Reply {
    /// A success without data.
    pub fn empty() -> Self {
        Self(Body::Empty)
    }

    /// A success with `data`, written as JSON now.
    ///
    /// # Errors
    /// Code 13 where the value has no JSON form.
    pub fn new(data: &(impl Serialize + ?Sized)) -> Outcome {
        let data = RawJson::serialize(data).map_err(not_writable)?;
        Ok(Self(Body::Data(data)))
    }

    /// A success with data that is JSON already.
    pub fn raw(data: RawJson<'static>) -> Self {
        Self(Body::Data(data))
    }

    /// A stream of items: each is sent as a line with `"more":true`, and the end or the first
    /// failure as the line that ends the call.
    pub fn stream<T: Serialize>(
        items: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Self {
        let raw = |item: Result<T, Status>| {
            item.and_then(|item| RawJson::serialize(&item).map_err(not_writable))
        };
        Self(Body::Stream(items.map(raw).boxed()))
    }

    /// What it carries.
    pub fn into_body(self) -> Body {
        self.0
    }

    /// The data of a unary success, where there is any.
    pub fn data(&self) -> Option<&RawJson<'static>> {
        match &self.0 {
            Body::Data(data) => Some(data),
            Body::Empty | Body::Stream(_) => None,
        }
    }
}

impl From<Body> for Reply {
    fn from(body: Body) -> Self {
        Self(body)
    }
}

fn not_writable(error: serde_json::Error) -> Status {
    Status::internal("the result of the command cannot be written as JSON").with_source(error)
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Body::Empty => f.write_str("Reply(empty)"),
            Body::Data(data) => write!(f, "Reply({data})"),
            Body::Stream(_) => f.write_str("Reply(stream)"),
        }
    }
}

/// What a handler may return.
///
/// ```
/// use rpc_core::{Code, IntoReply, Status};
///
/// let sum: Result<u32, Status> = Ok(3);
/// assert_eq!(sum.into_outcome().unwrap().data().unwrap().as_str(), "3");
/// assert!(().into_outcome().unwrap().data().is_none());
/// assert_eq!(Status::not_found("no user 7").into_outcome().unwrap_err().code(), Code::NOT_FOUND);
/// ```
///
/// `Result<T, E>` first of all, where `T` is anything that serde writes and `E` turns into a
/// [`Status`]; `()` and `Ok(())` are a success without data.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "does not turn into a reply",
    note = "return `Result<T, Status>`, and end with `Ok(value)`; `T` derives `serde::Serialize`",
    note = "an error type of your own turns into a `Status`: `impl From<YourError> for Status`"
)]
pub trait IntoReply {
    /// The outcome on the wire.
    fn into_outcome(self) -> Outcome;
}

#[diagnostic::do_not_recommend]
impl IntoReply for () {
    fn into_outcome(self) -> Outcome {
        Ok(Reply::empty())
    }
}

#[diagnostic::do_not_recommend]
impl IntoReply for Reply {
    fn into_outcome(self) -> Outcome {
        Ok(self)
    }
}

#[diagnostic::do_not_recommend]
impl IntoReply for Status {
    fn into_outcome(self) -> Outcome {
        Err(self)
    }
}

/// The `data` of a success: every type with serde's `Serialize`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the data of a reply",
    label = "has no `serde::Serialize`",
    note = "write `#[derive(serde::Serialize)]` at `{Self}` and at each type that it holds"
)]
pub trait ReplyData: Serialize + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + 'static> ReplyData for T {}

/// The error of a handler: every type that turns into a [`Status`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a handler",
    label = "does not turn into a `Status`",
    note = "write `impl From<{Self}> for Status`, which chooses the code and what the caller is told"
)]
pub trait ReplyError: Into<Status> {}

#[diagnostic::do_not_recommend]
impl<E: Into<Status>> ReplyError for E {}

impl<T: ReplyData, E: ReplyError> IntoReply for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        let value = self.map_err(Into::into)?;
        if (&value as &dyn std::any::Any).is::<()>() {
            Ok(Reply::empty())
        } else {
            Reply::new(&value)
        }
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<Status>> IntoReply for Result<Reply, E> {
    fn into_outcome(self) -> Outcome {
        self.map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Code;

    #[test]
    fn unit_is_a_success_without_data_and_none_is_null() {
        assert!(
            Ok::<(), Status>(())
                .into_outcome()
                .unwrap()
                .data()
                .is_none()
        );

        let none = Ok::<Option<u8>, Status>(None).into_outcome().unwrap();
        assert_eq!(none.data().unwrap().as_str(), "null");

        let failed = Err::<u8, Status>(Status::not_found("x"))
            .into_outcome()
            .unwrap_err();
        assert_eq!(failed.code(), Code::NOT_FOUND);
    }
}
