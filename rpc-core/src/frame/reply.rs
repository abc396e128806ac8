//! What a handler returns, turned into a [`Reply`].

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
/// `Result<T, E>` first of all, where `T` is anything that serde writes and `E` turns into a
/// [`Status`]; `()` and `Ok(())` are a success without data.
pub trait IntoReply {
    /// The outcome on the wire.
    fn into_outcome(self) -> Outcome;
}

impl IntoReply for () {
    fn into_outcome(self) -> Outcome {
        Ok(Reply::empty())
    }
}

impl IntoReply for Reply {
    fn into_outcome(self) -> Outcome {
        Ok(self)
    }
}

impl IntoReply for Status {
    fn into_outcome(self) -> Outcome {
        Err(self)
    }
}

impl<T: Serialize + 'static, E: Into<Status>> IntoReply for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        let value = self.map_err(Into::into)?;
        if (&value as &dyn std::any::Any).is::<()>() {
            Ok(Reply::empty())
        } else {
            Reply::new(&value)
        }
    }
}

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
