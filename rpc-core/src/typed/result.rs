//! Results of methods.

use serde::de::DeserializeOwned;

use crate::descriptor::ErrorDescriptor;
use crate::frame::{Body, Outcome, RawJson, Reply};
use crate::status::Status;

/// What a method of a typed service returns, and an item of its streams: `Result<T, E>`, where serde reads and
/// writes `T` and `E` is a [`ServiceError`].
#[diagnostic::on_unimplemented(
    message = "a method of a service returns `Result<T, E>`, not `{Self}`",
    label = "not a `Result`",
    note = "only a oneway method may return nothing"
)]
pub trait MethodResult: Sized + Send + 'static {
    /// `T`.
    type Data: DeserializeOwned + Send + 'static;
    /// `E`.
    type Error: ServiceError;

    /// The result of a call whose data are decoded.
    fn from_result(result: Result<Self::Data, Status>) -> Self;

    /// What the data of a reply, or of one item, decode into; data of another form is code 13.
    fn from_data(data: Result<RawJson<'static>, Status>) -> Self;

    /// What the outcome of a unary call decodes into. A reply without data is `null`.
    fn from_outcome(outcome: Outcome) -> Self {
        Self::from_data(outcome.and_then(unary_data))
    }
}

impl<T, E> MethodResult for Result<T, E>
where
    T: DeserializeOwned + Send + 'static,
    E: ServiceError,
{
    type Data = T;
    type Error = E;

    fn from_result(result: Result<T, Status>) -> Self {
        result.map_err(E::from)
    }

    fn from_data(data: Result<RawJson<'static>, Status>) -> Self {
        Self::from_result(data.and_then(|data| decode_data(&data)))
    }
}

/// The data of a unary call's reply; `null` where it has none.
///
/// # Errors
/// Code 13 where the command answers with a stream.
pub fn unary_data(reply: Reply) -> Result<RawJson<'static>, Status> {
    match reply.into_body() {
        Body::Empty => Ok(RawJson::NULL),
        Body::Data(data) => Ok(data),
        Body::Stream(_) => Err(Status::internal(
            "the command answers with a stream; call it as a stream",
        )),
    }
}

/// What the data of a reply, or of one item, decode into.
///
/// # Errors
/// Code 13 where they have another form.
pub fn decode_data<T: DeserializeOwned>(data: &RawJson<'_>) -> Result<T, Status> {
    data.decode().map_err(|error| {
        Status::internal(format!(
            "the call ran, but its data does not have the expected type: {error}"
        ))
    })
}

/// The failure of a typed method: [`Status`], or an enum with [`#[rpc_error]`](crate::rpc_error).
///
/// It turns into the status that travels, and a client turns that back into it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a method",
    label = "neither `Status` nor an enum with `#[rpc_error]`",
    note = "return `Result<T, Status>`, or put `#[rpc_error]` on the enum"
)]
pub trait ServiceError: Into<Status> + From<Status> + Send + 'static {
    /// The service's own codes among its failures, for `describe`.
    fn errors() -> Vec<ErrorDescriptor>;
}

impl ServiceError for Status {
    fn errors() -> Vec<ErrorDescriptor> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc_error;

    #[rpc_error(crate = crate)]
    #[derive(Debug)]
    enum Refused {
        /// The shop is closed, and
        /// opens tomorrow.
        ///
        /// More about that.
        #[rpc(code = 1000)]
        Closed,
        #[rpc(other)]
        Other(Status),
    }

    #[test]
    fn the_message_of_an_error_is_the_whole_first_paragraph_of_its_description() {
        let status = Status::from(Refused::Closed);
        assert_eq!(status.message(), "The shop is closed, and opens tomorrow");
    }
}
