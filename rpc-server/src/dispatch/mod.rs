//! Dispatch: from a cmdid to a handler with typed arguments.

pub(crate) mod builtin;
pub(crate) mod extract;
pub(crate) mod handler;
pub(crate) mod route;
pub(crate) mod route_error;
pub(crate) mod router;
