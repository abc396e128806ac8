//! Names for the expansions of `#[service]` and `#[rpc_error]`. They are not for other code, and change without notice.

#[cfg(feature = "schema")]
pub use schemars;
pub use serde;

pub use super::serve::{handler, stream_reply};
pub use super::{
    Blocking, BlockingItems, CallOptions, Items, Method, MethodResult, Routes, Serve, ServiceError,
    TimeLimit, TypedBlockingClient, TypedClient,
};
pub use crate::__schema_of as schema_of;
pub use crate::__schema_of_data as schema_of_data;
pub use crate::descriptor::{Descriptor, ErrorDescriptor, Kind, RetryCategory};
pub use crate::frame::{CmdId, IntoReply, Outcome, RawJson, Request};
pub use crate::resume::Resume;
pub use crate::service::Service;
pub use crate::status::{Code, Status};

#[cfg(feature = "schema")]
pub use super::schema::{of, of_data};

/// An object without fields: the params of a method without arguments.
#[derive(serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NoParams {}

/// The details of a status, where they are a `T`.
pub fn details<T: serde::de::DeserializeOwned>(status: &Status) -> Option<T> {
    serde_json::from_str(status.details()?.get()).ok()
}

/// A type that can be an argument of a method.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a method",
    label = "serde cannot read and write it, or it is not `Send`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it"
)]
pub trait Argument {}

#[diagnostic::do_not_recommend]
impl<T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static> Argument for T {}

/// A type that can be the data of a method, or of an item of its stream.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the data of a method",
    label = "serde cannot read and write it, or it is not `Send`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it"
)]
pub trait Data {}

#[diagnostic::do_not_recommend]
impl<T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static> Data for T {}

/// The parts of what a method returns.
#[diagnostic::on_unimplemented(
    message = "a method of a service returns `Result<T, E>`, not `{Self}`",
    label = "not a `Result`",
    note = "only a oneway method may return nothing"
)]
pub trait Returned {
    /// `T`.
    type Data;
    /// `E`.
    type Error;
}

impl<T, E> Returned for Result<T, E> {
    type Data = T;
    type Error = E;
}

/// Compiles where a type can be an argument of a method.
pub fn assert_argument<T: Argument>() {}

/// Compiles where a type can be what a method returns, or an item of its stream.
pub fn assert_result<R>()
where
    R: Returned,
    R::Data: Data,
    R::Error: ServiceError,
{
}

/// The schema of a type.
#[cfg(feature = "schema")]
#[doc(hidden)]
#[macro_export]
macro_rules! __schema_of {
    ($type:ty) => {
        $crate::__private::of::<$type>()
    };
}

/// The schema of a method's data.
#[cfg(feature = "schema")]
#[doc(hidden)]
#[macro_export]
macro_rules! __schema_of_data {
    ($type:ty) => {
        $crate::__private::of_data::<$type>()
    };
}

/// Says what is missing.
#[cfg(not(feature = "schema"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __schema_of {
    ($type:ty) => {
        compile_error!(
            "`schema` needs the cargo feature `schema` of rpc-core, rpc-server or rpc-client"
        )
    };
}

/// Says what is missing.
#[cfg(not(feature = "schema"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __schema_of_data {
    ($type:ty) => {
        compile_error!(
            "`schema` needs the cargo feature `schema` of rpc-core, rpc-server or rpc-client"
        )
    };
}
